/**
 * The responder's door: which session a message is for, who may begin a new one, and what strangers are told
 * (RFC 7296 sections 2.6, 2.21.4; RFC 9329 section 6.3).
 *
 * Invariants: a message that begins no session costs no memory; half-open sessions are bounded in all and for each
 * address (IPv6: /64), and when there are as many as may be, whoever has most makes room for who has less; unprotected answers are rate-limited and never follow a response.
 * @module
 */

import { subscriberOf } from '../wire/address.ts'
import type { Path } from '../wire/endpoint.ts'
import { FrameFate } from '../wire/frame-fate.ts'
import { decodeHeader, decodeMessage, encodeMessage } from '../wire/ike-codec.ts'
import { ExchangeType, NotifyType, PayloadType } from '../wire/ike-constants.ts'
import type { DecodedHeader } from '../wire/ike-header.ts'
import { espSpiToBytes, findNotify, findPayload, notify } from '../wire/ike-helpers.ts'
import type { IkeHeader, Payload } from '../wire/ike-message.ts'
import { type CookieInputs, CookieJar, type CookieSecrets } from './cookie.ts'
import { FragmentRoom } from './fragments.ts'
import { isInit } from './init-dispatcher.ts'
import { HALF_OPEN_GRACE_MS, MAX_INIT_REQUEST_LENGTH, UNPROTECTED_ANSWERS_PER_SECOND } from './options.ts'
import { commonPrf, isPuzzleSolution, type Puzzle, puzzleNotify } from './puzzle.ts'
import { Queue } from './queue.ts'
import type { RestoreInputs } from './restore.ts'
import { IkeSession, type IkeSessionOptions } from './session.ts'
import type { IkeEnvironment, IkeOutput, ResponderConfig } from './types.ts'

/** Of those without a solution, when puzzles have just begun to be asked for. */
const LEGACY_SHARE = 0.25

export interface ResponderOutput {
  /** Undefined: an answer that belongs to no session. */
  readonly session: IkeSession | undefined
  readonly output: IkeOutput
}

interface Entry {
  readonly session: IkeSession
  readonly spis: Set<bigint>
  /** The initiator's SPI and address of the first message: finds repetitions of it. */
  readonly origin: string
  /** Who counts as one. */
  readonly subscriber: string
  readonly since: number
  established: boolean
}

export class IkeResponder {
  readonly #config: ResponderConfig
  readonly #environment: IkeEnvironment
  readonly #options: IkeSessionOptions
  readonly #cookies: CookieJar
  readonly #entries = new Map<IkeSession, Entry>()
  readonly #bySpi = new Map<bigint, Entry>()
  readonly #byOrigin = new Map<string, Entry>()
  readonly #outputs = new Queue<ResponderOutput>()
  /** In the order in which they began. */
  readonly #halfOpen = new Set<Entry>()
  readonly #halfOpenOf = new Map<string, number>()
  #answerBudget = UNPROTECTED_ANSWERS_PER_SECOND
  #budgetAt = 0

  constructor(config: ResponderConfig, environment: IkeEnvironment, options: IkeSessionOptions = {}) {
    this.#config = config
    this.#environment = environment
    this.#options = { fragmentRoom: new FragmentRoom(), ...options }
    this.#cookies = new CookieJar(environment.random)
  }

