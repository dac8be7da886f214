/**
 * Asks inside the tunnel for an answer, so that ESP can be judged by ESP when the inner traffic itself says nothing: a download that breaks
 * off leaves nothing unanswered. Three are asked: the tunnel's name server (a DNS query), the first router behind the gateway (an echo
 * request whose hop limit ends there), and whoever inside was heard last (an echo request).
 *
 * Invariant: silence is evidence against the path only where somebody is silent who used to answer; nobody has to answer such
 * questions. Without such a witness, hosts that were in conversation until now count, if they no longer answer anything at all.
 * @module
 */
import type { RandomSource } from '../crypto/types.ts'
import type { InnerInspector } from '../dataplane/peer-link.ts'
import type { AssignedConfig } from '../ike/types.ts'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'
import {
  IPV4_DESTINATION_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV6_DESTINATION_OFFSET,
  IPV6_SOURCE_OFFSET
} from '../wire/ip.ts'
import { dnsRootQuery, echoRequest, ProbeAnswer, probeAnswerIn } from '../wire/probe-packets.ts'
import type { PathSize, ProbeRoute } from './path-size.ts'
import type { TrafficCounters } from './watchdog.ts'

/** A packet to be sent; `counts`: whether the path is to be blamed if nothing comes back (see `TrafficCounters`). */
export interface Probe {
  readonly packet: Uint8Array
  readonly counts: boolean
}

type Kind = 'name-server' | 'hop' | 'host'

interface Witness {
  readonly kind: Kind
  /** A number of `probeAnswerIn`. */
  readonly question: number
  target: Uint8Array | undefined
  source: Uint8Array | undefined
  /** It has answered such a question. */
  proved: boolean
  /** Questions in a row without an answer. */
  missed: number
}

/** Fewer questions than this without an answer prove nothing. */
const ENOUGH_MISSED = 3
/** A hop limit that ends right behind the gateway. */
const FIRST_HOP = 1
/** Answers are looked for so many ticks after the last question. */
const WATCH_TICKS = 30
/** A host that was heard within so many ticks was in conversation. */
const KNOWN_TICKS = 600
const MAX_KNOWN_HOSTS = 64
/** First of the dynamic ports (RFC 6335 section 6): DNS identifiers are ports. */
const FIRST_PORT = 49_152

export class InnerProbes implements InnerInspector {
  readonly #witnesses: readonly Witness[]
  readonly #known = new Map<string, number>()
  #local: readonly Uint8Array[] = []
  #nameServerCounts = true
  #sequence = 0
  #tick = 0
  #watchUntil = 0
  #inboundSampled = false
  #outboundSampled = false
  /** Something came in since questions were asked last. */
  #arrived = false
  /** Ticks in which somebody known was told something, since anything came in. */
  #knownUnanswered = 0
  #lastHeard: Uint8Array | undefined
  readonly #size: PathSize

