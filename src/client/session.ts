/**
 * A VPN session: brings the tunnel up, keeps it on a path that carries traffic, and ends it.
 *
 * One loop owns all decisions: what happens (a stream breaks, a path falls silent, the network changes, the gateway ends
 * the SA, somebody asks to stop) becomes an incident, and incidents are worked off one at a time. What is done about them is in
 * `recovery.ts`.
 * @module
 */
import { TemporaryError } from '../errors.ts'
import { Backoff } from './backoff.ts'
import { Bell } from './bell.ts'
import { connectedEvent } from './connected-event.ts'
import { Connector } from './connector.ts'
import { type Incident, IncidentQueue } from './incidents.ts'
import type { Link } from './link.ts'
import { LinkKeeper } from './link-keeper.ts'
import type { ConnectOptions } from './options.ts'
import { Recovery } from './recovery.ts'
import type { SessionEnvironment } from './session-environment.ts'
import { type Look, Surroundings } from './surroundings.ts'
import { UdpReturn } from './udp-return.ts'
import { Watchdog } from './watchdog.ts'

export class VpnSession {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #incidents = new IncidentQueue()
  readonly #abort = new AbortController()
  readonly #news = new Bell()
  readonly #revived = new Bell()
  readonly #watchdog: Watchdog
  readonly #keeper: LinkKeeper
  readonly #connector: Connector
  readonly #udpReturn: UdpReturn
  readonly #surroundings: Surroundings
  readonly #recovery: Recovery
  readonly #startedAt: number
  #stopReason: string | undefined
  #busySince: number | undefined

