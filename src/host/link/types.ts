/**
 * An emulated link as its user sees it, and what its owner and the process that carries its packets tell each other.
 * @module
 */
import type { LabNamespace } from '../netlab.ts'
import type { LinkConditions } from './conditions.ts'
import type { LinkCounters } from './link-direction.ts'
import type { NatPlan } from './nat.ts'

export type LinkEngine = 'user-space' | 'netem'

export interface LinkEnd {
  readonly namespace: LabNamespace
  readonly device: string
  /** With prefix length, IPv4 or IPv6; both ends' lie in the same subnets. */
  readonly addresses: readonly string[]
}

export interface LabLink {
  readonly engine: LinkEngine
  /** For packets that enter from now on; what is absent stays. */
  setConditions(forward?: LinkConditions, backward?: LinkConditions): Promise<void>
  /** While down, everything vanishes, in both directions and without a word. */
  setDown(down: boolean): Promise<void>
  /** A black hole for this long. Resolves when it is over. */
  outage(forMs: number): Promise<OutageReport>
  /** Undefined where the link does not count. */
  report(): Promise<LinkReport | undefined>
  close(): Promise<void>
}

export interface LinkProcessPlan {
  readonly a: { readonly netnsPath: string; readonly device: string }
  readonly b: { readonly netnsPath: string; readonly device: string }
  /** From a to b, and back. */
  readonly forward: LinkConditions
  readonly backward: LinkConditions
  readonly seed: number
  readonly mtu: number
  /** At the end of a. */
  readonly nat?: NatPlan | undefined
}

export type LinkOrder =
  | {
      readonly order: 'conditions'
      readonly forward?: LinkConditions | undefined
      readonly backward?: LinkConditions | undefined
    }
  | { readonly order: 'down'; readonly down: boolean }
  /** Answered when it is over. */
  | { readonly order: 'outage'; readonly forMs: number }
  | { readonly order: 'report' }

export interface LinkReport {
  readonly forward: LinkCounters
  readonly backward: LinkCounters
  /** Packets that were due but that the kernel did not take. */
  readonly refused: number
  /** Processor time that carrying has cost so far. */
  readonly cpuMs: number
  /** Bindings made so far, and packets that were not translated. */
  readonly nat?: { readonly bindings: number; readonly dropped: number }
}

/** By CLOCK_MONOTONIC, which `process.hrtime` shows in every process of the machine. */
export interface OutageReport {
  readonly fromMs: number
  readonly toMs: number
}
