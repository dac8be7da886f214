/**
 * How long until the tunnel is up: cold connects through networks that block more and more, and connects on a network that is
 * remembered. Everything on this machine, in namespaces; round-trip time next to nothing, the timings that users have.
 *
 *     npm run bench:ladder [-- --runs 5]
 *
 * Prints medians and worst cases beside their targets. Exits with 1 when a connection fails, or comes up over another transport than
 * the network leaves open; never because of a time.
 * @module
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { HotelNetwork } from '../dist/host/netlab-hotel.js'
import { median } from './lib/numbers.mjs'
import { forgetNodeSettings, makeCredentials, startClient, startGateway } from './lib/site.mjs'

const NO_UDP = { protocol: 'udp', action: 'drop' }
const NO_TCP_4500 = { protocol: 'tcp', ports: [4500], action: 'drop' }

/** Targets in milliseconds, from starting the command. */
const SCENARIOS = [
  { network: 'open', faults: [], transport: 'udp', targetMs: undefined },
  { network: 'UDP dropped', faults: [NO_UDP], transport: 'tcp', targetMs: 4000 },
  { network: 'UDP and TCP 4500 dropped', faults: [NO_UDP, NO_TCP_4500], transport: 'tls', targetMs: 6000 },
  {
    network: 'UDP dropped, remembered',
    faults: [NO_UDP],
    transport: 'tcp',
    targetMs: 1000,
    remembered: true
  },
  {
    network: 'UDP and TCP 4500 dropped, remembered',
    faults: [NO_UDP, NO_TCP_4500],
    transport: 'tls',
    targetMs: 1000,
    remembered: true
  }
]

const { values } = parseArgs({ options: { runs: { type: 'string', default: '5' } } })
const runs = Number(values.runs)
if (!Number.isInteger(runs) || runs < 1) {
  process.stderr.write('--runs needs a whole number, at least 1\n')
  process.exit(64)
}

forgetNodeSettings()
const directory = mkdtempSync(join(tmpdir(), 'ikestream-bench-'))
const hotel = await HotelNetwork.open()
try {
  const credentials = makeCredentials(directory)
  const gateway = await startGateway(hotel.gateway.namespace, {
    address: hotel.gateway.address,
    credentials,
    stateDirectory: join(directory, 'gateway-state')
  })
  say(`Time until the tunnel is up: ${runs} runs each, Node ${process.version}, ${cpus().length} CPUs\n`)
  const rows = []
  for (const scenario of SCENARIOS) rows.push(await measure(scenario, credentials))
  printTable(rows)
  await gateway.stop()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
} finally {
  await hotel.close()
  rmSync(directory, { recursive: true, force: true })
}

function say(text) {
  process.stdout.write(`${text}\n`)
}

async function measure(scenario, credentials) {
  await hotel.setFaults(scenario.faults)
  const state = (run) => join(directory, `${scenario.network.replaceAll(' ', '-')}-${run}`)
  // What is to be remembered has to be learnt first; that run does not count.
  if (scenario.remembered) await connectOnce(scenario, credentials, state(0))
  const times = []
  for (let run = 1; run <= runs; run++)
    times.push(await connectOnce(scenario, credentials, state(scenario.remembered ? 0 : run)))
  return { ...scenario, medianMs: median(times), worstMs: Math.max(...times) }
}

/** @returns milliseconds from starting the command to its `connected` event */
async function connectOnce({ network, transport }, credentials, stateDirectory) {
  const startedAt = performance.now()
  const { program, connected } = await startClient(hotel.client.namespace, {
    address: hotel.gateway.address,
    credentials,
    stateDirectory
  })
  const elapsedMs = performance.now() - startedAt
  await program.stop()
  if (connected.transport !== transport)
    throw new Error(`network "${network}": connected over ${connected.transport}, not over ${transport}`)
  return elapsedMs
}

function printTable(rows) {
  const seconds = (ms) => (ms === undefined ? '-' : `${(ms / 1000).toFixed(2)} s`)
  const lines = [
    ['network', 'over', 'median', 'worst', 'target', ''],
    ...rows.map(({ network, transport, medianMs, worstMs, targetMs }) => [
      network,
      transport.toUpperCase(),
      seconds(medianMs),
      seconds(worstMs),
      seconds(targetMs),
      targetMs === undefined ? '' : worstMs <= targetMs ? 'met' : 'missed'
    ])
  ]
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  for (const line of lines)
    say(
      line
        .map((cell, column) => (column < 2 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
        .join('  ')
        .trimEnd()
    )
}
