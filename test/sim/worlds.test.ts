import { describe, expect, it } from 'vitest'
import { PROFILES } from './model/plan.ts'
import { simulate } from './model/simulation.ts'

/** `npm run sim -- --seeds N` simulates more of them. */
const SEEDS_A_PROFILE = 12

async function problems(profile: (typeof PROFILES)[number]): Promise<string[]> {
  const found: string[] = []
  for (let seed = 1; seed <= SEEDS_A_PROFILE; seed++) {
    const { problem, last } = await simulate({ seed, profile })
    if (problem === undefined) continue
    found.push(`npm run sim -- --seed ${seed} --profile ${profile}: ${problem}`, ...last.slice(-30))
  }
  return found
}

describe('whole sessions of both programs on a simulated network', () => {
  it.each(PROFILES)('come through their faults: %s', async (profile) => {
    expect(await problems(profile)).toEqual([])
  })

  it('are the same again for the same seed, whatever was simulated before', async () => {
    const hashes = new Map<number, string>()
    for (const seed of [3, 5, 8]) hashes.set(seed, (await simulate({ seed })).hash)
    for (const seed of [8, 3, 5]) expect((await simulate({ seed })).hash).toBe(hashes.get(seed))
    expect(new Set(hashes.values()).size).toBe(3)
  })
})
