/**
 * Climbs the ladder: runs the sans-IO `Ladder` against real transports and one IKE session a rung, until an IKE SA is up.
 *
 * RFC 9329 section 5.1: a change of transport during set-up is a new IKE_SA_INIT with a new SPI, so every rung has a
 * session of its own. What is not chosen is closed before the result is handed over, or held for as long as the ladder
 * says.
 * @module
 */
import { type IkestreamError, UnreachableError } from '../errors.ts'
import type { IkeSession } from '../ike/session.ts'
import type { EstablishedInfo } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import { Ladder } from '../transport/ladder.ts'
import type { LadderInput, LadderOutput, LadderTimings, Rung, RungReport } from '../transport/ladder-types.ts'
import type { Transport, TransportFailure } from '../transport/types.ts'
import type { Path, TransportKind } from '../wire/endpoint.ts'
import { FrameFate } from '../wire/frame-fate.ts'
import { ExchangeType } from '../wire/ike-constants.ts'
import { readMessageHeader } from '../wire/ike-header.ts'
import type { Bell } from './bell.ts'
import type { Farewells } from './farewell.ts'
import { type Clock, IkeDriver, type IkeEvent } from './ike-driver.ts'
import { type Established, ikeOnlyHandlers } from './link.ts'
import type { Candidate, Opened } from './openings.ts'

export interface BringUpOptions {
  readonly ladder: LadderInput
  readonly timings: Partial<LadderTimings>
  readonly clock: Clock
  readonly log: Logger
  readonly open: (candidate: Candidate, signal: AbortSignal) => Promise<Opened>
  readonly makeSession: () => IkeSession
  readonly onReport: (report: RungReport) => void
  /** The network is another one: what nobody has proved to be alive may have been left behind on the old one. */
  readonly news?: Bell | undefined
  /** For sessions that the gateway may know by now. */
  readonly farewells: Farewells
  readonly signal: AbortSignal
}

export interface BringUpResult extends Established {
  /** Why the transport ended, if it did so before anybody else gave it handlers. */
  readonly lost: () => TransportFailure | undefined
  readonly probeLater: readonly TransportKind[]
}

interface Attempt {
  readonly rung: Rung
  readonly abort: AbortController
  transport: Transport | undefined
  driver: IkeDriver | undefined
  info: EstablishedInfo | undefined
  events: IkeEvent[]
  /** IKE_SA_INIT was answered here. */
  answered: boolean
  /** Something came over this connection. */
  heard: boolean
  closed: boolean
  lost: TransportFailure | undefined
}

/**
 * @returns the first link on which an IKE SA with a Child SA is up
 * @throws UnreachableError when nothing is left to try, or the gateway's own final answer
 */
export function bringUp(options: BringUpOptions): Promise<BringUpResult> {
  return new Promise((resolve, reject) => new BringUp(options, resolve, reject).start())
}

class BringUp {
  readonly #options: BringUpOptions
  readonly #resolve: (result: BringUpResult) => void
  readonly #reject: (error: unknown) => void
  readonly #ladder: Ladder
  readonly #attempts = new Map<number, Attempt>()
  #timer: { cancel(): void } | undefined
  #done = false
  #draining = false
  #unlisten: (() => void) | undefined
  readonly #onAbort = (): void => this.#fail(this.#options.signal.reason)

  constructor(
    options: BringUpOptions,
    resolve: (result: BringUpResult) => void,
    reject: (error: unknown) => void
  ) {
    this.#options = options
    this.#resolve = resolve
    this.#reject = reject
    this.#ladder = new Ladder(options.timings)
  }

