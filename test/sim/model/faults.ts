/**
 * Faults of a simulated world, counted when they happen and not when they are planned.
 * @module
 */
export const FAULT_KINDS = [
  // to single packets
  'lost',
  'duplicated',
  'delayed',
  'reordered',
  'corrupted',
  'swallowed',
  'segment-lost',
  'segment-corrupted',
  'connection-refused',
  'icmp-error',
  // from an attacker
  'forged-ike',
  'forged-esp',
  'replayed-ike',
  'replayed-esp',
  'reflected',
  'forged-hint',
  // to a network
  'black-hole',
  'nat-rebound',
  'nat-expired',
  'network-changed',
  'cut-off',
  'stream-reset',
  'stream-ended',
  'stream-half-open',
  'zero-window',
  // to machines
  'machine-slept',
  'process-paused',
  'gateway-restarted',
  'gateway-crashed',
  'gateway-failed-over',
  'client-killed',
  // of the protocol
  'rekey-collision',
  'child-deleted'
] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

export type FaultCounts = Partial<Record<FaultKind, number>>

export function addFaults(to: FaultCounts, more: FaultCounts): void {
  for (const kind of FAULT_KINDS) {
    const count = more[kind]
    if (count !== undefined) to[kind] = (to[kind] ?? 0) + count
  }
}

export function totalFaults(counts: FaultCounts): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}
