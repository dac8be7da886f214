/**
 * Runs one target: makes inputs, feeds them, and says which execution broke a promise.
 *
 * Execution i of a target is a function of the seed and of i alone, and of the executions before it in its episode: so a
 * failure is replayed by the three words that it is reported with.
 * @module
 */
import fc from 'fast-check'
import { type MutationSources, mutate } from './mutator.ts'
import { FuzzRandom, saltOf } from './random.ts'
import { type Execute, type FuzzTarget, utf8 } from './target.ts'

const DEFAULT_MAX_LENGTH = 4096
/** Seeds out of a target's own generator. */
const STRUCTURED_SEEDS = 64
/** Between two looks at the clock and at memory. */
const CHECK_EVERY = 256

export interface RunLimits {
  readonly seed: number
  /** The first execution; those of its episode before it are run, too. */
  readonly first?: number
  readonly executions: number
  /** Ends earlier after so many milliseconds; undefined: as long as it takes. */
  readonly maxMs?: number
}

export interface Progress {
  /** Before each execution. */
  begin(iteration: number): void
  /** Now and then. */
  check(): void
}

export interface RunResult {
  readonly executions: number
  readonly elapsedMs: number
  readonly inputBytes: number
  readonly slowestMs: number
  readonly slowestIteration: number
}

/** An execution that broke a promise. */
export class FuzzFailure extends Error {
  override readonly name = 'FuzzFailure'
  readonly input: Uint8Array

  constructor(target: FuzzTarget, seed: number, iteration: number, input: Uint8Array, cause: unknown) {
    const what = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
    super(`${what}\n  replay: npm run fuzz -- ${replayWords(target.name, seed, iteration)}`, { cause })
    this.input = input
  }
}

export function replayWords(name: string, seed: number, iteration: number): string {
  return `--target ${name} --seed ${seed} --iteration ${iteration}`
}

/** What a target's inputs are made of. */
export async function sourcesOf(target: FuzzTarget): Promise<MutationSources> {
  const corpus = [...(await target.corpus())]
  if (target.structured !== undefined)
    corpus.push(...fc.sample(target.structured, { seed: saltOf(target.name) | 0, numRuns: STRUCTURED_SEEDS }))
  if (corpus.length === 0) throw new Error(`the target ${target.name} has no corpus`)
  return {
    corpus,
    dictionary: (target.dictionary ?? []).map((piece) => (typeof piece === 'string' ? utf8(piece) : piece)),
    maxLength: target.maxLength ?? DEFAULT_MAX_LENGTH
  }
}

/** The input of one execution. Leaves `random` where the execution goes on with it. */
function inputOf(target: FuzzTarget, sources: MutationSources, random: FuzzRandom): Uint8Array {
  const mutated = mutate(random, sources)
  return target.repair !== undefined && random.below(4) > 0 ? target.repair(mutated) : mutated
}

/**
 * Feeds the corpus as it is.
 * @throws FuzzFailure, with a negative iteration
 */
async function runCorpus(target: FuzzTarget, sources: MutationSources, seed: number): Promise<void> {
  const random = new FuzzRandom()
  const execute = await target.open()
  for (const [index, input] of sources.corpus.entries()) {
    random.reseed(saltOf(target.name), seed, -1 - index)
    try {
      await execute(input.slice(), random)
    } catch (cause) {
      throw new FuzzFailure(target, seed, -1 - index, input, cause)
    }
  }
}

/** @throws FuzzFailure */
export async function runTarget(
  target: FuzzTarget,
  limits: RunLimits,
  progress: Progress = { begin: () => undefined, check: () => undefined }
): Promise<RunResult> {
  const { seed, first = 0, executions, maxMs = Number.POSITIVE_INFINITY } = limits
  const sources = await sourcesOf(target)
  if (first <= 0) await runCorpus(target, sources, seed)
  const random = new FuzzRandom()
  const salt = saltOf(target.name)
  const episode = target.episode ?? Number.POSITIVE_INFINITY
  const begin = first <= 0 || target.episode === undefined ? Math.max(0, first) : first - (first % episode)
  const end = first < 0 ? 0 : first + executions
  let execute: Execute = await target.open()
  let inputBytes = 0
  let slowestMs = 0
  let slowestIteration = -1
  const startedMs = performance.now()
  let lastMs = startedMs
  let iteration = begin
  for (; iteration < end; iteration++) {
    if (iteration > begin && iteration % episode === 0) execute = await target.open()
    random.reseed(salt, seed, iteration)
    const input = inputOf(target, sources, random)
    inputBytes += input.length
    progress.begin(iteration)
    lastMs = performance.now()
    try {
      // Waiting for what is there already would take longer than most executions.
      const pending = execute(input, random)
      if (pending !== undefined) await pending
    } catch (cause) {
      throw new FuzzFailure(target, seed, iteration, input, cause)
    }
    const tookMs = performance.now() - lastMs
    if (tookMs > slowestMs) {
      slowestMs = tookMs
      slowestIteration = iteration
    }
    if (iteration % CHECK_EVERY !== 0) continue
    progress.check()
    if (performance.now() - startedMs > maxMs) {
      iteration++
      break
    }
  }
  return {
    executions: iteration - begin,
    elapsedMs: performance.now() - startedMs,
    inputBytes,
    slowestMs,
    slowestIteration
  }
}