  start(): void {
    const { signal, ladder, news } = this.#options
    if (signal.aborted) {
      this.#fail(signal.reason)
      return
    }
    signal.addEventListener('abort', this.#onAbort, { once: true })
    this.#unlisten = news?.listen(() => this.#input((now) => this.#ladder.networkChanged(now)))
    this.#input((now) => this.#ladder.start(now, ladder))
  }

  #input(apply: (now: number) => void): void {
    if (this.#done) return
    apply(this.#options.clock.now())
    if (this.#draining) return
    this.#draining = true
    for (;;) {
      const output = this.#ladder.poll()
      if (output === undefined || this.#done) break
      this.#handle(output)
    }
    this.#draining = false
    this.#arm()
  }

  #arm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const at = this.#ladder.nextTimeout()
    if (at === undefined || this.#done) return
    const { clock } = this.#options
    this.#timer = clock.setTimer(at - clock.now(), () => this.#input((now) => this.#ladder.timeout(now)))
  }

  #handle(output: LadderOutput): void {
    switch (output.type) {
      case 'open':
        void this.#open(output.rung)
        return
      case 'start-ike':
        this.#startIke(output.rung, output.resume)
        return
      case 'abandon-ike':
        this.#abandonIke(this.#attempts.get(output.rung.id))
        return
      case 'close':
        this.#close(this.#attempts.get(output.rung.id))
        return
      case 'report':
        this.#options.onReport(output)
        return
      case 'chosen':
        this.#succeed(output.rung, output.probeLater)
        return
      case 'exhausted':
        this.#fail(unreachable(output.reports))
        return
      case 'fatal':
        this.#fail(output.error)
    }
  }

  async #open(rung: Rung): Promise<void> {
    const before = this.#attempts.get(rung.id)
    const attempt: Attempt = {
      rung,
      abort: new AbortController(),
      transport: undefined,
      driver: before?.driver,
      info: before?.info,
      events: before?.events ?? [],
      answered: before?.answered ?? false,
      heard: false,
      closed: false,
      lost: undefined
    }
    this.#attempts.set(rung.id, attempt)
    if (attempt.driver !== undefined) attempt.driver.onEvent = (event) => this.#ikeEvent(attempt, event)
    const candidate = { kind: rung.transport, address: rung.address }
    const opened = await this.#options.open(candidate, attempt.abort.signal)
    if (!('transport' in opened)) {
      if (!attempt.closed) this.#input((now) => this.#ladder.openFailed(now, rung.id, opened.failure))
      return
    }
    if (attempt.closed || this.#done) {
      void opened.transport.close(0)
      return
    }
    attempt.transport = opened.transport
    opened.transport.setHandlers(
      ikeOnlyHandlers(
        (message, path) => this.#receive(attempt, message, path),
        (failure) => this.#transportClosed(attempt, failure)
      )
    )
    this.#input((now) => this.#ladder.opened(now, rung.id))
  }

  #receive(attempt: Attempt, message: Uint8Array, path: Path): void {
    attempt.heard = true
    const fate = attempt.driver?.receive(message, path)
    // Slow EAP servers and long chains take their time: every authentic message behind IKE_SA_INIT shows that the path works. A gateway
    // that has forgotten answers, too.
    if (attempt.answered && fate === FrameFate.GOOD && isAuthAnswer(message))
      this.#input((now) => this.#ladder.ikeProgress(now, attempt.rung.id))
  }

  #transportClosed(attempt: Attempt, failure: TransportFailure): void {
    const { rung, driver, transport } = attempt
    attempt.transport = undefined
    attempt.lost = failure
    if (attempt.closed) return
    const mayGoOn = rung.transport !== 'udp' && attempt.heard
    if (mayGoOn && transport !== undefined && driver !== undefined && isHalfWay(driver.session)) {
      // The gateway closed behind COOKIE or INVALID_KE_PAYLOAD: the same session goes on over a new connection.
      driver.input((session, now) => session.pathLost(now, transport.path))
      driver.detach(transport)
      this.#input((now) => this.#ladder.reopen(now, rung.id))
      return
    }
    this.#input((now) => this.#ladder.closed(now, rung.id, failure))
  }

