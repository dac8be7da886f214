/**
 * What one direction of an emulated link does to packets.
 *
 * The stages, in the order in which a packet meets them: outage, queue (tail drop), line rate, loss, corruption, propagation with
 * jitter, reordering, duplication. A lost packet has used the line: it got lost behind the bottleneck, as on a bad radio hop.
 * @module
 */
import { UsageError } from '../../errors.ts'

/** A two-state loss model (Gilbert 1960, Elliott 1963): runs of loss with pauses between them. */
export interface BurstLoss {
  /** Probability, per packet, that a bad run begins. Mean pause: 1 / `enter` packets. */
  readonly enter: number
  /** Probability, per packet, that a bad run ends. Mean run: 1 / `leave` packets. */
  readonly leave: number
  /** Share of the packets lost in a bad run; 1 is Gilbert's simple model. */
  readonly lossInside?: number | undefined
  /** Share of the packets lost outside of one; 0 by default. */
  readonly lossOutside?: number | undefined
}

/** Shares are 0 to 1. Everything is off where it is absent. */
export interface LinkConditions {
  /** One way. */
  readonly delayMs?: number | undefined
  /** Delays spread evenly over `delayMs` ± this. */
  readonly jitterMs?: number | undefined
  /** True: jitter may let a packet overtake another. By default a packet waits for those before it, as in one queue. */
  readonly jitterReorders?: boolean | undefined
  /** This share of the packets is held back and may be overtaken. */
  readonly reorder?: number | undefined
  /** For how long; 1 ms by default. */
  readonly reorderByMs?: number | undefined
  /** Each packet on its own. */
  readonly loss?: number | undefined
  readonly burstLoss?: BurstLoss | undefined
  readonly duplicate?: number | undefined
  /** One bit is turned over, behind the first 20 bytes. */
  readonly corrupt?: number | undefined
  readonly rateBitsPerSecond?: number | undefined
  /** Of IP packets in front of the line, the one on it included. Without a rate nothing queues. */
  readonly queueBytes?: number | undefined
  readonly queuePackets?: number | undefined
}

const SHARES = ['loss', 'duplicate', 'corrupt', 'reorder'] as const
const AMOUNTS = ['delayMs', 'jitterMs', 'reorderByMs'] as const
const LIMITS = ['rateBitsPerSecond', 'queueBytes', 'queuePackets'] as const
const BURST_SHARES = ['enter', 'leave', 'lossInside', 'lossOutside'] as const
const BURST_NAMES = [...BURST_SHARES] as readonly string[]
const NAMES: readonly string[] = [...SHARES, ...AMOUNTS, ...LIMITS, 'jitterReorders', 'burstLoss']

/** Checks what came from outside. @throws UsageError that names the field */
export function parseConditions(value: unknown): LinkConditions {
  const fields = fieldsOf(value, 'conditions', NAMES)
  for (const name of SHARES) check(fields, name, (number) => number >= 0 && number <= 1, 'from 0 to 1')
  for (const name of AMOUNTS) check(fields, name, (number) => number >= 0, '0 or more')
  for (const name of LIMITS) check(fields, name, (number) => number > 0, 'more than 0')
  const reorders = fields['jitterReorders']
  if (reorders !== undefined && typeof reorders !== 'boolean') refuse('jitterReorders', 'true or false')
  const burst = fields['burstLoss']
  if (burst !== undefined) {
    const shares = fieldsOf(burst, 'burstLoss', BURST_NAMES)
    for (const name of ['enter', 'leave'])
      if (typeof shares[name] !== 'number') refuse(`burstLoss.${name}`, 'a number')
    for (const name of BURST_SHARES)
      check(shares, name, (number) => number >= 0 && number <= 1, 'from 0 to 1', 'burstLoss.')
  }
  return fields as LinkConditions
}

/** Share of the packets that this model loses in the long run. */
export function meanBurstLoss(burst: BurstLoss): number {
  const { enter, leave, lossInside = 1, lossOutside = 0 } = burst
  if (enter + leave === 0) return lossOutside
  return (enter * lossInside + leave * lossOutside) / (enter + leave)
}

type Fields = Readonly<Record<string, unknown>>

function fieldsOf(value: unknown, what: string, known: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(what, 'an object')
  const unknown = Object.keys(value).find((name) => !known.includes(name))
  if (unknown !== undefined)
    throw new UsageError('link-conditions', `A link has no condition "${unknown}"`, {
      hint: `There are ${known.join(', ')}`
    })
  return value as Fields
}

function check(
  fields: Fields,
  name: string,
  allowed: (value: number) => boolean,
  range: string,
  prefix = ''
): void {
  const value = fields[name]
  if (value === undefined) return
  if (typeof value !== 'number' || !Number.isFinite(value) || !allowed(value))
    refuse(prefix + name, `a number, ${range}`)
}

function refuse(name: string, wanted: string): never {
  throw new UsageError('link-conditions', `"${name}" of a link must be ${wanted}`)
}
