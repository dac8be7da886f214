/**
 * What many simulated worlds add up to.
 * @module
 */
import { addFaults, FAULT_KINDS, type FaultCounts, totalFaults } from './faults.ts'
import type { Outcome } from './simulation.ts'

export interface Failure {
  readonly seed: number
  readonly profile: string
  readonly problem: string
  readonly last: readonly string[]
}

export interface Tally {
  worlds: number
  sessions: number
  packets: number
  simulatedMs: number
  steps: number
  readonly faults: FaultCounts
  readonly failures: Failure[]
  /** From the end of the faults to the first answer, of each world. */
  readonly backAfterMs: number[]
}

export function emptyTally(): Tally {
  return {
    ...{ worlds: 0, sessions: 0, packets: 0, simulatedMs: 0, steps: 0 },
    ...{ faults: {}, failures: [], backAfterMs: [] }
  }
}

export function count(tally: Tally, outcome: Outcome): void {
  const { seed, profile, problem, last, backAfterMs } = outcome
  tally.worlds++
  tally.sessions += outcome.sessions
  tally.packets += outcome.packets
  tally.simulatedMs += outcome.simulatedMs
  tally.steps += outcome.steps
  addFaults(tally.faults, outcome.faults)
  if (problem !== undefined) tally.failures.push({ seed, profile, problem, last })
  if (backAfterMs !== undefined) tally.backAfterMs.push(Math.round(backAfterMs))
}

/** For people. */
export function describe(tally: Tally, failureLines = 0): string {
  const { worlds, sessions, packets, simulatedMs, steps, faults, failures } = tally
  const hours = (simulatedMs / 3_600_000).toFixed(1)
  const lines = [
    `${group(worlds)} worlds, ${group(sessions)} sessions, ${hours} hours of simulated time, ${group(steps)} events`,
    `${group(packets)} inner packets, each checked`,
    `${group(totalFaults(faults))} faults:`
  ]
  for (const kind of FAULT_KINDS) {
    const number = faults[kind]
    if (number !== undefined) lines.push(`  ${kind.padEnd(22)}${group(number).padStart(12)}`)
  }
  const back = [...tally.backAfterMs].sort((a, b) => a - b)
  const at = (part: number): string => group(back[Math.floor((back.length - 1) * part)] ?? 0)
  lines.push(`back after the last fault: median ${at(0.5)} ms, 99 % ${at(0.99)} ms, longest ${at(1)} ms`)
  lines.push(failures.length === 0 ? 'no failures' : `${failures.length} failures:`)
  for (const { seed, profile, problem, last } of failures) {
    lines.push(`  seed ${seed} (${profile}): ${problem}`)
    lines.push(...last.slice(-failureLines || last.length).map((line) => `      ${line}`))
    lines.push(`      again: npm run sim -- --seed ${seed} --trace`)
  }
  return lines.join('\n')
}

function group(value: number): string {
  return value.toLocaleString('en-US')
}
