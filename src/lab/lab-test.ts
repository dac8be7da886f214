/**
 * Runs clients through networks of the lab, some side by side, and compares what is seen with the table.
 * @module
 */
import { compareCheck, compareClient, compareConnect, type Difference } from './comparison.ts'
import { Lab } from './lab.ts'
import type { LabNetwork } from './networks.ts'
import type { LabSettings } from './settings.ts'
import {
  type SeenCheck,
  type SeenClient,
  type SeenConnect,
  tryCheck,
  tryClient,
  tryConnect
} from './trial.ts'

export interface LabTestOptions {
  readonly networks: readonly LabNetwork[]
  readonly settings: LabSettings
  /** How many networks at a time. */
  readonly jobs: number
  /** What the time bounds are multiplied by; Infinity: none. */
  readonly slack: number
  /** Another client's shell command instead of ikestream's own check and session. */
  readonly client?: { readonly command: string; readonly patienceS: number } | undefined
  readonly signal: AbortSignal
  readonly onResult: (result: LabResult) => void
}

export interface LabResult {
  readonly network: LabNetwork
  /** Null: another client was run. */
  readonly check: SeenCheck | null
  readonly connect: SeenConnect | null
  readonly client: SeenClient | null
  readonly differences: readonly Difference[]
  /** Building, trying, taking down. */
  readonly elapsedMs: number
}

/**
 * @returns results in the order of the networks; fewer than those when the signal came
 * @throws SystemError when a network cannot be built
 */
export async function testInLab(options: LabTestOptions): Promise<readonly LabResult[]> {
  const { networks, jobs, signal, onResult } = options
  const results: (LabResult | undefined)[] = networks.map(() => undefined)
  const failed = new AbortController()
  const stop = AbortSignal.any([signal, failed.signal])
  let next = 0
  const work = async (): Promise<void> => {
    while (next < networks.length && !stop.aborted) {
      const index = next++
      const network = networks[index]
      if (network === undefined) return
      const result = await tryNetwork(network, options, stop)
      if (result === undefined) return
      results[index] = result
      onResult(result)
    }
  }
  const workers = Array.from({ length: jobs }, () =>
    work().catch((error: unknown) => {
      failed.abort()
      throw error
    })
  )
  const ends = await Promise.allSettled(workers)
  const failure = ends.find((end) => end.status === 'rejected')
  if (failure !== undefined) throw failure.reason
  return results.filter((result) => result !== undefined)
}

/** @returns undefined when it was stopped in the middle of it */
async function tryNetwork(
  network: LabNetwork,
  { settings, slack, client }: LabTestOptions,
  signal: AbortSignal
): Promise<LabResult | undefined> {
  const startedAt = performance.now()
  const lab = await Lab.open(network, settings)
  const close = (): void => void lab.close()
  signal.addEventListener('abort', close, { once: true })
  try {
    const seen = client === undefined ? await tryOurs(lab, slack) : await tryOther(lab, client)
    return { network, ...seen, elapsedMs: Math.round(performance.now() - startedAt) }
  } catch (error) {
    // A lab that is closed under a client looks like a client that fails.
    if (signal.aborted) return undefined
    throw error
  } finally {
    signal.removeEventListener('abort', close)
    await lab.close()
  }
}

type Seen = Omit<LabResult, 'network' | 'elapsedMs'>

async function tryOurs(lab: Lab, slack: number): Promise<Seen> {
  const { network, settings } = lab
  const check = await tryCheck(lab)
  const connect = await tryConnect(lab)
  const differences = [...compareCheck(network, settings, check), ...compareConnect(network, connect, slack)]
  return { check, connect, client: null, differences }
}

async function tryOther(
  lab: Lab,
  { command, patienceS }: NonNullable<LabTestOptions['client']>
): Promise<Seen> {
  const client = await tryClient(lab, command, patienceS)
  return { check: null, connect: null, client, differences: compareClient(lab.network, client) }
}