  get sessions(): readonly IkeSession[] {
    return [...this.#entries.keys()]
  }

  /** IKE SAs that are not authenticated yet. */
  get halfOpen(): number {
    return this.#halfOpen.size
  }

  /** Cookies that this responder made are good at another one that has these. */
  cookieSecrets(now: number): CookieSecrets {
    return this.#cookies.secrets(now)
  }

  useCookieSecrets(now: number, secrets: CookieSecrets): void {
    this.#cookies.use(now, secrets)
  }

  /**
   * Goes on with a session that another member of the cluster had.
   * @returns undefined when that is not possible
   */
  adopt(now: number, inputs: RestoreInputs): IkeSession | undefined {
    const session = IkeSession.restore(now, this.#config, this.#environment, inputs, this.#options)
    if (session === undefined) return undefined
    const subscriber = subscriberOf(inputs.path.remote.address)
    // Repetitions of its IKE_SA_INIT are long over: nothing has to be found by that.
    const entry: Entry = { session, spis: new Set(), origin: '', subscriber, since: now, established: true }
    this.#entries.set(session, entry)
    this.#drain(entry)
    return session
  }

  /** True for the two SPIs of an IKE SA of one of the sessions, as they stand in a header. */
  knowsSpis(spiI: bigint, spiR: bigint): boolean {
    const entry = this.#bySpi.get(spiR) ?? this.#bySpi.get(spiI)
    return entry?.session.knowsSpis(spiI, spiR) === true
  }

  /**
   * One IKE message as it came, without non-ESP marker or stream length.
   * @returns what it says about a stream that it came on
   */
  receive(now: number, message: Uint8Array, path: Path): FrameFate {
    const decoded = decodeHeader(message)
    if (!decoded.ok) return FrameFate.BROKEN
    const { header } = decoded
    if (header.majorVersion > 2) {
      if (!header.isResponse) this.#answerStranger(now, header, NotifyType.INVALID_MAJOR_VERSION, path)
      return FrameFate.UNKNOWN
    }
    if (isInit(header.exchangeType)) {
      this.#receiveInit(now, message, decoded, path)
      return FrameFate.UNKNOWN
    }
    const entry = this.#bySpi.get(header.fromInitiator ? header.spiR : header.spiI)
    if (entry !== undefined) {
      const fate = entry.session.receive(now, message, path)
      this.#drain(entry)
      return fate
    }
    if (!header.isResponse && header.majorVersion === 2 && decoded.length === message.length) {
      this.#answerStranger(now, header, NotifyType.INVALID_IKE_SPI, path)
    }
    return FrameFate.STRANGE
  }

  /** ESP with an SPI of nobody's came in: whoever sends it may not know that its SAs are gone (RFC 7296 section 1.5). */
  unknownEsp(now: number, spi: number, path: Path): void {
    if (!this.#mayAnswer(now)) return
    // There is an IKE SA with whoever is there: it will find out by itself, and safely.
    const { address, port } = path.remote
    const isKnown = [...this.#entries.keys()].some((session) => {
      const { remoteHost, remotePort } = session.info(now)
      return remoteHost === address && remotePort === port
    })
    if (isKnown) return
    const header: IkeHeader = {
      spiI: 0n,
      spiR: 0n,
      majorVersion: 2,
      minorVersion: 0,
      exchangeType: ExchangeType.INFORMATIONAL,
      fromInitiator: true,
      isResponse: false,
      messageId: 0
    }
    const payloads = [notify(NotifyType.INVALID_SPI, espSpiToBytes(spi))]
    this.#outputs.add({
      session: undefined,
      output: { type: 'send', path, message: encodeMessage({ header, payloads }) }
    })
  }

