/**
 * What of a lab network can be chosen.
 * @module
 */
import type { LinkConditions } from '../host/link/conditions.ts'

export interface LabSettings {
  /** Share of the packets that are lost, each way. */
  readonly loss?: number | undefined
  /** One way. */
  readonly delayMs?: number | undefined
  /** Largest packet that the router forwards; larger ones vanish without a word. */
  readonly mtu?: number | undefined
  /** For how long a NAT remembers a UDP binding that is not used. */
  readonly natTimeoutMs?: number | undefined
  /** Of everything that is left to chance. */
  readonly seed: number
}

/** A home router forgets TCP after two hours and UDP after minutes; one that is short of memory keeps this relation. */
const TCP_TIMEOUT_FACTOR = 12

/** The emulated link that the settings ask for; undefined: a cable does. */
export function linkConditions({ loss, delayMs }: LabSettings): LinkConditions | undefined {
  return loss === undefined && delayMs === undefined ? undefined : { loss, delayMs }
}

export function tcpTimeoutMs(natTimeoutMs: number): number {
  return natTimeoutMs * TCP_TIMEOUT_FACTOR
}
