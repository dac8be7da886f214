/**
 * What the data plane counts. Packets and bytes are those of inner packets that got through.
 * @module
 */

/** Why packets were thrown away. */
export interface DropCounters {
  /** Outbound: no Child SA's selectors match, or none may send. */
  outsideSelectors: number
  /** Outbound: no transport, or one that is blocked while others wait. */
  noPath: number
  /** Outbound: too many waited for the transport. */
  queueFull: number
  /** Outbound: had waited too long for the transport (CoDel, RFC 8289). */
  queueLate: number
  /** Outbound: longer than the tunnel's MTU, answered with ICMP where that is allowed. */
  tooBig: number
  /** Outbound: not IP, or headers that contradict each other. */
  malformed: number
  /** Outbound: the SA's sequence numbers are used up. */
  sequenceExhausted: number
  /** Inbound ESP: no such SPI. */
  unknownSpi: number
  /** Inbound ESP: seen before, or older than the window. */
  replayed: number
  notAuthentic: number
  /** Inbound ESP: broken in itself, or neither IPv4 nor IPv6 inside. */
  malformedEsp: number
  /** Inbound: an authentic packet whose addresses, protocol or ports are not those of its SA (RFC 4301 section 5.2). */
  wrongSelectors: number
  /** Inbound: marked as congested outside, and not able to carry that mark inside (RFC 6040). */
  congestion: number
  /** Inbound: the TUN device did not take it. */
  tunRefused: number
}

export interface PumpStats {
  readonly packetsIn: number
  readonly bytesIn: number
  readonly packetsOut: number
  readonly bytesOut: number
  /** Outbound packets that a living peer would answer. */
  readonly expectingOut: number
  /** Dummy packets received (RFC 4303 section 2.6). */
  readonly dummies: number
  readonly dropped: Readonly<DropCounters>
  /** In the clock of `now`; undefined: never. */
  readonly lastReceivedMs: number | undefined
  readonly lastSentMs: number | undefined
}

export class PumpCounters implements PumpStats {
  packetsIn = 0
  bytesIn = 0
  packetsOut = 0
  bytesOut = 0
  expectingOut = 0
  dummies = 0
  lastReceivedMs: number | undefined = undefined
  lastSentMs: number | undefined = undefined
  readonly dropped: DropCounters = {
    outsideSelectors: 0,
    noPath: 0,
    queueFull: 0,
    queueLate: 0,
    tooBig: 0,
    malformed: 0,
    sequenceExhausted: 0,
    unknownSpi: 0,
    replayed: 0,
    notAuthentic: 0,
    malformedEsp: 0,
    wrongSelectors: 0,
    congestion: 0,
    tunRefused: 0
  }
}

/** The sum of what is counted in several places. */
export function sumStats(all: readonly PumpStats[]): PumpStats {
  const total = new PumpCounters()
  for (const one of all) {
    total.packetsIn += one.packetsIn
    total.bytesIn += one.bytesIn
    total.packetsOut += one.packetsOut
    total.bytesOut += one.bytesOut
    total.expectingOut += one.expectingOut
    total.dummies += one.dummies
    for (const key of Object.keys(total.dropped) as (keyof typeof total.dropped)[])
      total.dropped[key] += one.dropped[key]
    total.lastReceivedMs = latest(total.lastReceivedMs, one.lastReceivedMs)
    total.lastSentMs = latest(total.lastSentMs, one.lastSentMs)
  }
  return total
}

function latest(left: number | undefined, right: number | undefined): number | undefined {
  return left === undefined || (right !== undefined && right > left) ? right : left
}