  /** @param size hears of answers, too */
  constructor(random: RandomSource, size: PathSize) {
    this.#size = size
    const witness = (kind: Kind, question: number): Witness => {
      return { kind, question, target: undefined, source: undefined, proved: false, missed: 0 }
    }
    const [a = 0, b = 0, c = 0, d = 0] = random.bytes(4)
    const echo = c * 256 + (d & 0xfe)
    this.#witnesses = [
      witness('name-server', ProbeAnswer.DNS | (FIRST_PORT + (a & 0x3f) * 256 + b)),
      witness('hop', ProbeAnswer.ECHO | echo),
      witness('host', ProbeAnswer.ECHO | (echo + 1))
    ]
  }

  /** Addresses of ours, and the tunnel's name servers. */
  configure(config: AssignedConfig | undefined): void {
    this.#local = (config?.addresses ?? []).map(({ address }) => bytesOf(address))
    const servers = (config?.dns ?? []).map(bytesOf)
    const server = servers.find((address) => this.#sourceFor(address) !== undefined)
    this.#aim('name-server', server)
    this.#aim('hop', server ?? this.#lastHeard)
  }

  /** A silence begins, or a path: what was not answered before is forgotten. */
  begin(): void {
    for (const witness of this.#witnesses) {
      // Others were heard meanwhile: it is gone, not the path.
      if (this.#arrived && witness.missed >= ENOUGH_MISSED) witness.proved = false
      witness.missed = 0
    }
    this.#arrived = false
    this.#aim('host', this.#lastHeard)
    if (this.#witness('name-server').target === undefined) this.#aim('hop', this.#lastHeard)
  }

  /** One question to each. */
  burst(): Probe[] {
    this.#watchUntil = this.#tick + WATCH_TICKS
    this.#sequence = (this.#sequence + 1) & 0xffff
    return this.#witnesses.flatMap((witness) => {
      const { kind, source, target: destination, question, proved } = witness
      if (source === undefined || destination === undefined) return []
      witness.missed++
      const identifier = question & 0xffff
      const addresses = { source, destination, identifier }
      const hopLimit = kind === 'hop' ? FIRST_HOP : undefined
      const packet =
        kind === 'name-server'
          ? dnsRootQuery(addresses)
          : echoRequest({ ...addresses, sequence: this.#sequence, hopLimit })
      return [{ packet, counts: proved || (kind === 'name-server' && this.#nameServerCounts) }]
    })
  }

  /**
   * The way to the first router behind the gateway: towards the name server, else the gateway itself, else whoever was heard.
   * @param gateway its outer address; it need not be reachable inside, since nothing gets that far
   */
  firstHop(gateway: Uint8Array | undefined): ProbeRoute | undefined {
    for (const destination of [this.#witness('name-server').target, gateway, this.#lastHeard]) {
      const source = destination === undefined ? undefined : this.#sourceFor(destination)
      if (destination !== undefined && source !== undefined) return { source, destination }
    }
    return undefined
  }

  /** Is there somebody who used to answer, and does not? */
  get witness(): TrafficCounters['witness'] {
    const proved = this.#witnesses.filter((witness) => witness.proved)
    if (proved.some(({ missed }) => missed >= ENOUGH_MISSED)) return 'silent'
    if (proved.length > 0) return 'answers'
    const isHostSilent = this.#witness('host').missed >= ENOUGH_MISSED
    return isHostSilent && this.#knownUnanswered >= ENOUGH_MISSED ? 'silent' : 'none'
  }

  /** No path does better: whoever was asked does not answer anywhere. */
  disbelieve(): void {
    this.#nameServerCounts = false
    for (const witness of this.#witnesses) witness.proved = false
    this.#known.clear()
  }

  /** Called ten times a second: of what passes in between, one packet each way is looked at. */
  tick(): void {
    this.#tick++
    this.#inboundSampled = false
    this.#outboundSampled = false
  }

  inbound(buffer: Uint8Array, offset: number, length: number): void {
    const isWatching = this.#tick < this.#watchUntil || this.#size.isAsking
    if (this.#inboundSampled && !isWatching) return
    const answer = isWatching ? probeAnswerIn(buffer, offset, length) : ProbeAnswer.NONE
    if (answer !== ProbeAnswer.NONE) {
      this.#answered(answer)
      this.#size.answered(answer)
    }
    if (this.#inboundSampled) return
    this.#inboundSampled = true
    this.#arrived = true
    this.#knownUnanswered = 0
    const isIpv4 = (buffer[offset] ?? 0) >>> 4 === 4
    const at = offset + (isIpv4 ? IPV4_SOURCE_OFFSET : IPV6_SOURCE_OFFSET)
    const source = Uint8Array.from(buffer.subarray(at, at + (isIpv4 ? 4 : 16)))
    this.#lastHeard = source
    const name = addressFromBytes(source)
    this.#known.delete(name)
    this.#known.set(name, this.#tick)
    if (this.#known.size > MAX_KNOWN_HOSTS) {
      const oldest = this.#known.keys().next()
      if (oldest.done !== true) this.#known.delete(oldest.value)
    }
  }

  outbound(buffer: Uint8Array, offset: number): void {
    if (this.#outboundSampled) return
    this.#outboundSampled = true
    const isIpv4 = (buffer[offset] ?? 0) >>> 4 === 4
    const at = offset + (isIpv4 ? IPV4_DESTINATION_OFFSET : IPV6_DESTINATION_OFFSET)
    const heardAt = this.#known.get(addressFromBytes(buffer.subarray(at, at + (isIpv4 ? 4 : 16))))
    if (heardAt !== undefined && this.#tick - heardAt < KNOWN_TICKS) this.#knownUnanswered++
  }

  #answered(answer: number): void {
    for (const witness of this.#witnesses) {
      if (witness.question !== answer) continue
      witness.proved = true
      witness.missed = 0
      if (witness.kind === 'name-server') this.#nameServerCounts = true
    }
  }

  #aim(kind: Kind, target: Uint8Array | undefined): void {
    const witness = this.#witness(kind)
    const isSame = target !== undefined && witness.target !== undefined && equal(target, witness.target)
    // The first router is the same, whatever lies behind it.
    if (!isSame && kind !== 'hop') witness.proved = false
    witness.target = target
    witness.source = target === undefined ? undefined : this.#sourceFor(target)
  }

  #witness(kind: Kind): Witness {
    const found = this.#witnesses.find((witness) => witness.kind === kind)
    if (found === undefined) throw new RangeError(`no witness is called ${kind}`)
    return found
  }

  #sourceFor(target: Uint8Array): Uint8Array | undefined {
    return this.#local.find(({ length }) => length === target.length)
  }
}

function bytesOf(address: string): Uint8Array {
  return addressToBytes(address) ?? new Uint8Array(0)
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}
