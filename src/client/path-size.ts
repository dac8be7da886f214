/**
 * Finds out how long an inner packet may be where nobody says what is too long: a path over UDP whose ICMP "packet too big" is lost
 * (a black hole, RFC 8899 section 1). Echo requests of several lengths go through the tunnel itself to the first hop behind the
 * gateway; what is not answered, while short ones are, is too long. Answers may be as short as an ICMP error: then only the way
 * there was tested. At first only the longest and a short one are asked with; the rest once somebody has answered.
 *
 * Until something is known, TCP inside is held to segments that pass nearly everywhere: a connection that is opened in the first
 * moment would keep its segment size, and stall. Where nobody answers at all nothing is changed.
 *
 * No clock of its own: `tick` is called ten times a second.
 * @module
 */
import type { RandomSource } from '../crypto/types.ts'
import { MIN_IPV6_MTU } from '../dataplane/mtu.ts'
import { echoRequest, ProbeAnswer } from '../wire/probe-packets.ts'

/** One after the other, most likely first: between Ethernet and what IPv6 promises, then down to what IPv4 does. */
const LENGTHS: readonly number[] = [1380, 1360, 1340, 1320, 1300, 1280, 1240, 1200, 1120, 1024, 896, 768, 576]
const SHORT_LENGTH = 64
const IPV4_OVERHEAD = 28
const IPV6_OVERHEAD = 48
/** Long enough for most round trips; answers count however late they are. */
const TICKS_BETWEEN_ROUNDS = 3
/** So many short ones answered while no long one was: at 20 % loss by chance less than twice in a thousand times. */
const ENOUGH_ANSWERS = 4
const MAX_ROUNDS = 10
/** Of `#lengths`: short ones, before and after somebody has answered; then the longest. */
const SCOUT = 0
const SHORT = 1
const LONGEST = 2
/** A hop limit that ends right behind the gateway. */
const FIRST_HOP = 1

export interface ProbeRoute {
  readonly source: Uint8Array
  readonly destination: Uint8Array
}

export class PathSize {
  /** Told once for each `begin`: the longest that passes, or the limit if nobody can tell. */
  onResult: ((lengthBytes: number) => void) | undefined
  readonly #firstIdentifier: number
  /** Identifiers in use: the short one of the first questions, that of the others, then one for each length. */
  #lengths: readonly number[] = []
  #answers: number[] = []
  #limit = 0
  #rounds = 0
  #ticksLeft = 0
  #asking = false
  /** Somebody answers: worth asking about every length. */
  #sweeping = false

  constructor(random: RandomSource) {
    const [a = 0, b = 0] = random.bytes(2)
    // Clear of what other questions use: bits above and below change independently.
    this.#firstIdentifier = ((a << 8) | b) & 0xffe0
  }

  /** True: answers are wanted. */
  get isAsking(): boolean {
    return this.#asking
  }

  /** What TCP segments may come to until the result is there; undefined: whatever the MTU allows. */
  get caution(): number | undefined {
    return this.#asking ? Math.min(this.#limit, MIN_IPV6_MTU) : undefined
  }

  /** A path begins. @param limit longest inner packet that is sent at all */
  begin(limit: number): void {
    this.#limit = limit
    this.#lengths = [SHORT_LENGTH, SHORT_LENGTH, limit, ...LENGTHS.filter((length) => length < limit)]
    this.#answers = this.#lengths.map(() => 0)
    this.#rounds = 0
    this.#ticksLeft = 0
    this.#asking = true
    this.#sweeping = false
  }

  /** There is nothing to be found out about the path in use. */
  end(): void {
    this.#asking = false
  }

  /** @returns packets to be sent now */
  tick(route: ProbeRoute | undefined): Uint8Array[] {
    if (!this.#asking || route === undefined || this.#ticksLeft-- > 0) return []
    this.#ticksLeft = TICKS_BETWEEN_ROUNDS - 1
    if (this.#rounds++ >= MAX_ROUNDS) {
      this.#conclude(this.#limit)
      return []
    }
    // What passes in full need not be asked about in part, nor what nobody answers.
    const end = this.#sweeping ? this.#lengths.length : LONGEST + 1
    const packets = this.#lengths
      .slice(LONGEST, end)
      .map((length, index) => this.#question(route, length, LONGEST + index))
    const short = this.#sweeping ? SHORT : SCOUT
    return [...packets, this.#question(route, SHORT_LENGTH, short)]
  }

  /** @param answer what `probeAnswerIn` found */
  answered(answer: number): void {
    const index = (answer & 0xffff) - this.#firstIdentifier
    const length = this.#lengths[index]
    if (!this.#asking || (answer & ProbeAnswer.ECHO) === 0 || length === undefined) return
    this.#answers[index] = (this.#answers[index] ?? 0) + 1
    if (index === LONGEST) {
      this.#conclude(this.#limit)
      return
    }
    if (!this.#sweeping) {
      this.#sweeping = true
      this.#rounds = 0
    }
    if ((this.#answers[SHORT] ?? 0) < ENOUGH_ANSWERS) return
    const passed = this.#lengths.filter((_, at) => at >= LONGEST && (this.#answers[at] ?? 0) > 0)
    if (passed.length > 0) this.#conclude(Math.max(...passed))
  }

  #conclude(lengthBytes: number): void {
    this.#asking = false
    this.onResult?.(lengthBytes)
  }

  #question(route: ProbeRoute, length: number, index: number): Uint8Array {
    const overhead = route.source.length === 4 ? IPV4_OVERHEAD : IPV6_OVERHEAD
    return echoRequest({
      ...route,
      identifier: this.#firstIdentifier + index,
      sequence: this.#rounds,
      hopLimit: FIRST_HOP,
      dataBytes: Math.max(0, length - overhead)
    })
  }
}
