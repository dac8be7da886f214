/**
 * The kernel's own emulator (tc-netem(8)), where it is there: one queue discipline at each end of a veth cable.
 *
 * netem counts what it drops in the statistics of `tc` only, and takes a super-packet for one packet: the cable's ends are told to make
 * none. Its rate comes before its delay in one queue, so `queueBytes` becomes packets of 1500 bytes, plus what the delay holds.
 * @module
 */
import type { LabNamespace } from '../netlab.ts'
import type { LinkConditions } from './conditions.ts'
import type { LabLink, LinkReport, OutageReport } from './types.ts'

const PACKET_BITS = 12_000
/** Without a rate there is no queue, and nothing but memory that bounds what is on its way. */
const NO_LIMIT_PACKETS = 1_000_000

interface CableEnd {
  readonly namespace: Pick<LabNamespace, 'run'>
  readonly device: string
}

export class NetemLink implements LabLink {
  readonly engine = 'netem'
  readonly #ends: readonly CableEnd[]
  readonly #conditions: LinkConditions[] = [{}, {}]

  constructor(a: CableEnd, b: CableEnd) {
    this.#ends = [a, b]
  }

  async setConditions(forward?: LinkConditions, backward?: LinkConditions): Promise<void> {
    for (const [index, conditions] of [forward, backward].entries())
      if (conditions !== undefined) this.#conditions[index] = conditions
    await this.#apply((conditions) => netemArguments(conditions))
  }

  async setDown(down: boolean): Promise<void> {
    await this.#apply((conditions) => netemArguments(down ? { ...conditions, loss: 1 } : conditions))
  }

  async outage(forMs: number): Promise<OutageReport> {
    await this.setDown(true)
    const fromMs = Number(process.hrtime.bigint()) / 1e6
    await new Promise((resolve) => setTimeout(resolve, forMs))
    await this.setDown(false)
    return { fromMs, toMs: Number(process.hrtime.bigint()) / 1e6 }
  }

  async report(): Promise<LinkReport | undefined> {
    return undefined
  }

  /** The cable goes with its namespaces. */
  async close(): Promise<void> {}

  async #apply(argumentsOf: (conditions: LinkConditions) => string[]): Promise<void> {
    for (const [index, { namespace, device }] of this.#ends.entries()) {
      await onePacketAtATime(namespace, device)
      const netem = argumentsOf(this.#conditions[index] ?? {})
      await namespace.run(['tc', 'qdisc', 'replace', 'dev', device, 'root', 'netem', ...netem])
    }
  }
}

async function onePacketAtATime(namespace: CableEnd['namespace'], device: string): Promise<void> {
  await namespace.run(['ip', 'link', 'set', 'dev', device, 'gso_max_segs', '1'])
}

/** What tc-netem(8) calls these conditions. Both of its loss models cannot hold at once: bursts win. */
export function netemArguments(conditions: LinkConditions): string[] {
  const { delayMs = 0, jitterMs = 0, rateBitsPerSecond, burstLoss, loss = 0, reorder = 0 } = conditions
  const words = ['limit', String(limitPackets(conditions))]
  if (delayMs > 0 || jitterMs > 0) words.push('delay', ms(delayMs), ...(jitterMs > 0 ? [ms(jitterMs)] : []))
  if (loss >= 1) words.push('loss', 'random', '100%')
  else if (burstLoss !== undefined) {
    const { enter, leave, lossInside = 1, lossOutside = 0 } = burstLoss
    words.push('loss', 'gemodel', ...[enter, leave, lossInside, lossOutside].map(percent))
  } else if (loss > 0) words.push('loss', 'random', percent(loss))
  // Its share is of packets that leave at once, and overtake the others.
  if (reorder > 0 && delayMs > 0) words.push('reorder', percent(reorder))
  if ((conditions.duplicate ?? 0) > 0) words.push('duplicate', percent(conditions.duplicate ?? 0))
  if ((conditions.corrupt ?? 0) > 0) words.push('corrupt', percent(conditions.corrupt ?? 0))
  if (rateBitsPerSecond !== undefined) words.push('rate', `${Math.round(rateBitsPerSecond)}bit`)
  return words
}

/** Of the queue and of the delay together, which netem does not tell apart. */
function limitPackets({ delayMs = 0, rateBitsPerSecond, queueBytes, queuePackets }: LinkConditions): number {
  const queue = Math.min(queuePackets ?? Infinity, Math.ceil((queueBytes ?? Infinity) / (PACKET_BITS / 8)))
  if (rateBitsPerSecond === undefined || !Number.isFinite(queue)) return NO_LIMIT_PACKETS
  return Math.max(1, queue + Math.ceil((rateBitsPerSecond * delayMs) / 1000 / PACKET_BITS))
}

function ms(value: number): string {
  return `${Number(value.toFixed(3))}ms`
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(5))}%`
}
