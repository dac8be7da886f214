/**
 * The Security Association Database of one peer (RFC 4301 section 4.4.2): its Child SAs by inbound SPI, and which of them
 * sends. One `Sad` belongs to one peer; SPIs of other peers' SAs are other `Sad`s' business.
 *
 * Invariants: an SA receives from the moment it was installed and sends only once it was activated (RFC 7296 section
 * 2.8); of the generations of one Child SA at most one sends.
 * @module
 */
import type { PacketCipherBackend } from '../crypto/packet-cipher-types.ts'
import type { RandomSource } from '../crypto/types.ts'
import { read32 } from '../wire/ip.ts'
import { compileSelectors, type PacketMatcher } from '../wire/selector-matcher.ts'
import { InboundSa } from './inbound-sa.ts'
import { OutboundSa } from './outbound-sa.ts'
import { DEFAULT_REPLAY_WINDOW } from './replay-window.ts'
import type { ChildSaParameters } from './types.ts'

/** Both directions of one Child SA. */
export interface ChildSa {
  readonly parameters: ChildSaParameters
  readonly inbound: InboundSa
  readonly outbound: OutboundSa
  /** May this packet travel in this direction? */
  readonly matches: PacketMatcher
  /** The soft limit was reported: once is enough. */
  limitReported: boolean
}

/** When to ask for a rekeying, in sealed or opened bytes and packets of either direction; 0: never. */
export interface SoftLimits {
  readonly bytes: number
  readonly packets: number
}

export interface SadOptions {
  readonly random: RandomSource
  readonly replayWindow?: number | undefined
  readonly backend?: PacketCipherBackend | undefined
  readonly softLimits?: SoftLimits | undefined
}

/**
 * With fewer sequence numbers left than this, a rekeying is asked for: half of what there are without ESN. Takeovers of a cluster
 * use them up in large steps.
 */
const SEQUENCE_RESERVE = 2 ** 31

export class Sad {
  readonly #options: SadOptions
  readonly #bySpi = new Map<number, ChildSa>()
  /** The sending generation of each Child SA, in order of activation. */
  #sending: ChildSa[] = []
  #softLimits: SoftLimits

  constructor(options: SadOptions) {
    this.#options = options
    this.#softLimits = options.softLimits ?? { bytes: 0, packets: 0 }
  }

  /** Every installed Child SA, old generations included. */
  get children(): readonly ChildSa[] {
    return [...this.#bySpi.values()]
  }

  /** The Child SAs that send. */
  get sending(): readonly ChildSa[] {
    return this.#sending
  }

  /** Takes ownership of the keys. An SA with the same inbound SPI is removed first. @throws InternalError */
  install(parameters: ChildSaParameters): ChildSa {
    const { random, replayWindow = DEFAULT_REPLAY_WINDOW, backend } = this.#options
    this.remove(parameters.inbound.spi)
    const child: ChildSa = {
      parameters,
      inbound: new InboundSa(parameters.inbound, replayWindow, backend),
      outbound: new OutboundSa(parameters.outbound, random, backend),
      matches: compileSelectors(parameters.localTs, parameters.remoteTs),
      limitReported: false
    }
    this.#bySpi.set(parameters.inbound.spi, child)
    return child
  }

  /** From now on this generation of its Child SA sends. @returns false when there is no SA with this SPI */
  activateOutbound(spiIn: number): boolean {
    const child = this.#bySpi.get(spiIn)
    if (child === undefined) return false
    const others = this.#sending.filter((one) => one.parameters.childId !== child.parameters.childId)
    this.#sending = [...others, child]
    return true
  }

  /** Ends both directions and overwrites their keys. @returns false when there is no SA with this SPI */
  remove(spiIn: number): boolean {
    const child = this.#bySpi.get(spiIn)
    if (child === undefined) return false
    this.#bySpi.delete(spiIn)
    this.#sending = this.#sending.filter((one) => one !== child)
    child.inbound.dispose()
    child.outbound.dispose()
    return true
  }

  /** Removes every SA. */
  clear(): void {
    for (const spi of [...this.#bySpi.keys()]) this.remove(spi)
  }

  find(spiIn: number): ChildSa | undefined {
    return this.#bySpi.get(spiIn)
  }

  /** Could an ESP packet for us begin with these eight bytes: a known SPI, and a Sequence Number that may come? */
  mayComeNext(buffer: Uint8Array, offset: number): boolean {
    return this.#bySpi.get(read32(buffer, offset))?.inbound.mayCome(read32(buffer, offset + 4)) === true
  }

  /** The sending Child SA whose selectors this packet of ours matches (RFC 4301 section 5.1). */
  select(buffer: Uint8Array, offset: number, length: number): ChildSa | undefined {
    const sending = this.#sending
    for (let index = 0; index < sending.length; index++) {
      const child = sending[index]
      if (child?.matches(buffer, offset, length, true)) return child
    }
    return undefined
  }

  /** RFC 6311 section 5.2: applies to the outgoing counters of all Child SAs. */
  addToSequences(delta: bigint): void {
    for (const child of this.#bySpi.values()) child.outbound.addToSequence(delta)
  }

  setSoftLimits(limits: SoftLimits): void {
    this.#softLimits = limits
  }

  /** Has this SA carried so much that it should be rekeyed? True once per SA. */
  takeSoftLimit(child: ChildSa): boolean {
    if (child.limitReported) return false
    const { inbound, outbound } = child
    const { bytes, packets } = this.#softLimits
    const used =
      (bytes > 0 && Math.max(inbound.bytes, outbound.bytes) >= bytes) ||
      (packets > 0 && Math.max(inbound.packets, outbound.packets) >= packets) ||
      outbound.remaining < SEQUENCE_RESERVE
    if (used) child.limitReported = true
    return used
  }
}
