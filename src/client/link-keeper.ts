/**
 * Owns the link in use: leads its IKE to the driver and its ESP to the tunnel, adopts what replaces it, and turns what
 * happens to it into incidents. Knows no policy: what to do about an incident is the session's business.
 * @module
 */
import type { Transport, TransportFailure, TransportHandlers } from '../transport/types.ts'
import { recognisesIke } from '../wire/recognise-ike.ts'
import type { BringUpResult } from './bring-up.ts'
import { OPEN_TIMEOUT_MS } from './connector.ts'
import type { IkeDriver, IkeEvent } from './ike-driver.ts'
import type { IncidentQueue } from './incidents.ts'
import { type Link, setTicket } from './link.ts'
import type { Candidate, Opened } from './openings.ts'
import type { ConnectOptions } from './options.ts'
import { type Move, MoveWatch, moveLink } from './path-mover.ts'
import type { SessionEnvironment } from './session-environment.ts'
import type { Watchdog } from './watchdog.ts'

/** How long a better transport is waited for when a worse one is open already. */
const MOVE_GRACE_MS = 300
/** A transport that was left for a better one waits so long for that one to carry anything. */
const PREVIOUS_KEPT_MS = 30_000
export const CLOSE_GRACE_MS = 1_500
/** A gateway that took the last Child SA away has this long to agree to another. */
const CHILD_PATIENCE_MS = 5_000

export class LinkKeeper {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #incidents: IncidentQueue
  readonly #watchdog: Watchdog
  readonly #moves = new MoveWatch()
  #current: Link | undefined
  #previous: { readonly move: Move; readonly timer: { cancel(): void } } | undefined
  /** Replaced links whose DELETE is not answered yet. */
  readonly #retired = new Set<Link>()
  /** Inbound SPIs of each link's Child SAs. */
  readonly #children = new WeakMap<Link, Set<number>>()
  #keepaliveTimer: { cancel(): void } | undefined
  #childTimer: { cancel(): void } | undefined
  /** No Child SA is asked for again once the session ends. */
  #ending = false

  constructor(
    options: ConnectOptions,
    environment: SessionEnvironment,
    incidents: IncidentQueue,
    watchdog: Watchdog
  ) {
    this.#options = options
    this.#environment = environment
    this.#incidents = incidents
    this.#watchdog = watchdog
  }

  get current(): Link | undefined {
    return this.#current
  }

  /** Makes a freshly established link the one in use. The old one, if it lives, ends once the new one carries. */
  async adopt({ link, events, lost }: BringUpResult): Promise<void> {
    const { tunnel } = this.#environment
    const old = this.#current
    this.#dropPrevious()
    link.driver.onEvent = (event) => this.#ikeEvent(link, event)
    link.transport.setHandlers(this.#handlers(link.transport, link.driver))
    this.#current = link
    if (old !== undefined) this.#retired.add(old)
    for (const event of events) this.#ikeEvent(link, event)
    await tunnel.configure(link.info, link.transport)
    this.#inUse(link.transport)
    const failure = lost()
    if (failure !== undefined) this.#transportClosed(link.transport, link.driver, failure)
    if (old !== undefined) this.#retire(old)
  }

  /**
   * Tries to lead the IKE SA over to one of the candidates.
   * @param open how to get at a candidate's transport; by default it is opened
   */
  move(
    link: Link,
    candidates: readonly Candidate[],
    signal: AbortSignal,
    open?: (candidate: Candidate) => Promise<Opened>
  ): Promise<Move | undefined> {
    const { clock, log, open: openAny } = this.#environment
    return moveLink(
      link,
      candidates,
      this.#moves,
      {
        clock,
        log,
        open: open ?? ((candidate, abort) => openAny(candidate, abort, OPEN_TIMEOUT_MS)),
        handlers: (transport, driver) => this.#handlers(transport, driver),
        answerMs: this.#options.timings.moveAnswerMs,
        graceMs: MOVE_GRACE_MS
      },
      signal
    )
  }

  /**
   * The peer has answered on the new path: traffic follows.
   * @param keepOld the old transport works, and is kept until the new one has carried something
   */
  moved(link: Link, { transport, candidate }: Move, keepOld: boolean): void {
    const old: Move = { transport: link.transport, candidate: link.candidate }
    link.transport = transport
    link.candidate = candidate
    link.forgotten = false
    if (old.transport !== transport) link.fresh = false
    this.#inUse(transport)
    if (old.transport === transport) return
    this.#dropPrevious()
    if (keepOld) this.#keepPrevious(old)
    else this.#closeLater(old.transport)
  }

  /** ESP has arrived over the path in use: there is no way back any more. */
  carried(): void {
    this.#dropPrevious()
  }

  /** The path that was left for a better one, if it is still there: it is the caller's from now on. */
  takePrevious(): Move | undefined {
    const previous = this.#previous
    this.#previous = undefined
    previous?.timer.cancel()
    return previous?.move
  }

  /** Gives up a move that is being waited for. */
  abandonMove(): void {
    this.#moves.abandon()
  }

  /** DELETE and its answer within a bound (RFC 7296 section 1.4.1), then TLS close_notify and FIN. */
  async end(): Promise<void> {
    this.#ending = true
    this.#keepaliveTimer?.cancel()
    this.#childTimer?.cancel()
    const link = this.#current
    void this.takePrevious()?.transport.close(0)
    if (link !== undefined && !link.driver.disposed) await this.#deleteSa(link)
    if (link !== undefined) setTicket(link, undefined)
    this.#current = undefined
    await link?.transport.close(CLOSE_GRACE_MS)
    for (const old of this.#retired) this.#forget(old, 0)
  }

  #inUse(transport: Transport): void {
    this.#environment.tunnel.use(transport)
    this.#watchdog.pathChanged(this.#current?.fresh === false)
    this.#watchdog.start()
    this.#keepalive()
  }

  #keepPrevious(move: Move): void {
    const timer = this.#environment.clock.setTimer(PREVIOUS_KEPT_MS, () => this.#dropPrevious())
    this.#previous = { move, timer }
  }