  timeout(now: number): void {
    for (const entry of [...this.#entries.values()]) {
      const at = entry.session.nextTimeout()
      if (at !== undefined && at <= now) this.#input(entry, (session) => session.timeout(now))
    }
  }

  /** The next effect of any session, also of those whose methods were called directly. */
  poll(): ResponderOutput | undefined {
    if (this.#outputs.length === 0) for (const entry of [...this.#entries.values()]) this.#drain(entry)
    return this.#outputs.take()
  }

  nextTimeout(): number | undefined {
    let earliest: number | undefined
    for (const session of this.#entries.keys()) {
      const at = session.nextTimeout()
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at
    }
    return earliest
  }

  // ---- new sessions

  #receiveInit(now: number, message: Uint8Array, { header }: DecodedHeader, path: Path): void {
    if (header.isResponse || !header.fromInitiator || header.messageId !== 0) return
    const origin = `${header.spiI}/${path.remote.address}`
    const known = this.#byOrigin.get(origin)
    if (known !== undefined) {
      this.#input(known, (session) => session.receive(now, message, path))
      return
    }
    if (header.spiR !== 0n || header.spiI === 0n || message.length > MAX_INIT_REQUEST_LENGTH) return
    if (!this.#mayBegin(now, message, path)) return
    const session = new IkeSession(this.#config, this.#environment, this.#options)
    const subscriber = subscriberOf(path.remote.address)
    const entry: Entry = { session, spis: new Set(), origin, subscriber, since: now, established: false }
    this.#entries.set(session, entry)
    this.#byOrigin.set(origin, entry)
    this.#halfOpen.add(entry)
    this.#halfOpenOf.set(subscriber, (this.#halfOpenOf.get(subscriber) ?? 0) + 1)
    this.#input(entry, () => session.receive(now, message, path))
    // Refused: there is nothing to remember.
    if (session.state === 'CREATED') this.#forget(entry)
  }

  #mayBegin(now: number, message: Uint8Array, path: Path): boolean {
    const { maxHalfOpen, maxHalfOpenPerAddress } = this.#config
    if (this.#cookiesWanted(path) && !this.#hasCookie(now, message, path)) return false
    const subscriber = subscriberOf(path.remote.address)
    if ((this.#halfOpenOf.get(subscriber) ?? 0) >= maxHalfOpenPerAddress) return false
    return this.#halfOpen.size < maxHalfOpen || this.#makeRoom(now, subscriber)
  }

  /**
   * Takes a place from whoever has most, if they have more than the newcomer would; else from whoever means it the least, since others are
   * through long before. @returns whether there is room now
   */
  #makeRoom(now: number, newcomer: string): boolean {
    const fair = (this.#halfOpenOf.get(newcomer) ?? 0) + 1
    let heaviest: string | undefined
    let most = fair
    for (const [subscriber, count] of this.#halfOpenOf) {
      if (count <= most) continue
      heaviest = subscriber
      most = count
    }
    const [oldest] = this.#halfOpen
    const loser =
      heaviest === undefined ? oldest : [...this.#halfOpen].find((entry) => entry.subscriber === heaviest)
    if (loser === undefined) return false
    if (heaviest === undefined && now - loser.since < HALF_OPEN_GRACE_MS) return false
    this.#input(loser, (session) => session.abandon(now))
    return true
  }

  /** On streams the address is proved by TCP's handshake (RFC 9329 section 6.3). */
  #cookiesWanted(path: Path): boolean {
    const { cookies, cookieThreshold } = this.#config
    if (cookies === 'always') return true
    return cookies === 'auto' && !path.reliable && this.#halfOpen.size >= cookieThreshold
  }

  /** Verifies the cookie; without a good one the initiator is asked to come again with it. */
  #hasCookie(now: number, message: Uint8Array, path: Path): boolean {
    const decoded = decodeMessage(message)
    if (!decoded.ok) return false
    const { header, payloads } = decoded.message
    const nonce = findPayload(payloads, PayloadType.NONCE)?.data
    if (nonce === undefined) return false
    const inputs = { nonce, address: path.remote.address, spiI: header.spiI }
    const cookie = findNotify(payloads, NotifyType.COOKIE)?.data
    const puzzle = this.#puzzleFor(payloads)
    if (puzzle !== undefined) {
      const asked = { ...inputs, difficulty: puzzle.difficulty }
      const isAnswer = cookie !== undefined && this.#cookies.verify(now, cookie, asked)
      if (isAnswer && this.#hasWorked(puzzle, cookie, payloads)) return true
      const again = this.#cookies.make(now, asked)
      this.#sendUnprotected(header, [notify(NotifyType.COOKIE, again), puzzleNotify(puzzle)], path)
      return false
    }
    if (cookie !== undefined && this.#isGood(now, cookie, inputs)) return true
    this.#sendUnprotected(header, [notify(NotifyType.COOKIE, this.#cookies.make(now, inputs))], path)
    return false
  }

  /** Whoever solved a puzzle when there was need for it is welcome afterwards, too. */
  #isGood(now: number, cookie: Uint8Array, inputs: CookieInputs): boolean {
    const { puzzles } = this.#config
    if (this.#cookies.verify(now, cookie, inputs)) return true
    if (puzzles === undefined) return false
    return this.#cookies.verify(now, cookie, { ...inputs, difficulty: puzzles.difficulty })
  }

  /** What `auto` asks of everybody once cookies alone do not help (RFC 8019 section 7.1). */
  #puzzleFor(payloads: readonly Payload[]): Puzzle | undefined {
    const { puzzles, cookies, ikeProposals } = this.#config
    if (puzzles === undefined || cookies !== 'auto' || this.#halfOpen.size < puzzles.threshold)
      return undefined
    const prf = commonPrf(findPayload(payloads, PayloadType.SA)?.proposals ?? [], ikeProposals)
    // Without one in common the negotiation fails anyhow; a ticket brings its own.
    return prf === undefined ? undefined : { prf, difficulty: puzzles.difficulty }
  }

  /** Some of those who do not know puzzles get in all the same, the fewer the more there are (section 7.1). */
  #hasWorked(puzzle: Puzzle, cookie: Uint8Array, payloads: readonly Payload[]): boolean {
    const solution = findPayload(payloads, PayloadType.PS)?.data
    if (solution !== undefined) return isPuzzleSolution(puzzle, cookie, solution)
    const { maxHalfOpen, puzzles } = this.#config
    const threshold = puzzles?.threshold ?? 0
    const room = (maxHalfOpen - this.#halfOpen.size) / Math.max(1, maxHalfOpen - threshold)
    const [chance = 255] = this.#environment.random.bytes(1)
    return chance / 256 < room * LEGACY_SHARE
  }

  /** It is established, or gone. */
  #noLongerHalfOpen(entry: Entry): void {
    if (!this.#halfOpen.delete(entry)) return
    const left = (this.#halfOpenOf.get(entry.subscriber) ?? 1) - 1
    if (left === 0) this.#halfOpenOf.delete(entry.subscriber)
    else this.#halfOpenOf.set(entry.subscriber, left)
  }

  // ---- strangers

  #answerStranger(now: number, header: IkeHeader, notifyType: number, path: Path): void {
    if (this.#mayAnswer(now)) this.#sendUnprotected(header, [notify(notifyType)], path)
  }

  #mayAnswer(now: number): boolean {
    if (now - this.#budgetAt >= 1000) {
      this.#budgetAt = now
      this.#answerBudget = UNPROTECTED_ANSWERS_PER_SECOND
    }
    if (this.#answerBudget === 0) return false
    this.#answerBudget--
    return true
  }

  #sendUnprotected(request: IkeHeader, payloads: readonly Payload[], path: Path): void {
    const header: IkeHeader = {
      ...request,
      majorVersion: 2,
      minorVersion: 0,
      fromInitiator: !request.fromInitiator,
      isResponse: true
    }
    const message = encodeMessage({ header, payloads })
    this.#outputs.add({ session: undefined, output: { type: 'send', path, message } })
  }

  // ---- sessions at work

  #input(entry: Entry, apply: (session: IkeSession) => void): void {
    apply(entry.session)
    this.#drain(entry)
  }

  #drain(entry: Entry): void {
    const { session } = entry
    for (let output = session.poll(); output !== undefined; output = session.poll()) {
      this.#note(entry, output)
      this.#outputs.add({ session, output })
    }
  }

  #note(entry: Entry, output: IkeOutput): void {
    switch (output.type) {
      case 'spi-claimed':
        entry.spis.add(output.spi)
        this.#bySpi.set(output.spi, entry)
        return
      case 'spi-released':
        entry.spis.delete(output.spi)
        this.#bySpi.delete(output.spi)
        return
      case 'established':
        this.#noLongerHalfOpen(entry)
        entry.established = true
        if (entry.session.initialContact) this.#replaceOthers(entry)
        this.#replaceResumed(entry)
        return
      case 'closed':
        this.#forget(entry)
        return
      default:
    }
  }

  #forget(entry: Entry): void {
    if (!this.#entries.delete(entry.session)) return
    this.#noLongerHalfOpen(entry)
    if (this.#byOrigin.get(entry.origin) === entry) this.#byOrigin.delete(entry.origin)
    for (const spi of entry.spis) this.#bySpi.delete(spi)
  }

  /** The session that was resumed is over, if it was still there: without a word (RFC 5723 section 4.3.4). */
  #replaceResumed(entry: Entry): void {
    const spi = entry.session.resumedSpi
    const old = spi === undefined ? undefined : this.#bySpi.get(spi)
    if (old !== undefined && old !== entry) this.#input(old, (session) => session.replaced())
  }

  /**
   * INITIAL_CONTACT: whatever else there is with this peer is dead at the other end (RFC 7296 section 2.4). Only what was
   * proved counts: an EAP user may put any name into IDi.
   */
  #replaceOthers(entry: Entry): void {
    const peer = entry.session.provenPeer
    if (peer === '') return
    for (const other of [...this.#entries.values()]) {
      if (other === entry || !other.established || other.session.provenPeer !== peer) continue
      this.#input(other, (session) => session.replaced())
    }
  }
}
