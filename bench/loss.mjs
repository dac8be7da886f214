/**
 * What loss, delay and outages do to flows inside ESP in UDP, in TCP and in TLS, with CUBIC and with BBR as the outer congestion control.
 * Everything on this machine, in namespaces, over an emulated link of 50 Mbit/s (`src/host/link/`). Needs root or user namespaces, and
 * a kernel with BBR for the curves of that name.
 *
 *     npm run bench:loss [-- --quick] [--lanes 2] [--out <folder>] [--resume] [--draw] [--only <pattern>] [--before <folder>]
 *
 * Writes `results.json` and the pictures into `docs/loss`, with `--quick` (about two minutes) into a folder of its own. `--resume` goes on where
 * an earlier run of the same folder ended, `--draw` only draws, `--only` measures what its pattern
 * matches, `--before` measures an earlier build beside this one: a checkout with its `dist` and `node_modules`. The full grid takes about 20 minutes with three lanes; a lane is a
 * whole site of its own, and takes up to 0.4 of a core.
 * @module
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Lane } from './lib/lane.mjs'
import { drawCharts } from './lib/loss-charts.mjs'
import { measureCell } from './lib/loss-measure.mjs'
import { LINK, makePlan, SMALL_FLOW } from './lib/loss-plan.mjs'
import { describeMachine, loadNow } from './lib/machine.mjs'
import { makeCredentials } from './lib/site.mjs'

const DOCS = fileURLToPath(new URL('../docs/loss', import.meta.url))
const SCHEMA_VERSION = 1
/** A cell that fails is tried once more, on a fresh lane. */
const TRIES = 2

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    lanes: { type: 'string', default: '2' },
    out: { type: 'string' },
    resume: { type: 'boolean', default: false },
    draw: { type: 'boolean', default: false },
    only: { type: 'string' },
    before: { type: 'string' }
  }
})
const lanes = Number(options.lanes)
if (!Number.isInteger(lanes) || lanes < 1) {
  process.stderr.write('--lanes needs a whole number, at least 1\n')
  process.exit(64)
}
const out = options.out ?? (options.quick ? mkdtempSync(join(tmpdir(), 'ikestream-loss-')) : DOCS)
const resultsPath = join(out, 'results.json')

if (!options.draw) await measureAll()
for (const name of drawCharts(JSON.parse(readFileSync(resultsPath, 'utf8')), out)) say(join(out, name))

async function measureAll() {
  const { cells, tunnels } = makePlan({ quick: options.quick, before: options.before !== undefined })
  const wanted =
    options.only === undefined ? cells : cells.filter(({ key }) => new RegExp(options.only).test(key))
  mkdirSync(out, { recursive: true })
  const results = startResults()
  const done = new Set(results.cells.map(({ key }) => key))
  const waiting = wanted.filter(({ key }) => !done.has(key))
  say(`${waiting.length} of ${wanted.length} measurements to do, ${lanes} at a time`)
  const directory = mkdtempSync(join(tmpdir(), 'ikestream-bench-'))
  const startedAt = performance.now()
  const job = {
    waiting,
    total: waiting.length,
    results,
    tunnels,
    credentials: makeCredentials(directory),
    directory
  }
  try {
    await Promise.all(Array.from({ length: lanes }, (_, number) => work(number, job)))
  } finally {
    rmSync(directory, { recursive: true, force: true })
    results.runs.at(-1).seconds = Math.round((performance.now() - startedAt) / 1000)
    results.runs.at(-1).loadAverageAtEnd = loadNow()
    save(results)
  }
}

function startResults() {
  const run = {
    ...describeMachine(),
    lanes,
    quick: options.quick,
    before: options.before && commitOf(options.before)
  }
  if (options.resume && existsSync(resultsPath)) {
    const earlier = JSON.parse(readFileSync(resultsPath, 'utf8'))
    return { ...earlier, runs: [...earlier.runs, run] }
  }
  return {
    schemaVersion: SCHEMA_VERSION,
    command: 'npm run bench:loss',
    link: LINK,
    smallFlow: SMALL_FLOW,
    runs: [run],
    cells: []
  }
}

/** Takes cells until there are none, on a lane that is built anew when something breaks. */
async function work(number, job) {
  let lane
  try {
    for (let cell = job.waiting.shift(); cell !== undefined; cell = job.waiting.shift()) {
      for (let attempt = 1; ; attempt++) {
        try {
          lane ??= await openLane(number, attempt, job)
          keep(job, cell, await measureCell(lane, cell))
          break
        } catch (error) {
          say(`${cell.key}: ${error.message}`)
          await lane?.close()
          lane = undefined
          if (attempt >= TRIES) throw error
        }
      }
    }
  } finally {
    await lane?.close()
  }
}

function openLane(number, attempt, { tunnels, credentials, directory }) {
  return Lane.open({
    ...{
      directory: join(directory, `lane-${number}-${attempt}`),
      credentials,
      mtu: LINK.mtu,
      names: tunnels
    },
    // A lane that is built anew goes through other chances.
    ...{ seed: 1000 * number + 10 * attempt, clientArgs: ['--udp-probe', '0'] },
    earlier: options.before && join(resolve(options.before), 'bin/ikestream.js')
  })
}

/** Where it is no checkout, its folder's name. */
function commitOf(folder) {
  const { status, stdout } = spawnSync('git', ['-C', folder, 'rev-parse', '--short', 'HEAD'], {
    encoding: 'utf8'
  })
  return status === 0 ? stdout.trim() : basename(resolve(folder))
}

function keep({ results, total, waiting }, cell, result) {
  results.cells.push({ ...cell, ...result })
  save(results)
  const shown = result.mbitPerSecond ?? result.recoveryMs ?? result.delayQuantilesMs?.[99]
  const unit = { throughput: 'Mbit/s', outage: 'ms until back at speed', latency: 'ms (p99)' }[cell.kind]
  const incidents = result.incidents.length === 0 ? '' : `  (${result.incidents.join('; ')})`
  say(`${String(total - waiting.length).padStart(3)}/${total}  ${cell.key}: ${shown} ${unit}${incidents}`)
}

function save(results) {
  const temporary = `${resultsPath}.new`
  const cells = results.cells.map((cell) => `    ${JSON.stringify(cell)}`).join(',\n')
  const head = JSON.stringify({ ...results, cells: [] }, null, 2)
  writeFileSync(temporary, `${head.replace(/"cells": \[\]/, `"cells": [\n${cells}\n  ]`)}\n`)
  renameSync(temporary, resultsPath)
}

function say(text) {
  process.stdout.write(`${text}\n`)
}
