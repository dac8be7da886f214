/**
 * ikestream and other user-space VPNs side by side: two namespaces, one veth pair, one run in which all take turns.
 *
 *     npm run bench [-- --rounds 3 --seconds 2 --only ikestream-udp,wireguard-go --wireguard-go PATH --json FILE --svg FILE]
 *     npm run bench -- --quick           one short round: does everything work?
 *     npm run bench -- --memory          moves 10 GB over UDP and watches the client's memory instead
 *     npm run bench -- --document        writes tables and picture into docs/
 *     npm run bench -- --from FILE       measures nothing: tables and picture of an earlier run's JSON
 *
 * Prints tables with ratios to the bare link and to the best peer, and the targets. A peer that is not installed is named and left
 * out. Programs that are measured here: bench/peers. Needs root or user namespaces, iperf3 and ping. Exits with 1 when
 * a program that is there could not be measured; never because of a figure.
 * @module
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { measureRound } from './compare/measure.mjs'
import { watchMemory } from './compare/memory.mjs'
import { drawPicture } from './compare/picture.mjs'
import { Site } from './compare/site.mjs'
import { formatTable, resultTables, targetTable } from './compare/tables.mjs'
import { judgeTargets } from './compare/targets.mjs'
import { replaceInDocument } from './lib/document.mjs'
import { interruption } from './lib/interrupt.mjs'
import { hasIperf } from './lib/iperf.mjs'
import { describeMachine, loadNow } from './lib/machine.mjs'
import { forgetNodeSettings } from './lib/site.mjs'
import { allPeers, missingProgram } from './peers/all.mjs'

/** A round that would end later than this is not begun. */
const LIMIT_MS = 570_000
const SCHEMA_VERSION = 1
/** A load average above this means that somebody else uses the machine. */
const QUIET_LOAD = 0.7
const PICTURE = new URL('../docs/bench.svg', import.meta.url)

const interrupted = interruption()

forgetNodeSettings()
try {
  const options = readOptions()
  if (options.from === undefined) await measure(options)
  else publish(JSON.parse(readFileSync(options.from, 'utf8')), options)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode ??= 1
}

async function measure(options) {
  if (!hasIperf()) throw new Error('iperf3 is missing: apt-get install iperf3')
  const site = await Site.open(interrupted)
  try {
    await (options.memory ? runMemory(site, options) : runComparison(site, options))
  } finally {
    await site.close()
  }
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '2' },
      only: { type: 'string' },
      'wireguard-go': { type: 'string', multiple: true, default: [] },
      from: { type: 'string' },
      json: { type: 'string' },
      svg: { type: 'string' },
      quick: { type: 'boolean', default: false },
      memory: { type: 'boolean', default: false },
      gigabytes: { type: 'string', default: '10' },
      document: { type: 'boolean', default: false }
    }
  })
  return {
    ...values,
    rounds: values.quick ? 1 : positive('--rounds', values.rounds),
    seconds: values.quick ? 1 : positive('--seconds', values.seconds),
    gigabytes: positive('--gigabytes', values.gigabytes),
    only: values.only?.split(','),
    wireguardBinaries: values['wireguard-go']
  }
}

