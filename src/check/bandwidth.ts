/**
 * How much passes through the tunnel? (`check --bandwidth`) Echo requests of nearly full size are kept in flight, as many as come back: a
 * window grows as long as nothing is lost and no queue builds up, shrinks where one does, and halves where something is lost.
 *
 * What is measured is the slower of both directions, with a host inside that does nothing but echo: the inner bytes that came
 * back in a second. No device and no privilege is needed. Where the host limits its answers, the figure is that limit.
 * @module
 */
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { RoundTrip } from '../diagnosis/evidence.ts'
import { Bell } from './bell.ts'
import type { InnerLink } from './inner-link.ts'
import { echoRequest, type InnerEnds, readEchoReply } from './inner-packets.ts'
import { roundTrip } from './round-trip.ts'

export interface BandwidthEvidence {
  readonly host: string
  /** Inner bytes that came back, in Mbit/s, without the time in which the window grew. */
  readonly mbitPerSecond: number
  readonly durationMs: number
  readonly packetBytes: number
  readonly sent: number
  readonly received: number
  readonly lossPercent: number
  /** While the path was full: how long others would have to wait behind this. */
  readonly loadedRtt: RoundTrip | null
}

export interface BandwidthOptions {
  readonly clock: Clock
  readonly random: RandomSource
  readonly signal: AbortSignal
  readonly durationMs: number
}

/** Fits everywhere IPv6 does, with room for ESP (RFC 8200 section 5). */
const PACKET_BYTES = 1_200
const FIRST_WINDOW = 16
const MOST_IN_FLIGHT = 2_048
/** This share of the time belongs to the growing of the window. */
const WARM_UP = 0.3
/** A packet is lost when so many younger ones have come back (more reordering than RFC 5681's three, through two hosts). */
const REORDERING = 64
/** Nothing at all comes back for so long: everything in flight is lost. */
const STALL_MS = 500
/** A queue of so much time keeps every path busy, and a busy computer as well; more only delays what is measured. */
const QUEUE_MS = 100
/** For each packet that comes back through a longer queue: half a window in each round trip. */
const SHRINK = 0.5
/** By so much in each round trip, and a packet: a short measurement has no time for a packet alone. */
const GROWTH = 0.05
/** Packets a turn of the event loop, so that what comes in gets its turn. */
const BURST = 64
const SEQUENCE_NUMBERS = 0x1_0000
const MAX_SAMPLES = 20_000

/** @returns undefined when nothing came back */
export async function measureBandwidth(
  link: InnerLink,
  ends: InnerEnds,
  options: BandwidthOptions
): Promise<BandwidthEvidence | undefined> {
  return new EchoLoad(link, ends, options).run()
}

class EchoLoad {
  readonly #link: InnerLink
  readonly #ends: InnerEnds
  readonly #options: BandwidthOptions
  readonly #bell: Bell
  readonly #identifier: number
  /** When each packet in flight left, in the order in which they did. */
  readonly #inFlight = new Map<number, number>()
  readonly #samples: number[] = []
  #window = FIRST_WINDOW
  /** Above this the window grows slowly. */
  #threshold = MOST_IN_FLIGHT
  #leastRttMs = Number.POSITIVE_INFINITY
  #next = 0
  #sent = 0
  #received = 0
  #lost = 0
  #countedBytes = 0
  #lastHeard: number
  #halvedAt = Number.NEGATIVE_INFINITY
  #ended = false
  readonly #startedAt: number

  constructor(link: InnerLink, ends: InnerEnds, options: BandwidthOptions) {
    this.#link = link
    this.#ends = ends
    this.#options = options
    this.#bell = new Bell(options.clock, options.signal)
    const [high = 0, low = 0] = options.random.bytes(2)
    this.#identifier = (high << 8) | low
    this.#startedAt = this.#lastHeard = options.clock.now()
    link.setHandlers({
      onPacket: (packet) => this.#take(packet),
      onReady: () => this.#bell.ring(),
      onEnd: () => {
        this.#ended = true
        this.#bell.ring()
      }
    })
  }

