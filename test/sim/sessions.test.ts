import { describe, expect, it } from 'vitest'
import { Simulation, type SimulationOptions } from '../support/simulated-session.ts'

const CLEAN = { loss: 0, duplication: 0, minDelayMs: 5, maxDelayMs: 40 }
const LOSSY = { loss: 0.15, duplication: 0.1, minDelayMs: 5, maxDelayMs: 300 }

function problems(count: number, options: Omit<SimulationOptions, 'seed'>): string[] {
  const found: string[] = []
  for (let seed = 1; seed <= count; seed++) {
    const problem = new Simulation({ ...options, seed }).run()
    if (problem !== undefined) found.push(problem)
  }
  return found
}

describe('seeded sessions of two ends', () => {
  it('agree after rekeyings and deletes from both sides on a clean network', () => {
    const options = { quality: CLEAN, actions: 25, maxPauseMs: 150, moves: false, pfs: false }
    expect(problems(100, options)).toEqual([])
  })

  it('agree on a network that loses, repeats and reorders', () => {
    const options = { quality: LOSSY, actions: 25, maxPauseMs: 1500, moves: false, pfs: true }
    expect(problems(100, options)).toEqual([])
  })

  it('agree while short lifetimes make both ends rekey by themselves', () => {
    const timers = { ikeLifetimeMs: 60_000, childLifetimeMs: 30_000, rekeyMargin: 0.5 }
    const options = { quality: LOSSY, actions: 30, maxPauseMs: 4000, moves: true, pfs: true, timers }
    expect(problems(40, options)).toEqual([])
  })

  it('agree while the client roams between UDP paths and streams', () => {
    const options = { quality: LOSSY, actions: 25, maxPauseMs: 4000, moves: true, pfs: false }
    expect(problems(100, options)).toEqual([])
  })
})
