/**
 * `npm run sim`: simulates many worlds in several processes and adds up what happened, or one world again with everything that happens in it.
 * @module
 */
import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { PROFILES, type Profile } from './model/plan.ts'
import { type Outcome, simulate } from './model/simulation.ts'
import { count, describe, emptyTally, type Tally } from './model/tally.ts'

const USAGE = `Usage: npm run sim -- [--seeds N] [--from N] [--minutes N] [--profile NAME] [--workers N] [--json]
       npm run sim -- --seed N [--profile NAME] [--trace]

  --seeds N       worlds to simulate (default 1000)
  --from N        first seed (default 1)
  --profile NAME  ${PROFILES.join(', ')}; default: whatever the seed gives
  --minutes N     begins no more worlds after that time; Ctrl-C does the same
  --workers N     processes (default: one for each processor; 0: this one)
  --json          the figures as one JSON document
  --seed N        one world again, exactly as it was
  --trace         prints everything that happens in it`

/** Worlds that a worker is given at a time. */
const BATCH = 10
const LINES_OF_FAILURES = 30

interface Wish {
  readonly seed: number
  readonly profile: Profile | undefined
}

interface Amount {
  readonly from: number
  readonly seeds: number
  readonly workers: number
  /** 0: for as long as it takes. */
  readonly minutes: number
}

async function work(): Promise<void> {
  // Ctrl-C reaches every process: what was begun is still counted.
  process.on('SIGINT', () => undefined)
  process.on('message', (wishes: readonly Wish[]) => void simulateAll(wishes))
}

async function simulateAll(wishes: readonly Wish[]): Promise<void> {
  for (const wish of wishes) process.send?.(await simulate(wish))
  process.send?.('done')
}

async function simulateMany(
  { from, seeds, workers, minutes }: Amount,
  profile: Profile | undefined
): Promise<Tally> {
  const tally = emptyTally()
  let next = from
  let end = from + seeds
  const stop = (): void => {
    end = next
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop)
  if (minutes > 0) setTimeout(stop, minutes * 60_000).unref()
  const take = (): Wish[] => {
    const batch = Array.from({ length: Math.min(BATCH, end - next) }, (_, index) => ({
      seed: next + index,
      profile
    }))
    next += batch.length
    return batch
  }
  for (let batch = workers === 0 ? take() : []; batch.length > 0; batch = take())
    for (const wish of batch) count(tally, await simulate(wish))
  await Promise.all(
    Array.from({ length: workers }, async (_, index) => {
      const child = fork(fileURLToPath(import.meta.url), ['--worker', String(index)])
      await new Promise<void>((resolve, reject) => {
        child.on('message', (message: Outcome | 'done') => {
          if (message !== 'done') {
            count(tally, message)
            return
          }
          const batch = take()
          if (batch.length > 0) child.send(batch)
          else child.disconnect()
        })
        child.on('error', reject)
        child.on('exit', (code) => {
          if (code === 0) resolve()
          else reject(new Error(`a worker ended with ${code}`))
        })
        child.send(take())
      })
    })
  )
  return tally
}

async function simulateOne(seed: number, trace: boolean, profile: Profile | undefined): Promise<number> {
  const outcome = await simulate({ seed, profile, onLine: trace ? (line) => console.log(line) : undefined })
  const tally = emptyTally()
  count(tally, outcome)
  console.log(`seed ${seed} (${outcome.profile}), trace ${outcome.hash}`)
  console.log(describe(tally, trace ? 1 : LINES_OF_FAILURES))
  return tally.failures.length > 0 ? 1 : 0
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string', default: '1' },
      profile: { type: 'string' },
      minutes: { type: 'string', default: '0' },
      workers: { type: 'string', default: String(availableParallelism()) },
      json: { type: 'boolean', default: false },
      seed: { type: 'string' },
      trace: { type: 'boolean', default: false },
      worker: { type: 'string' },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.worker !== undefined) {
    await work()
    return 0
  }
  const profile = PROFILES.find((name) => name === values.profile)
  const numbers = [values.seeds, values.from, values.workers, values.seed ?? '1', values.minutes].map(Number)
  const isWrong = numbers.some((number) => !Number.isInteger(number) || number < 0)
  if (values.help || isWrong || (values.profile !== undefined && profile === undefined)) {
    console.log(USAGE)
    return values.help ? 0 : 64
  }
  const [seeds = 1, from = 1, workers = 1, seed = 1, minutes = 0] = numbers
  if (values.seed !== undefined) return simulateOne(seed, values.trace, profile)
  const startedAt = performance.now()
  const tally = await simulateMany({ from, seeds, workers, minutes }, profile)
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  if (values.json) console.log(JSON.stringify({ from, seeds, seconds, ...tally }, undefined, 2))
  else
    console.log(
      `seeds ${from} to ${from + tally.worlds - 1} in ${seconds} s\n${describe(tally, LINES_OF_FAILURES)}`
    )
  return tally.failures.length > 0 ? 1 : 0
}

process.exitCode = await main()