  async run(): Promise<BandwidthEvidence | undefined> {
    const { clock, durationMs, signal } = this.#options
    const endAt = this.#startedAt + durationMs
    while (clock.now() < endAt && !this.#ended && !signal.aborted) {
      this.#fill()
      await this.#bell.wait(Math.min(endAt, this.#lastHeard + STALL_MS))
      if (clock.now() - this.#lastHeard >= STALL_MS) this.#stalled()
    }
    if (this.#received === 0) return undefined
    const { destination } = this.#ends
    const countedMs = clock.now() - this.#warmUntil
    const judged = this.#received + this.#lost
    return {
      host: destination,
      mbitPerSecond: Math.round(((this.#countedBytes * 8) / 1000 / Math.max(1, countedMs)) * 100) / 100,
      durationMs: Math.round(clock.now() - this.#startedAt),
      packetBytes: PACKET_BYTES,
      sent: this.#sent,
      received: this.#received,
      lossPercent: Math.round((this.#lost / judged) * 10_000) / 100,
      loadedRtt: roundTrip(this.#samples)
    }
  }

  get #warmUntil(): number {
    return this.#startedAt + this.#options.durationMs * WARM_UP
  }

  #fill(): void {
    const { clock } = this.#options
    for (let count = 0; count < BURST && this.#inFlight.size < this.#window; count++) {
      const sequence = this.#next
      if (!this.#link.send(echoRequest(this.#ends, this.#identifier, sequence, PACKET_BYTES))) break
      this.#next = (sequence + 1) % SEQUENCE_NUMBERS
      this.#inFlight.set(sequence, clock.now())
      this.#sent++
    }
    this.#link.flush()
  }

  #take(packet: Uint8Array): void {
    const reply = readEchoReply(packet)
    if (reply?.identifier !== this.#identifier) return
    const sentAt = this.#inFlight.get(reply.sequence)
    if (sentAt === undefined) return
    const now = this.#options.clock.now()
    this.#inFlight.delete(reply.sequence)
    this.#received++
    this.#lastHeard = now
    if (now >= this.#warmUntil) {
      this.#countedBytes += reply.lengthBytes
      if (this.#samples.length < MAX_SAMPLES) this.#samples.push(now - sentAt)
    }
    this.#adjust(now - sentAt)
    this.#giveUpOld(reply.sequence, now)
  }

  /** Doubles in each round trip until something was lost, from then on it grows slowly; where a long queue is, it shrinks. */
  #adjust(rttMs: number): void {
    this.#leastRttMs = Math.min(this.#leastRttMs, rttMs)
    if (rttMs - this.#leastRttMs > QUEUE_MS) {
      this.#window = Math.max(FIRST_WINDOW, this.#window - SHRINK)
    } else {
      const step = this.#window < this.#threshold ? 1 : 1 / this.#window + GROWTH
      this.#window = Math.min(MOST_IN_FLIGHT, this.#window + step)
    }
  }

  /** What left long before something that has come back is lost. */
  #giveUpOld(newest: number, now: number): void {
    for (const [sequence, sentAt] of this.#inFlight) {
      const age = (newest - sequence + SEQUENCE_NUMBERS) % SEQUENCE_NUMBERS
      if (age < REORDERING || age > SEQUENCE_NUMBERS / 2) return
      this.#inFlight.delete(sequence)
      this.#lost++
      // Once for each round trip: the rest of the window was sent before anybody knew.
      if (sentAt > this.#halvedAt) this.#halve(now)
    }
  }

  #stalled(): void {
    const now = this.#options.clock.now()
    this.#lost += this.#inFlight.size
    this.#inFlight.clear()
    this.#halve(now)
    this.#window = FIRST_WINDOW
    this.#lastHeard = now
  }

  #halve(now: number): void {
    this.#halvedAt = now
    this.#threshold = this.#window = Math.max(FIRST_WINDOW, this.#window / 2)
  }
}
