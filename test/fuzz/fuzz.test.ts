import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applyMutation, type Mutation } from './mutator.ts'
import { FuzzRandom } from './random.ts'
import { TARGETS } from './registry.ts'
import { FuzzFailure, runTarget, sourcesOf } from './run-target.ts'
import { type FuzzTarget, holds } from './target.ts'

/** Of each target with weight 1, each way; `npm run fuzz` is for more. */
const EXECUTIONS = 80
const SEED = 20_261

const executionsOf = ({ weight = 1 }: FuzzTarget): number => Math.ceil(EXECUTIONS * Math.min(1, weight))

/** Four numbers are all that a mutation is: fast-check shrinks a failure by leaving mutations out. */
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff })
const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({ kind: fc.nat(200), a: uint32, b: uint32, c: uint32 }),
  { minLength: 1, maxLength: 4 }
)

describe.each(TARGETS)('$name', (target) => {
  it('keeps its promises for mutated messages of its corpus', async () => {
    const executions = executionsOf(target)
    const result = await runTarget(target, { seed: SEED, executions })
    expect(result.executions).toBe(executions)
  })

  it('keeps them under fast-check, too', async () => {
    const sources = await sourcesOf(target)
    const execute = await target.open()
    const seeds = fc.constantFrom(...sources.corpus)
    const random = new FuzzRandom()
    await fc.assert(
      fc.asyncProperty(
        fc.oneof({ weight: 8, arbitrary: seeds }, fc.uint8Array({ maxLength: 200 })),
        mutations,
        async (bytes, list) => {
          random.reseed(0, SEED, 0)
          let input = list.reduce(
            (value: Uint8Array, mutation) => applyMutation(value, mutation, sources),
            bytes
          )
          if (target.repair !== undefined) input = target.repair(input)
          await execute(input.slice(), random)
        }
      ),
      { seed: SEED, numRuns: executionsOf(target) }
    )
  })
})

describe('the fuzzer', () => {
  const broken: FuzzTarget = {
    name: 'broken',
    covers: [],
    episode: 10,
    corpus: () => [Uint8Array.of(1, 2, 3, 4)],
    open: () => {
      let taken = 0
      return (input) => {
        taken++
        holds(taken < 5 || input.length !== 3, 'an input of three bytes is not the fifth or later')
      }
    }
  }

  it('says which execution broke a promise, and does it again when told to', async () => {
    const failure = await runTarget(broken, { seed: 7, executions: 100_000 }).catch((error: unknown) => error)
    if (!(failure instanceof FuzzFailure)) throw new Error('nothing was found')
    const iteration = Number(/--iteration (\d+)/.exec(failure.message)?.[1])
    expect(failure.message).toContain('--target broken --seed 7')
    const again = await runTarget(broken, { seed: 7, first: iteration, executions: 1 }).catch(
      (error: unknown) => error
    )
    if (!(again instanceof FuzzFailure)) throw new Error('it was not found again')
    expect(again.message).toBe(failure.message)
    expect(again.input).toEqual(failure.input)
  })

  it('makes the same inputs of the same seed, and others of another', async () => {
    const inputsOf = async (seed: number): Promise<string[]> => {
      const seen: string[] = []
      const target = {
        ...broken,
        open: () => (input: Uint8Array) => void seen.push(Buffer.from(input).toString('hex'))
      }
      await runTarget(target, { seed, executions: 200 })
      return seen
    }
    const first = await inputsOf(1)
    expect(await inputsOf(1)).toEqual(first)
    expect(await inputsOf(2)).not.toEqual(first)
    // The mutations do something.
    expect(new Set(first).size).toBeGreaterThan(100)
  })

  it('has a name of its own for every target', () => {
    expect(new Set(TARGETS.map(({ name }) => name)).size).toBe(TARGETS.length)
  })
})
