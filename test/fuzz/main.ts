/**
 * `npm run fuzz`: runs the fuzz targets and prints a line for each.
 *
 *     --list                 names of the targets
 *     --target NAME          only this one; may be repeated
 *     --executions N         for all targets together (default 1 000 000), shared by weight
 *     --seconds S            at most so long, for all targets together
 *     --seed N               another seed (default 1)
 *     --iteration I          only this execution of the one target: replays a failure
 *     --hang-seconds S       how long one execution may take (default 20)
 * @module
 */
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { TARGETS } from './registry.ts'
import { FuzzFailure, type RunResult, replayWords, runTarget } from './run-target.ts'
import type { FuzzTarget } from './target.ts'
import { HangWatchdog } from './watchdog.ts'

const DEFAULT_EXECUTIONS = 1_000_000
const DEFAULT_HANG_SECONDS = 20
const MIB = 1 << 20
/** What a target may keep when it is done, in bytes: compiled code and caches, not inputs. */
const MAX_KEPT_BYTES = 64 * MIB
/** What may be in use at any time beyond what was at the start: garbage that is not collected yet, mostly. */
const MAX_GROWTH_BYTES = 512 * MIB

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

interface Line extends RunResult {
  readonly name: string
  readonly growthBytes: number
  readonly keptBytes: number
  /** Of the process: what others do with the machine does not count. */
  readonly cpuMs: number
}

const { values } = parseArgs({
  options: {
    list: { type: 'boolean', default: false },
    target: { type: 'string', multiple: true },
    executions: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    iteration: { type: 'string' },
    'hang-seconds': { type: 'string', default: String(DEFAULT_HANG_SECONDS) }
  }
})

process.exitCode = await main()

async function main(): Promise<number> {
  const wanted = values.target ?? TARGETS.map(({ name }) => name)
  const targets = TARGETS.filter(({ name }) => wanted.includes(name))
  const unknown = wanted.find((name) => !TARGETS.some((target) => target.name === name))
  if (unknown !== undefined) {
    console.error(`There is no target ${unknown}; --list shows them.`)
    return 64
  }
  if (values.list) {
    for (const { name } of targets) console.log(name)
    return 0
  }
  const seed = Number(values.seed)
  const watchdog = new HangWatchdog(
    targets.map(({ name }) => name),
    seed,
    Number(values['hang-seconds']) * 1000
  )
  try {
    if (values.iteration !== undefined) return await replay(targets, seed, Number(values.iteration), watchdog)
    return await runAll(targets, seed, watchdog)
  } finally {
    await watchdog.close()
  }
}

async function replay(
  targets: readonly FuzzTarget[],
  seed: number,
  iteration: number,
  watchdog: HangWatchdog
): Promise<number> {
  const [target] = targets
  if (target === undefined || targets.length !== 1) {
    console.error('--iteration needs exactly one --target.')
    return 64
  }
  const progress = { begin: (at: number) => watchdog.begin(0, at), check: () => undefined }
  try {
    await runTarget(target, { seed, first: iteration, executions: 1 }, progress)
  } catch (error) {
    return report(target, seed, error)
  }
  console.log(`${replayWords(target.name, seed, iteration)}: nothing wrong`)
  return 0
}

async function runAll(targets: readonly FuzzTarget[], seed: number, watchdog: HangWatchdog): Promise<number> {
  const executions = Number(
    values.executions ?? (values.seconds === undefined ? DEFAULT_EXECUTIONS : Infinity)
  )
  const totalMs = values.seconds === undefined ? undefined : Number(values.seconds) * 1000
  const weights = targets.map(({ weight = 1 }) => weight)
  const totalWeight = weights.reduce((sum, weight) => sum + weight, 0)
  console.log(header())
  const lines: Line[] = []
  let failures = 0
  for (const [index, target] of targets.entries()) {
    const share = (weights[index] ?? 1) / totalWeight
    const limits = {
      seed,
      executions: Math.ceil(executions * share),
      // Time is shared evenly: the slow ones would else never be reached.
      ...(totalMs === undefined ? {} : { maxMs: totalMs / targets.length })
    }
    try {
      const line = await measured(target, limits, (at) => watchdog.begin(index, at))
      lines.push(line)
      console.log(row(line))
      failures += complain(line)
    } catch (error) {
      failures += report(target, seed, error)
    }
  }
  console.log(total(lines))
  return failures === 0 ? 0 : 1
}