function positive(name, text) {
  const value = Number(text)
  // iperf3 knows whole seconds only.
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} needs a whole number, at least 1`)
  return value
}

async function runComparison(site, options) {
  const startedAt = performance.now()
  const machine = describeMachine()
  const peers = choosePeers(options)
  const results = await Promise.all(
    peers.map(async ({ name, label, own, version }) => ({
      name,
      label,
      own,
      version: await version(),
      rounds: []
    }))
  )
  say(`${machine.cpus} × ${machine.cpu}, Linux ${machine.kernel}, load ${machine.loadAverage.join(' ')}`)
  for (const { label, version } of results) say(`${label.padEnd(22)} ${version}`)

  const failures = []
  for (let round = 0; round < options.rounds; round++) {
    const elapsedMs = performance.now() - startedAt
    if (round > 0 && (elapsedMs * (round + 1)) / round > LIMIT_MS) {
      say(`\nno time is left for round ${round + 1}`)
      break
    }
    say(`\nround ${round + 1} of ${options.rounds}, load ${loadNow().join(' ')}`)
    for (const index of inTurn(peers.length, round)) {
      results[index].rounds[round] = await oneRound(site, peers[index], options, failures)
    }
  }
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  publish({ schemaVersion: SCHEMA_VERSION, machine, seconds, loadAtEnd: loadNow(), results }, options)
  for (const failure of failures) say(failure)
  if (failures.length > 0) process.exitCode = 1
}

/** Each round begins with another program. */
function inTurn(count, round) {
  return Array.from({ length: count }, (_, index) => (index + round * Math.ceil(count / 3)) % count)
}

function choosePeers({ only, wireguardBinaries }) {
  const known = allPeers(wireguardBinaries)
  const unknown = only?.find((name) => !known.some((peer) => peer.name === name))
  if (unknown !== undefined)
    throw new Error(`--only names ${unknown}; known: ${known.map(({ name }) => name).join(', ')}`)
  return known.filter((peer) => {
    if (only !== undefined && !only.includes(peer.name)) return false
    const missing = missingProgram(peer)
    if (missing !== undefined) say(`left out: ${peer.label}, since ${missing} is not installed`)
    return missing === undefined
  })
}

async function oneRound(site, peer, { seconds, quick }, failures) {
  const startedAt = performance.now()
  try {
    const options = { seconds, starts: quick ? 1 : 2, idlePings: quick ? 50 : 150 }
    const result = await site.unlessInterrupted(measureRound(site, peer, options))
    const { up1, down4 } = result.tcp
    const rates = [up1, down4].map(({ bitsPerSecond }) => (bitsPerSecond / 1e9).toFixed(2)).join(' and ')
    say(
      `  ${peer.label.padEnd(22)} ${rates} Gbit/s  (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`
    )
    return result
  } catch (error) {
    interrupted.throwIfAborted()
    failures.push(`${peer.label}: ${error.message}`)
    say(`  ${peer.label.padEnd(22)} failed: ${error.message.split('\n')[0]}`)
    return undefined
  }
}

function publish(report, options) {
  const { results } = report
  const targets = judgeTargets(results)
  const text = [...resultTables(results), targetTable(targets)]
    .map((table) => `**${table.title}**\n\n${formatTable(table)}\n`)
    .join('\n')
  say(`\n${text}\n${provenance(report)}`)
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ ...report, targets }, null, 1)}\n`)
  const picture = drawPicture(report)
  if (options.svg !== undefined) writeFileSync(options.svg, picture)
  if (!options.document) return
  writeFileSync(PICTURE, picture)
  replaceInDocument('comparison', `${text}\n${provenance(report)}`)
}

async function runMemory(site, options) {
  const machine = describeMachine()
  const report = await site.unlessInterrupted(watchMemory(site, { gigabytes: options.gigabytes, say }))
  say(`\n${report.summary}`)
  if (options.json !== undefined)
    writeFileSync(
      options.json,
      `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, machine, ...report }, null, 1)}\n`
    )
  if (options.document) replaceInDocument('memory', report.summary)
}

function provenance({ machine, seconds, loadAtEnd, results }) {
  const rounds = Math.max(...results.map((result) => result.rounds.length))
  const versions = [...new Set(results.map(({ version }) => version))].join('; ')
  return (
    `${machine.time.slice(0, 10)}, commit ${machine.commit}, ${machine.cpus} × ${machine.cpu}, Linux ${machine.kernel}, ` +
    `Node ${machine.node}; rounds: ${rounds}, ${seconds} s in all; load average ${machine.loadAverage[0]} before, ` +
    `${loadAtEnd[0]} after${machine.loadAverage[0] > QUIET_LOAD ? ': **other work ran beside it, so that only ratios mean something**' : ''}. ` +
    `Compared: ${versions}.`
  )
}

function say(text) {
  process.stdout.write(`${text}\n`)
}