  #startIke(rung: Rung, resume: boolean): void {
    const attempt = this.#attempts.get(rung.id)
    const transport = attempt?.transport
    if (attempt === undefined || transport === undefined) return
    if (resume && attempt.driver !== undefined) {
      const { driver } = attempt
      driver.attach(transport)
      driver.input((session, now) => session.movePath(now, transport.path))
      return
    }
    attempt.driver?.dispose()
    attempt.events = []
    attempt.answered = false
    const driver = new IkeDriver(
      this.#options.makeSession(),
      this.#options.clock,
      this.#options.log.child('ike'),
      (event) => this.#ikeEvent(attempt, event)
    )
    attempt.driver = driver
    driver.attach(transport)
    driver.input((session, now) => session.connect(now, transport.path))
  }

  #ikeEvent(attempt: Attempt, event: IkeEvent): void {
    const { id } = attempt.rung
    if (event.type === 'working') {
      this.#input((now) => this.#ladder.ikeProgress(now, id))
      return
    }
    if (event.type === 'hint') {
      this.#input((now) => this.#ladder.ikeDoubted(now, id))
      return
    }
    attempt.events.push(event)
    switch (event.type) {
      case 'init-answered':
        attempt.answered = true
        this.#input((now) => this.#ladder.ikeAnswered(now, id))
        return
      case 'established':
        attempt.info = event.info
        return
      case 'child-outbound':
        if (attempt.info !== undefined) this.#input((now) => this.#ladder.ikeEstablished(now, id))
        return
      case 'closed': {
        const error = event.error
        if (error !== undefined) this.#input((now) => this.#ladder.ikeFailed(now, id, error))
        return
      }
      default:
    }
  }

  #abandonIke(attempt: Attempt | undefined): void {
    if (attempt?.driver === undefined) return
    const { driver, transport, answered } = attempt
    // Whatever began behind IKE_SA_INIT may be about to become an SA at the gateway.
    if (answered && transport !== undefined && driver.session.state !== 'DESTROYED') {
      this.#options.farewells.say(driver, transport)
      attempt.transport = undefined
    } else driver.dispose()
    attempt.driver = undefined
    attempt.info = undefined
    attempt.events = []
  }

  /** The IKE session is only forgotten when the ladder says so: it may go on over another connection. */
  #close(attempt: Attempt | undefined): void {
    if (attempt === undefined || attempt.closed) return
    attempt.closed = true
    attempt.abort.abort()
    void attempt.transport?.close(0)
    attempt.transport = undefined
  }

  #succeed(rung: Rung, probeLater: readonly TransportKind[]): void {
    const attempt = this.#attempts.get(rung.id)
    const { driver, transport, info, events } = attempt ?? {}
    if (driver === undefined || transport === undefined || info === undefined || events === undefined) return
    this.#attempts.delete(rung.id)
    this.#concludeOthers(rung)
    this.#finish()
    const candidate = { kind: rung.transport, address: rung.address }
    const link = {
      driver,
      info,
      transport,
      candidate,
      fresh: true,
      forgotten: false,
      ticket: undefined,
      destination: undefined
    }
    this.#resolve({ link, events, probeLater, lost: () => attempt?.lost })
  }

  /** Whoever reads that a rung is tried also reads what became of it. */
  #concludeOthers(chosen: Rung): void {
    this.#ladder.espConfirmed(this.#options.clock.now(), chosen.id)
    for (let output = this.#ladder.poll(); output !== undefined; output = this.#ladder.poll())
      if (output.type === 'report') this.#options.onReport(output)
  }

  #fail(error: unknown): void {
    if (this.#done) return
    this.#finish()
    this.#reject(error)
  }

  #finish(): void {
    this.#done = true
    this.#timer?.cancel()
    this.#unlisten?.()
    this.#options.signal.removeEventListener('abort', this.#onAbort)
    for (const attempt of this.#attempts.values()) {
      this.#abandonIke(attempt)
      this.#close(attempt)
    }
    this.#attempts.clear()
  }
}

/** Set up, but not yet authenticated, and not at its end either. */
function isHalfWay(session: IkeSession): boolean {
  return session.state === 'CONNECTING'
}

/**
 * IKE_SA_INIT, also answered twice, only says that port 500 passes (RFC 7296 section 2.23: IKE_AUTH goes to 4500), and
 * rubbish says nothing.
 */
function isAuthAnswer(message: Uint8Array): boolean {
  try {
    const { header } = readMessageHeader(message)
    return header.isResponse && header.exchangeType === ExchangeType.IKE_AUTH
  } catch {
    return false
  }
}

/** One sentence that names every rung and why it failed, in order. */
function unreachable(reports: readonly RungReport[]): IkestreamError {
  const several = new Set(reports.map(({ rung }) => rung.address)).size > 1
  const tried = reports.map(({ rung, message, reason }) => {
    const name = `${rung.transport.toUpperCase()}${several ? ` to ${rung.address}` : ''}`
    return `${name}: ${message === '' ? reason : message}`
  })
  return new UnreachableError(
    'gateway-unreachable',
    `The gateway cannot be reached over any transport. ${tried.join('; ')}.`,
    {
      hint: 'Check the address and the network; a proxy (--proxy) may be the only way out.'
    }
  )
}