async function measured(
  target: FuzzTarget,
  limits: Parameters<typeof runTarget>[1],
  begin: (iteration: number) => void
): Promise<Line> {
  // What is loaded and compiled once is no leak.
  await runTarget(target, { ...limits, executions: Math.min(2, limits.executions) })
  collectGarbage()
  const before = process.memoryUsage()
  const usedBefore = before.heapUsed + before.external
  let peak = usedBefore
  const check = (): void => {
    const { heapUsed, external } = process.memoryUsage()
    peak = Math.max(peak, heapUsed + external)
  }
  const cpuBefore = process.cpuUsage()
  const result = await runTarget(target, limits, { begin, check })
  const { user, system } = process.cpuUsage(cpuBefore)
  check()
  collectGarbage()
  const after = process.memoryUsage()
  return {
    ...result,
    name: target.name,
    growthBytes: peak - usedBefore,
    keptBytes: after.heapUsed + after.external - usedBefore,
    cpuMs: (user + system) / 1000
  }
}

function complain({ name, growthBytes, keptBytes }: Line): number {
  if (keptBytes <= MAX_KEPT_BYTES && growthBytes <= MAX_GROWTH_BYTES) return 0
  console.error(
    `${name}: memory is not bounded: ${mib(growthBytes)} MiB at its peak, ${mib(keptBytes)} MiB kept`
  )
  return 1
}

function report(target: FuzzTarget, seed: number, error: unknown): number {
  console.error(`${target.name}: ${error instanceof Error ? error.message : String(error)}`)
  if (!(error instanceof FuzzFailure)) {
    console.error(error)
    return 1
  }
  if (error.cause instanceof Error) console.error(error.cause.stack)
  const file = join(tmpdir(), `ikestream-fuzz-${target.name}-${seed}.bin`)
  writeFileSync(file, error.input)
  console.error(`  input: ${error.input.length} bytes, in ${file}`)
  return 1
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1)
}

function cells(values: readonly string[]): string {
  const [name = '', ...rest] = values
  return name.padEnd(25) + rest.map((cell) => cell.padStart(11)).join('')
}

function header(): string {
  return cells([
    'target',
    'executions',
    'per second',
    'per CPU s',
    'MB/s',
    'slowest ms',
    'which one',
    'peak MiB',
    'kept MiB'
  ])
}

function row(line: Line): string {
  const { name, executions, elapsedMs, cpuMs, inputBytes, slowestMs, slowestIteration } = line
  return cells([
    name,
    String(executions),
    Math.round((executions * 1000) / elapsedMs).toString(),
    Math.round((executions * 1000) / cpuMs).toString(),
    (inputBytes / elapsedMs / 1000).toFixed(1),
    slowestMs.toFixed(1),
    slowestIteration < 0 ? '' : String(slowestIteration),
    mib(line.growthBytes),
    mib(Math.max(0, line.keptBytes))
  ])
}

function total(lines: readonly Line[]): string {
  const sum = (of: (line: Line) => number) => lines.reduce((value, line) => value + of(line), 0)
  return row({
    name: `${lines.length} targets`,
    executions: sum(({ executions }) => executions),
    elapsedMs: sum(({ elapsedMs }) => elapsedMs),
    cpuMs: sum(({ cpuMs }) => cpuMs),
    inputBytes: sum(({ inputBytes }) => inputBytes),
    slowestMs: Math.max(0, ...lines.map(({ slowestMs }) => slowestMs)),
    slowestIteration: -1,
    growthBytes: Math.max(0, ...lines.map(({ growthBytes }) => growthBytes)),
    keptBytes: Math.max(0, ...lines.map(({ keptBytes }) => keptBytes))
  })
}
