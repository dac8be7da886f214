/**
 * A VPN session: brings the tunnel up, keeps it on a path that carries traffic, and takes everything back at the end.
 *
 * One loop owns all decisions: what happens (a stream breaks, a path falls silent, the network changes, the gateway ends
 * the SA, somebody asks to stop) becomes an incident, and incidents are worked off one at a time. The IKE SA is kept where it
 * can be (RFC 9329 section 6.1); where a path does not carry ESP, or the SA is gone, a fresh one takes over,
 * made before the old one is broken whenever the old one still lives.
 * @module
 */
import { AuthenticationError, type IkestreamError, TemporaryError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { RungReport } from '../transport/ladder-types.ts'
import type { Transport, TransportFailure, TransportHandlers } from '../transport/types.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import { Backoff } from './backoff.ts'
import { type BringUpResult, bringUp } from './bring-up.ts'
import type { ClientEvent, PathChangedEvent } from './events.ts'
import type { Clock, IkeDriver, IkeEvent } from './ike-driver.ts'
import { type Incident, IncidentQueue } from './incidents.ts'
import type { Link } from './link.ts'
import type { Candidate, Opened } from './openings.ts'
import type { ConnectOptions } from './options.ts'
import { type MoverEnvironment, MoveWatch, moveLink } from './path-mover.ts'
import type { SessionFactory } from './session-factory.ts'
import type { Tunnel } from './tunnel.ts'
import { probeUdp } from './udp-probe.ts'
import { Watchdog } from './watchdog.ts'

export interface SessionEnvironment {
  readonly clock: Clock
  readonly log: Logger
  readonly factory: SessionFactory
  readonly tunnel: Tunnel
  readonly open: (candidate: Candidate, signal: AbortSignal, timeoutMs: number) => Promise<Opened>
  /** Addresses of the gateway, best first; resolved anew for each attempt. */
  readonly resolve: (signal: AbortSignal) => Promise<readonly string[]>
  /** Names behind proxies are not resolved here; see `LadderInput`. */
  readonly streamTarget: { readonly via: string | null; readonly addresses: readonly string[] | undefined }
  /** What worked last on this network, if anything is remembered of it. */
  readonly recall: () => Promise<{ transport: TransportKind; address?: string | undefined } | undefined>
  readonly remember: (transport: TransportKind, address: string) => Promise<void>
  readonly onEvent: (event: ClientEvent) => void
}

const OPEN_TIMEOUT_MS = 8_000
/** How long a better transport is waited for when a worse one is open already. */
const MOVE_GRACE_MS = 300
const CLOSE_GRACE_MS = 1_500
/** A session that ends sooner than this after it came up counts as a failed attempt. */
const STABLE_AFTER_MS = 10_000

export class VpnSession {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #clock: Clock
  readonly #log: Logger
  readonly #tunnel: Tunnel
  readonly #incidents = new IncidentQueue()
  readonly #abort = new AbortController()
  readonly #moves = new MoveWatch()
  readonly #retry: Backoff
  readonly #watchdog: Watchdog
  readonly #startedAt: number
  #link: Link | undefined
  #previous: Link | undefined
  #probeTimer: { cancel(): void } | undefined
  #probeBackoff: Backoff
  #keepaliveTimer: { cancel(): void } | undefined
  #pendingChange: { from: TransportKind; to: TransportKind; reason: string } | undefined
  #connectedAt = 0
  #stopReason: string | undefined

  constructor(options: ConnectOptions, environment: SessionEnvironment) {
    this.#options = options
    this.#environment = environment
    this.#clock = environment.clock
    this.#log = environment.log
    this.#tunnel = environment.tunnel
    this.#startedAt = this.#clock.now()
    const { timings } = options
    this.#retry = new Backoff(timings.retryFirstMs, timings.retryMaxMs)
    this.#probeBackoff = new Backoff(timings.udpProbeFirstMs, timings.udpProbeMaxMs)
    this.#watchdog = new Watchdog(this.#clock, timings, () => this.#tunnel.counters(), {
      onTraffic: (traffic) => this.#link?.driver.input((session, now) => session.noteTraffic(now, traffic)),
      onVerdict: (verdict) => this.#verdict(verdict),
      onPathConfirmed: (outageMs) => this.#pathConfirmed(outageMs)
    })
  }

  get connected(): boolean {
    return this.#connectedAt > 0
  }

  /** Asks for a clean end; `run` then resolves. */
  stop(reason = 'requested'): void {
    this.#stopReason ??= reason
    this.#incidents.push({ kind: 'stop', reason })
    this.#abort.abort(new StoppedError(reason))
    this.#moves.abandon()
  }

  /** Climbs the ladder again, keeping the SAs. */
  reconnect(): void {
    this.#incidents.push({ kind: 'reconnect-requested' })
  }

  /** A Child SA has carried its soft limit of bytes or packets, or nearly used up its sequence numbers. */
  childLimitReached(spiIn: number): void {
    this.#link?.driver.input((session, now) => session.childLimitReached(now, spiIn, 'bytes'))
  }

  networkChanged(): void {
    this.#incidents.push({ kind: 'network-changed' })
  }

  /**
   * Runs the session to its end.
   * @returns when it was stopped; the tunnel itself is closed by its owner
   * @throws IkestreamError when it cannot be brought up, or not again
   */
  async run(): Promise<void> {
    try {
      const first = await this.#freshLink(this.#options.order, await this.#recalled())
      await this.#adoptFresh(first)
      this.#emitConnected()
      for (;;) {
        const incident = await this.#incidents.next()
        if (incident.kind === 'stop') return
        await this.#handle(incident)
      }
    } catch (error) {
      if (this.#stopReason === undefined) throw error
    } finally {
      await this.#end()
    }
  }

  // --- bringing up

  async #recalled(): Promise<{ transport: TransportKind; address?: string | undefined } | undefined> {
    return this.#options.rememberNetworks ? this.#environment.recall() : undefined
  }

  /** Climbs the ladder until it leads somewhere, again and again while there is time. */
  async #freshLink(
    order: readonly TransportKind[],
    remembered?: { transport: TransportKind; address?: string | undefined }
  ): Promise<BringUpResult> {
    const deadline = this.#clock.now() + this.#options.timeoutMs
    for (;;) {
      try {
        return await this.#climb(order, remembered)
      } catch (error) {
        const patient = this.#options.timeoutMs === Number.POSITIVE_INFINITY || this.connected
        const delayMs = this.#retry.next()
        if (!patient || !isTemporary(error) || this.#clock.now() + delayMs >= deadline) throw error
        this.#log.log('info', 'Trying again', { inMs: Math.round(delayMs), after: String(error) })
        await this.#pause(delayMs)
      }
    }
  }

  async #climb(
    order: readonly TransportKind[],
    remembered: { transport: TransportKind; address?: string | undefined } | undefined
  ): Promise<BringUpResult> {
    const { signal } = this.#abort
    const limit = AbortSignal.any([signal, timeoutSignal(this.#options.timeoutMs)])
    const addresses = await this.#environment.resolve(limit)
    const { via, addresses: streamAddresses } = this.#environment.streamTarget
    try {
      return await bringUp({
        ladder: { addresses, order, via, streamAddresses, remembered },
        timings: this.#options.ladder,
        clock: this.#clock,
        log: this.#log,
        open: (candidate, abort) => this.#environment.open(candidate, abort, OPEN_TIMEOUT_MS),
        makeSession: () => this.#environment.factory.make(this.#tunnel.virtualAddresses),
        onReport: (report) => this.#report(report),
        signal: limit
      })
    } catch (error) {
      if (limit.aborted && !signal.aborted) throw timedOut(this.#options.timeoutMs)
      throw error
    }
  }

  #report({ rung, outcome, reason, message, elapsedMs }: RungReport): void {
    this.#environment.onEvent({
      event: 'rung',
      transport: rung.transport,
      via: rung.via,
      address: rung.address,
      outcome,
      reason,
      message: message === '' ? null : message,
      elapsedMs: Math.round(elapsedMs)
    })
  }

  /** Makes a freshly established link the one in use. The old link, if it lives, ends once the new one carries. */
  async #adoptFresh({ link, events, probeLater }: BringUpResult): Promise<void> {
    const old = this.#link
    link.driver.onEvent = (event) => this.#ikeEvent(link, event)
    link.transport.setHandlers(this.#handlers(link.transport, link.driver))
    this.#link = link
    for (const event of events) this.#ikeEvent(link, event)
    await this.#tunnel.configure(link.info, link.transport)
    this.#tunnel.use(link.transport)
    this.#watchdog.pathChanged()
    this.#watchdog.start()
    this.#keepalive()
    this.#connectedAt = this.#clock.now()
    if (old !== undefined) this.#retire(old)
    this.#scheduleProbe(probeLater.includes('udp') || this.#betterThan(link.candidate.kind))
    if (this.#options.rememberNetworks) {
      await this.#environment.remember(link.candidate.kind, link.candidate.address)
    }
    this.#tunnel.sendProbe()
  }

  #emitConnected(): void {
    const link = this.#link
    if (link === undefined) return
    const { info, transport } = link
    this.#environment.onEvent({
      event: 'connected',
      transport: transport.kind,
      via: transport.via,
      gateway: transport.outerRemote.address,
      gatewayId: info.remoteIdentity,
      virtualIps: info.config?.addresses.map(({ address }) => address) ?? [],
      dns: info.config?.dns ?? [],
      interface: this.#tunnel.interfaceName,
      mtu: this.#tunnel.mtu,
      remoteTs: this.#tunnel.remoteTs,
      ikeSuite: info.ikeSuite,
      espSuite: info.espSuite ?? '',
      cluster: info.cluster,
      elapsedMs: Math.round(this.#clock.now() - this.#startedAt)
    })
  }

  /** The link that was replaced: told to go when it still lives, forgotten in any case. */
  #retire(old: Link): void {
    this.#previous = old
    const { driver, transport } = old
    driver.input((session, now) => session.close(now))
    this.#clock.setTimer(this.#options.timings.lingerMs, () => {
      driver.dispose()
      if (transport !== this.#link?.transport) void transport.close(CLOSE_GRACE_MS)
      if (this.#previous === old) this.#previous = undefined
    })
  }

  // --- events of the engine and the transports

  #handlers(transport: Transport, driver: IkeDriver): TransportHandlers {
    return this.#tunnel.handlers(
      (message, path) => driver.receive(message, path),
      (failure) => this.#transportClosed(transport, driver, failure)
    )
  }

  #transportClosed(transport: Transport, driver: IkeDriver, failure: TransportFailure): void {
    for (const path of [transport.path, transport.path.natT]) {
      if (path === undefined) continue
      this.#moves.transportClosed(path.id)
      driver.input((session, now) => session.pathLost(now, path))
    }
    driver.detach(transport)
    if (transport !== this.#link?.transport) return
    this.#tunnel.use(undefined)
    this.#watchdog.pathLost()
    this.#incidents.push({ kind: 'transport-closed', transport, failure })
  }

  #ikeEvent(link: Link, event: IkeEvent): void {
    this.#moves.offer(event)
    switch (event.type) {
      case 'child-up':
        this.#tunnel.install(event.child)
        return
      case 'child-outbound':
        // A replaced link's rekeying must not take the traffic back.
        if (link === this.#link || this.#link === undefined) this.#tunnel.activate(event.spiIn)
        return
      case 'child-down':
        this.#tunnel.remove(event.spiIn)
        this.#recreateChild(link)
        return
      case 'replay-counter-sync':
        this.#tunnel.addToSequences(event.delta)
        return
      case 'rekeyed':
        this.#environment.onEvent({ event: 'rekeyed', what: event.what, spi: event.spi })
        return
      case 'liveness': {
        if (event.outcome === 'alive' && link === this.#link) this.#watchdog.judge.livenessAnswered()
        const rttMs = event.rttMs === undefined ? null : Math.round(event.rttMs * 100) / 100
        this.#environment.onEvent({ event: 'liveness', outcome: event.outcome, rttMs })
        return
      }
      case 'keys':
        this.#tunnel.logKeys(event.keys)
        return
      case 'closed':
        if (link !== this.#link) return
        this.#incidents.push({ kind: 'ike-closed', link, reason: event.reason, error: event.error })
        return
      default:
    }
  }

  /** The gateway took the last Child SA away but kept the IKE SA: ask for a new one. */
  #recreateChild(link: Link): void {
    if (link !== this.#link || this.#stopReason !== undefined || this.#tunnel.hasChildren) return
    const { localTs, remoteTs } = this.#environment.factory.selectors(this.#tunnel.virtualAddresses)
    link.driver.input((session, now) => session.createChild(now, localTs, remoteTs))
  }

  #verdict(verdict: 'ask' | 'peer-silent' | 'esp-silent'): void {
    const link = this.#link
    if (link === undefined) return
    if (verdict === 'ask') {
      link.driver.input((session, now) => session.checkLiveness(now))
      this.#tunnel.sendProbe()
      return
    }
    this.#watchdog.stop()
    this.#incidents.push({ kind: verdict, transport: link.transport })
  }

  // --- incidents

  async #handle(incident: Exclude<Incident, { kind: 'stop' }>): Promise<void> {
    const link = this.#link
    if (link === undefined) return
    switch (incident.kind) {
      case 'transport-closed':
        if (incident.transport === link.transport) {
          await this.#recover(link, incident.failure.code, this.#sameFirst(link))
        }
        return
      case 'peer-silent':
        if (incident.transport === link.transport) {
          await this.#recover(link, 'peer-silent', this.#othersFirst(link))
        }
        return
      case 'esp-silent':
        if (incident.transport === link.transport) await this.#espSilent(link)
        return
      case 'network-changed':
        if (await this.#tunnel.repin()) await this.#recover(link, 'network-changed', this.#options.order)
        return
      case 'reconnect-requested':
        await this.#recover(link, 'requested', this.#options.order)
        return
      case 'ike-closed':
        if (incident.link === link) await this.#ikeClosed(link, incident)
        return
      case 'probe-udp':
        await this.#returnToUdp(link)
    }
  }

  /** Keeps the IKE SA and moves it; a fresh one only when no path carries the old one. */
  async #recover(link: Link, reason: string, order: readonly TransportKind[]): Promise<void> {
    const from = link.transport.kind
    const { moveRetriesMs } = this.#options.timings
    for (const pauseMs of [0, ...moveRetriesMs]) {
      // What resets a stream often refuses the next connection too, for a moment.
      if (pauseMs > 0) await this.#pause(pauseMs)
      // UDP that did not answer the first time has had its chance: waiting for it again only lengthens the outage.
      const again = pauseMs > 0 ? order.filter((kind) => kind !== 'udp') : order
      const candidates = await this.#candidates(again, link)
      const move = await moveLink(link, candidates, this.#moves, this.#mover(), this.#abort.signal)
      if (this.#stopReason !== undefined) return
      if (move !== undefined) {
        this.#moved(link, move.transport, move.candidate, from, reason)
        return
      }
      if (link.driver.session.state === 'DESTROYED') break
    }
    await this.#startOver(link, reason, this.#options.order)
  }

  #moved(link: Link, transport: Transport, candidate: Candidate, from: TransportKind, reason: string): void {
    const old = link.transport
    link.transport = transport
    link.candidate = candidate
    link.fresh = false
    this.#tunnel.use(transport)
    this.#pendingChange = { from, to: transport.kind, reason }
    this.#watchdog.pathChanged()
    this.#watchdog.start()
    this.#keepalive()
    this.#tunnel.sendProbe()
    if (old !== transport)
      this.#clock.setTimer(this.#options.timings.lingerMs, () => void old.close(CLOSE_GRACE_MS))
    this.#scheduleProbe(this.#betterThan(transport.kind))
  }

  /** The old SA is beyond reach: a fresh one, with the same addresses if the gateway agrees. */
  async #startOver(link: Link, reason: string, order: readonly TransportKind[]): Promise<void> {
    const { bytesIn, bytesOut } = this.#tunnel.counters()
    this.#environment.onEvent({
      event: 'reconnecting',
      reason,
      bytesIn,
      bytesOut,
      durationMs: Math.round(this.#clock.now() - this.#connectedAt)
    })
    if (this.#clock.now() - this.#connectedAt > STABLE_AFTER_MS) this.#retry.reset()
    const from = link.transport.kind
    const fresh = await this.#freshLink(order)
    this.#pendingChange = { from, to: fresh.link.transport.kind, reason }
    await this.#adoptFresh(fresh)
  }

  /** IKE is answered here, ESP is not: a fresh SA, first on this path if the SA came from another, else elsewhere. */
  async #espSilent(link: Link): Promise<void> {
    const { kind } = link.candidate
    const others = this.#options.order.filter((other) => other !== kind)
    const order = link.fresh ? others : [kind, ...others]
    this.#log.log('info', 'IKE is answered but ESP is not', { transport: kind })
    try {
      if (order.length === 0) throw timedOut(0)
      const fresh = await this.#climb(order, undefined)
      this.#pendingChange = { from: kind, to: fresh.link.transport.kind, reason: 'esp-silent' }
      await this.#adoptFresh(fresh)
    } catch (error) {
      if (this.#stopReason !== undefined) throw error
      this.#log.log('info', 'No other transport does better', { error: String(error) })
    }
    this.#watchdog.judge.wasWrong()
    this.#watchdog.start()
  }

  async #ikeClosed(link: Link, incident: Extract<Incident, { kind: 'ike-closed' }>): Promise<void> {
    if (incident.error !== undefined && incident.reason === 'authentication-failed') throw incident.error
    link.driver.dispose()
    if (this.#clock.now() - this.#connectedAt < STABLE_AFTER_MS) await this.#pause(this.#retry.next())
    await this.#startOver(link, incident.reason, this.#sameFirst(link))
    void link.transport.close(0)
  }

  // --- back to UDP

  #betterThan(kind: TransportKind): boolean {
    const { order } = this.#options
    const udp = order.indexOf('udp')
    return udp >= 0 && udp < order.indexOf(kind)
  }

  #scheduleProbe(wanted: boolean): void {
    this.#probeTimer?.cancel()
    this.#probeTimer = undefined
    if (!wanted || this.#options.timings.udpProbeFirstMs <= 0) return
    this.#probeTimer = this.#clock.setTimer(this.#probeBackoff.next(), () =>
      this.#incidents.push({ kind: 'probe-udp' })
    )
  }

  async #returnToUdp(link: Link): Promise<void> {
    if (!this.#betterThan(link.candidate.kind)) return
    const transport = await this.#openUdp(link)
    const { clock, log } = this.#environment
    const { timings } = this.#options
    const probe = this.#environment.factory.make([])
    const answered =
      transport !== undefined && (await probeUdp(transport, probe, clock, log, timings.udpProbeAnswerMs))
    if (!answered || this.#stopReason !== undefined) {
      void transport?.close(0)
      this.#scheduleProbe(true)
      return
    }
    const candidate = { kind: 'udp', address: transport.outerRemote.address } as const
    const from = link.transport.kind
    const stream = link.transport
    const environment = { ...this.#mover(), open: async () => ({ transport }) }
    const move = await moveLink(link, [candidate], this.#moves, environment, this.#abort.signal)
    if (this.#stopReason !== undefined) return
    if (move === undefined) {
      // The engine still has its request out on the path that did not answer: back to the stream, which works.
      const back = await moveLink(
        link,
        [link.candidate],
        this.#moves,
        { ...this.#mover(), open: async () => ({ transport: stream }) },
        this.#abort.signal
      )
      if (back === undefined) this.#incidents.push({ kind: 'reconnect-requested' })
      this.#scheduleProbe(true)
      return
    }
    this.#probeBackoff.reset()
    this.#moved(link, move.transport, candidate, from, 'udp-available')
  }

  async #openUdp(link: Link): Promise<Transport | undefined> {
    const [candidate] = await this.#candidates(['udp'], link)
    if (candidate === undefined) return undefined
    const opened = await this.#environment.open(candidate, this.#abort.signal, OPEN_TIMEOUT_MS)
    return 'transport' in opened ? opened.transport : undefined
  }

  // --- small parts

  /** After a broken stream the same transport is the best guess. */
  #sameFirst(link: Link): TransportKind[] {
    const { kind } = link.candidate
    return [kind, ...this.#options.order.filter((other) => other !== kind)]
  }

  #othersFirst(link: Link): TransportKind[] {
    const { kind } = link.candidate
    return [...this.#options.order.filter((other) => other !== kind), kind]
  }

  /** For each transport the address in use first, then the others. */
  async #candidates(order: readonly TransportKind[], link: Link): Promise<Candidate[]> {
    const known = link.candidate.address
    let addresses: readonly string[] = [known]
    try {
      const found = await this.#environment.resolve(this.#abort.signal)
      addresses = found.includes(known) ? [known, ...found.filter((other) => other !== known)] : found
    } catch {
      // Without DNS the address that worked is still worth trying.
    }
    const { addresses: streamAddresses } = this.#environment.streamTarget
    return order.flatMap((kind) =>
      (kind === 'udp' ? addresses : (streamAddresses ?? addresses)).map((address) => ({ kind, address }))
    )
  }

  #mover(): MoverEnvironment {
    return {
      clock: this.#clock,
      log: this.#log,
      open: (candidate, signal) => this.#environment.open(candidate, signal, OPEN_TIMEOUT_MS),
      handlers: (transport, driver) => this.#handlers(transport, driver),
      answerMs: this.#options.timings.moveAnswerMs,
      graceMs: MOVE_GRACE_MS
    }
  }

  #pathConfirmed(outageMs: number): void {
    const change = this.#pendingChange
    if (change === undefined) return
    this.#pendingChange = undefined
    const event: PathChangedEvent = { event: 'path-changed', ...change, outageMs: Math.round(outageMs) }
    this.#environment.onEvent(event)
    const { candidate } = this.#link ?? {}
    if (candidate !== undefined && this.#options.rememberNetworks) {
      void this.#environment.remember(candidate.kind, candidate.address)
    }
  }

  #keepalive(): void {
    this.#keepaliveTimer?.cancel()
    const intervalMs = this.#environment.factory.natKeepaliveMs
    if (intervalMs <= 0) return
    this.#keepaliveTimer = this.#clock.setTimer(intervalMs, () => {
      this.#link?.transport.sendNatKeepalive()
      this.#keepalive()
    })
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const { signal } = this.#abort
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const onAbort = (): void => {
        timer.cancel()
        reject(signal.reason)
      }
      const timer = this.#clock.setTimer(delayMs, () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  async #end(): Promise<void> {
    this.#watchdog.stop()
    this.#probeTimer?.cancel()
    this.#keepaliveTimer?.cancel()
    this.#abort.abort(new StoppedError('ended'))
    const link = this.#link
    if (link !== undefined && !link.driver.disposed) await this.#deleteSa(link)
    this.#link = undefined
    await link?.transport.close(CLOSE_GRACE_MS)
    await this.#previous?.transport.close(0)
    this.#previous?.driver.dispose()
    if (this.connected) {
      const { bytesIn, bytesOut } = this.#tunnel.counters()
      const durationMs = Math.round(this.#clock.now() - this.#connectedAt)
      const reason = this.#stopReason ?? 'error'
      this.#environment.onEvent({ event: 'disconnected', reason, bytesIn, bytesOut, durationMs })
    }
  }

  /** DELETE, and its answer (RFC 7296 section 1.4.1), within a bound. */
  #deleteSa(link: Link): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        timer.cancel()
        link.driver.dispose()
        resolve()
      }
      const timer = this.#clock.setTimer(CLOSE_GRACE_MS, finish)
      link.driver.onEvent = (event) => {
        if (event.type === 'closed') finish()
      }
      link.driver.input((session, now) => session.close(now))
    })
  }
}

/** Not an error of anybody: the session was asked to end. */
class StoppedError extends TemporaryError {
  constructor(reason: string) {
    super('stopped', `The session was stopped (${reason}).`)
  }
}

function timeoutSignal(timeoutMs: number): AbortSignal {
  return timeoutMs === Number.POSITIVE_INFINITY
    ? new AbortController().signal
    : AbortSignal.timeout(timeoutMs)
}

function timedOut(timeoutMs: number): IkestreamError {
  return new TemporaryError('timeout', `The tunnel did not come up within ${timeoutMs / 1000} s.`, {
    hint: 'Give it longer with --timeout, or look at what happens with --verbose.'
  })
}

/** Wrong credentials stay wrong; everything else may pass. */
function isTemporary(error: unknown): boolean {
  return !(error instanceof AuthenticationError)
}