  #dropPrevious(): void {
    const previous = this.takePrevious()
    if (previous !== undefined) this.#closeLater(previous.transport)
  }

  /** What is still on its way over it shall arrive. */
  #closeLater(transport: Transport): void {
    const { clock } = this.#environment
    clock.setTimer(this.#options.timings.lingerMs, () => void transport.close(CLOSE_GRACE_MS))
  }

  #retire(old: Link): void {
    old.driver.input((session, now) => session.close(now))
    this.#environment.clock.setTimer(this.#options.timings.lingerMs, () => this.#forget(old, CLOSE_GRACE_MS))
  }

  /** Whatever the gateway said or did not say to the DELETE. */
  #forget(old: Link, graceMs: number): void {
    if (!this.#retired.delete(old)) return
    old.driver.input((session, now) => session.close(now))
    old.driver.dispose()
    setTicket(old, undefined)
    for (const spiIn of this.#children.get(old) ?? []) this.#environment.tunnel.remove(spiIn)
    if (old.transport !== this.#current?.transport) void old.transport.close(graceMs)
  }

  #childrenOf(link: Link): Set<number> {
    const known = this.#children.get(link) ?? new Set()
    this.#children.set(link, known)
    return known
  }

  #handlers(transport: Transport, driver: IkeDriver): TransportHandlers {
    const handlers = this.#environment.tunnel.handlers(
      transport,
      (message, path) => driver.receive(message, path),
      (failure) => this.#transportClosed(transport, driver, failure)
    )
    // ICMP errors are hints (RFC 7296 section 2.4).
    const onTrouble = (): void => {
      if (transport === this.#current?.transport) this.#watchdog.suspect()
    }
    const recognise = (buffer: Uint8Array, offset: number): boolean =>
      recognisesIke(buffer, offset, (spiI, spiR) => driver.session.knowsSpis(spiI, spiR)) ??
      this.#environment.tunnel.recognisesEsp(buffer, offset)
    return { ...handlers, onTrouble, recognise }
  }

  #transportClosed(transport: Transport, driver: IkeDriver, failure: TransportFailure): void {
    for (const path of [transport.path, transport.path.natT]) {
      if (path === undefined) continue
      this.#moves.transportClosed(path.id)
      driver.input((session, now) => session.pathLost(now, path))
    }
    driver.detach(transport)
    if (transport === this.#previous?.move.transport) void this.takePrevious()?.transport.close(0)
    if (transport !== this.#current?.transport || this.#ending) return
    this.#environment.tunnel.use(undefined)
    this.#watchdog.pathLost()
    this.#incidents.push({ kind: 'transport-closed', transport, failure })
  }

  #ikeEvent(link: Link, event: IkeEvent): void {
    const { tunnel, onEvent } = this.#environment
    this.#moves.offer(event)
    switch (event.type) {
      case 'child-up':
        this.#childrenOf(link).add(event.child.inbound.spi)
        tunnel.install(event.child)
        return
      case 'child-outbound':
        // A replaced link's rekeying must not take the traffic back.
        if (link === this.#current || this.#current === undefined) tunnel.activate(event.spiIn)
        return
      case 'child-down':
        this.#childrenOf(link).delete(event.spiIn)
        tunnel.remove(event.spiIn)
        this.#recreateChild(link)
        return
      case 'replay-counter-sync':
        tunnel.addToSequences(event.delta)
        return
      case 'rekeyed':
        onEvent({ event: 'rekeyed', what: event.what, spi: event.spi })
        return
      case 'init-answered':
        if (link === this.#current) this.#watchdog.judge.noteRoundTrip(event.rttMs)
        return
      case 'liveness': {
        if (event.outcome === 'alive' && link === this.#current) {
          link.forgotten = false
          this.#watchdog.judge.livenessAnswered(event.rttMs)
        }
        const rttMs = event.rttMs === undefined ? null : Math.round(event.rttMs * 100) / 100
        onEvent({ event: 'liveness', outcome: event.outcome, rttMs })
        return
      }
      case 'asking':
        if (link === this.#current) this.#watchdog.asking()
        return
      case 'hint':
        if (link !== this.#current) return
        if (event.about === 'ike') link.forgotten = true
        this.#watchdog.hinted(event.about)
        return
      case 'reauthenticate':
        if (link === this.#current) this.#incidents.push({ kind: 'reauthenticate', link })
        return
      case 'ticket':
        setTicket(link, event.ticket)
        return
      case 'redirect':
        if (link === this.#current) this.#incidents.push({ kind: 'redirected', link, to: event.to })
        return
      case 'keys':
        tunnel.logKeys(event.keys)
        return
      case 'closed':
        // Whoever ended it wants authentication for the next one (RFC 5723 section 6.2); only what got lost may be resumed.
        if (event.reason !== 'timeout') setTicket(link, undefined)
        if (link !== this.#current || this.#ending) return
        this.#incidents.push({ kind: 'ike-closed', link, reason: event.reason, error: event.error })
        return
      default:
    }
  }

  /** The gateway took the last Child SA away but kept the IKE SA: ask for a new one. */
  #recreateChild(link: Link): void {
    if (!this.#lacksChild(link)) return
    const { tunnel, factory } = this.#environment
    const { localTs, remoteTs } = factory.selectors(tunnel.virtualAddresses)
    // A rekeying that the peer answered with CHILD_SA_NOT_FOUND has asked already (RFC 7296 section 2.25).
    link.driver.input((session, now) => {
      if (!session.isAskingForChild) session.createChild(now, localTs, remoteTs)
    })
    this.#childTimer?.cancel()
    this.#childTimer = this.#environment.clock.setTimer(CHILD_PATIENCE_MS, () => this.#expectChild(link))
  }

  /** An IKE SA without a Child SA carries nothing: it ends, so that a fresh one takes its place. */
  #expectChild(link: Link): void {
    if (!this.#lacksChild(link)) return
    link.driver.input((session, now) => session.close(now))
    this.#incidents.push({ kind: 'ike-closed', link, reason: 'rejected', error: undefined })
  }

  /** The link in use has an IKE SA alone. The Child SAs of one that it replaced are about to go, and do not count. */
  #lacksChild(link: Link): boolean {
    if (link !== this.#current || this.#ending) return false
    const { state } = link.driver.session
    const isUsable = state === 'ESTABLISHED' || state === 'REKEYING'
    return isUsable && !this.#environment.tunnel.sendsOnAny(this.#childrenOf(link))
  }

  #keepalive(): void {
    this.#keepaliveTimer?.cancel()
    const { factory, clock } = this.#environment
    if (factory.natKeepaliveMs <= 0) return
    this.#keepaliveTimer = clock.setTimer(factory.natKeepaliveMs, () => {
      this.#current?.transport.sendNatKeepalive()
      this.#keepalive()
    })
  }

  #deleteSa(link: Link): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        timer.cancel()
        link.driver.dispose()
        resolve()
      }
      const timer = this.#environment.clock.setTimer(CLOSE_GRACE_MS, finish)
      link.driver.onEvent = (event) => {
        if (event.type === 'closed') finish()
      }
      link.driver.input((session, now) => session.close(now))
    })
  }
}