  constructor(options: ConnectOptions, environment: SessionEnvironment) {
    this.#options = options
    this.#environment = environment
    this.#startedAt = environment.clock.now()
    const { timings } = options
    const { signal } = this.#abort
    const retry = new Backoff(timings.retryFirstMs, timings.retryMaxMs, environment.chance)
    this.#watchdog = new Watchdog(environment.clock, timings, () => environment.tunnel.look(), {
      onTraffic: (traffic) =>
        this.#keeper.current?.driver.input((session, now) => session.noteTraffic(now, traffic)),
      onAsk: () => this.#keeper.current?.driver.input((session, now) => session.checkLiveness(now)),
      onProbe: (isFirst) => environment.tunnel.sendProbe(isFirst),
      onVerdict: (verdict) => this.#verdict(verdict),
      onCarried: () => this.#recovery.carried(),
      onPathConfirmed: (outageMs) => this.#recovery.pathConfirmed(outageMs),
      onRevived: () => this.#revived.ring()
    })
    this.#keeper = new LinkKeeper(options, environment, this.#incidents, this.#watchdog)
    this.#connector = new Connector(options, environment, signal, retry)
    this.#surroundings = new Surroundings(
      environment,
      () => this.#keeper.current,
      (look, isNews) => this.#looked(look, isNews)
    )
    this.#udpReturn = new UdpReturn(options, environment, this.#incidents, this.#keeper, signal)
    this.#recovery = new Recovery(options, environment, {
      keeper: this.#keeper,
      connector: this.#connector,
      watchdog: this.#watchdog,
      udpReturn: this.#udpReturn,
      retry,
      signal,
      news: this.#news,
      revived: this.#revived,
      urgent: this.#incidents.urgent
    })
  }

  get connected(): boolean {
    return this.#recovery.connectedAt !== undefined
  }

  /** It has been asked to end, or ends because of an error. */
  get stopping(): boolean {
    return this.#abort.signal.aborted
  }

  /** How long what is being done now has taken; 0 while nothing is. */
  get busyForMs(): number {
    return this.#busySince === undefined ? 0 : this.#environment.clock.now() - this.#busySince
  }

  /** The IKE session and transport in use, for whoever asks how it goes. */
  get link(): Link | undefined {
    return this.#keeper.current
  }

  /** Asks for a clean end; `run` then resolves. */
  stop(reason = 'requested'): void {
    this.#stopReason ??= reason
    this.#incidents.push({ kind: 'stop', reason })
    this.#abort.abort(new TemporaryError('stopped', `The session was stopped (${reason}).`))
    this.#keeper.abandonMove()
  }

  /** Climbs the ladder again, keeping the SAs. */
  reconnect(): void {
    this.#news.ring()
    this.#incidents.push({ kind: 'reconnect-requested' })
  }

  /** Something about the network may have changed. */
  networkChanged(): void {
    this.#surroundings.hint()
  }

  /** Nothing ran for a while: timers are late, and whatever was known of the network may be wrong. */
  woke(pausedMs: number): void {
    this.#environment.log.log('info', 'Awake again', { afterMs: Math.round(pausedMs) })
    this.#keeper.current?.driver.input((session, now) => session.timeout(now))
    this.#news.ring()
    this.#surroundings.hint()
  }

  /** A Child SA has carried its soft limit of bytes or packets, or nearly used up its sequence numbers. */
  childLimitReached(spiIn: number): void {
    this.#keeper.current?.driver.input((session, now) => session.childLimitReached(now, spiIn, 'bytes'))
  }

  /**
   * Runs the session to its end.
   * @returns when it was stopped; the tunnel itself is closed by its owner
   * @throws IkestreamError when it cannot be brought up, or not again
   */
  async run(): Promise<void> {
    const { order, rememberNetworks, timeoutMs } = this.#options
    this.#busySince = this.#environment.clock.now()
    try {
      const remembered = rememberNetworks ? await this.#unlessStopped(this.#environment.recall()) : undefined
      const wish = { order, preferred: [], remembered, timeoutMs, isFirst: true }
      await this.#recovery.adopt(await this.#connector.connect(wish, { patient: false }))
      this.#emitConnected()
      for (;;) {
        this.#busySince = undefined
        const incident = await this.#incidents.next()
        this.#busySince = this.#environment.clock.now()
        if (incident.kind === 'stop') return
        await this.#handle(incident)
      }
    } catch (error) {
      if (this.#stopReason === undefined) throw error
    } finally {
      await this.#end()
    }
  }

  async #unlessStopped<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#abort
    const stopped = new Promise<never>((_, reject) => {
      if (signal.aborted) reject(signal.reason)
      else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    })
    // It stays behind when the work is done first.
    stopped.catch(() => undefined)
    return Promise.race([work, stopped])
  }

  async #handle(incident: Exclude<Incident, { kind: 'stop' }>): Promise<void> {
    const link = this.#keeper.current
    if (link === undefined) return
    const { order } = this.#options
    const { kind } = link.candidate
    const others = order.filter((other) => other !== kind)
    switch (incident.kind) {
      case 'transport-closed':
        // After a broken stream the same transport is the best guess.
        if (incident.transport !== link.transport) return
        return this.#recovery.recover(link, incident.failure.code, [kind, ...others])
      case 'peer-silent':
        if (incident.transport !== link.transport) return
        return this.#recovery.recover(link, 'peer-silent', [...others, kind])
      case 'esp-silent':
        if (incident.transport !== link.transport) return
        return this.#recovery.espSilent(link)
      case 'network-changed':
        this.#udpReturn.trust()
        // Something else may have led to the new network already.
        if (!incident.isAnotherWay && this.#surroundings.isOurs(link)) return
        return this.#recovery.recover(link, 'network-changed', order)
      case 'cut-off':
        if (incident.transport !== link.transport || this.#surroundings.isOurs(link)) return
        return this.#recovery.recover(link, 'network-unreachable', [kind, ...others])
      case 'reconnect-requested':
        return this.#recovery.recover(link, 'requested', order)
      case 'reauthenticate':
        if (incident.link !== link) return
        return this.#recovery.reauthenticate(link)
      case 'redirected':
        if (incident.link !== link) return
        return this.#recovery.redirected(link, incident.to)
      case 'ike-closed':
        if (incident.link !== link) return
        return this.#recovery.ikeClosed(link, incident)
      case 'probe-udp':
        return this.#recovery.returnToUdp(link)
    }
  }

  #looked(look: Look, isNews: boolean): void {
    if (isNews) this.#news.ring()
    if (look === 'same') {
      // The same address in what may be another network, or behind a NAT that has forgotten us.
      this.#watchdog.suspect()
      return
    }
    const link = this.#keeper.current
    if (look === 'changed') {
      const isAnotherWay = link !== undefined && this.#surroundings.isOurs(link)
      this.#incidents.push({ kind: 'network-changed', isAnotherWay })
    } else if (isNews && link !== undefined)
      this.#incidents.push({ kind: 'cut-off', transport: link.transport })
  }

  #verdict(verdict: 'peer-silent' | 'esp-silent'): void {
    const link = this.#keeper.current
    if (link === undefined) return
    this.#watchdog.hold()
    this.#incidents.push({ kind: verdict, transport: link.transport })
  }

  #emitConnected(): void {
    const link = this.#keeper.current
    if (link === undefined) return
    const { tunnel, clock, onEvent } = this.#environment
    onEvent(connectedEvent(link, tunnel, clock.now() - this.#startedAt))
  }

  async #end(): Promise<void> {
    this.#watchdog.stop()
    this.#udpReturn.stop()
    this.#surroundings.close()
    this.#abort.abort(new TemporaryError('stopped', 'The session has ended.'))
    await Promise.all([this.#keeper.end(), this.#connector.farewells.settled()])
    const { connectedAt } = this.#recovery
    if (connectedAt === undefined) return
    const { clock, tunnel, onEvent } = this.#environment
    const { bytesIn, bytesOut } = tunnel.counters()
    const durationMs = Math.round(clock.now() - connectedAt)
    onEvent({ event: 'disconnected', reason: this.#stopReason ?? 'error', bytesIn, bytesOut, durationMs })
  }
}
