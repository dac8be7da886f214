/**
 * A VPN session: brings the tunnel up, keeps it on a path that carries traffic, and ends it.
 *
 * One loop owns all decisions: what happens (a stream breaks, a path falls silent, the network changes, the gateway ends
 * the SA, somebody asks to stop) becomes an incident, and incidents are worked off one at a time. The IKE SA is kept where
 * it can be (RFC 9329 section 6.1); where a gateway's ESP does not follow it, or the SA is gone, a fresh one takes over, made
 * before the old one is broken whenever the old one still lives.
 * @module
 */
import { isIP } from 'node:net'
import { type IkestreamError, TemporaryError, UnreachableError } from '../errors.ts'
import { tlsInfoOf } from '../transport/tls.ts'
import type { Transport } from '../transport/types.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import { Backoff } from './backoff.ts'
import type { BringUpResult } from './bring-up.ts'
import { Connector, OPEN_TIMEOUT_MS, pause } from './connector.ts'
import type { OuterTls, PathChangedEvent } from './events.ts'
import { type Incident, IncidentQueue } from './incidents.ts'
import type { Link } from './link.ts'
import { LinkKeeper } from './link-keeper.ts'
import type { Candidate } from './openings.ts'
import type { ConnectOptions } from './options.ts'
import type { Move } from './path-mover.ts'
import type { SessionEnvironment } from './session-environment.ts'
import { UdpReturn } from './udp-return.ts'
import { Watchdog } from './watchdog.ts'

/** A session that ends sooner than this after it came up counts as a failed attempt. */
const STABLE_AFTER_MS = 10_000

export class VpnSession {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #incidents = new IncidentQueue()
  readonly #abort = new AbortController()
  readonly #retry: Backoff
  readonly #watchdog: Watchdog
  readonly #keeper: LinkKeeper
  readonly #connector: Connector
  readonly #udpReturn: UdpReturn
  readonly #startedAt: number
  #pendingChange: Omit<PathChangedEvent, 'event' | 'outageMs'> | undefined
  #connectedAt = 0
  /** When the IKE SA in use was taken into use. */
  #adoptedAt = 0
  #stopReason: string | undefined
  /** The path that was left because nothing came back, as long as nothing has come back at all. */
  #doubted: TransportKind | undefined

  constructor(options: ConnectOptions, environment: SessionEnvironment) {
    this.#options = options
    this.#environment = environment
    this.#startedAt = environment.clock.now()
    const { timings } = options
    const { signal } = this.#abort
    this.#retry = new Backoff(timings.retryFirstMs, timings.retryMaxMs)
    this.#watchdog = new Watchdog(environment.clock, timings, () => environment.tunnel.counters(), {
      onTraffic: (traffic) =>
        this.#keeper.current?.driver.input((session, now) => session.noteTraffic(now, traffic)),
      onVerdict: (verdict) => this.#verdict(verdict),
      onPathConfirmed: (outageMs) => this.#pathConfirmed(outageMs)
    })
    this.#keeper = new LinkKeeper(options, environment, this.#incidents, this.#watchdog)
    this.#connector = new Connector(options, environment, signal, this.#retry)
    this.#udpReturn = new UdpReturn(options, environment, this.#incidents, this.#keeper, signal)
  }

  get connected(): boolean {
    return this.#connectedAt > 0
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
    this.#incidents.push({ kind: 'reconnect-requested' })
  }

  networkChanged(): void {
    this.#incidents.push({ kind: 'network-changed' })
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
    const { order, rememberNetworks } = this.#options
    try {
      const remembered = rememberNetworks ? await this.#unlessStopped(this.#environment.recall()) : undefined
      await this.#adopt(await this.#connector.connect(order, [], false, remembered))
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
        return this.#recover(link, incident.failure.code, [kind, ...others])
      case 'peer-silent':
        if (incident.transport !== link.transport) return
        return this.#recover(link, 'peer-silent', [...others, kind])
      case 'esp-silent':
        if (incident.transport !== link.transport) return
        return this.#espSilent(link, others)
      case 'network-changed':
        this.#udpReturn.trust()
        if (await this.#environment.tunnel.repin()) await this.#recover(link, 'network-changed', order)
        return
      case 'reconnect-requested':
        return this.#recover(link, 'requested', order)
      case 'ike-closed':
        if (incident.link !== link) return
        return this.#ikeClosed(link, incident, [kind, ...others])
      case 'probe-udp':
        return this.#returnToUdp(link)
    }
  }

  /** Keeps the IKE SA and moves it; a fresh one only when no path carries the old one. */
  async #recover(link: Link, reason: string, order: readonly TransportKind[]): Promise<void> {
    const { clock, open } = this.#environment
    for (const pauseMs of [0, ...this.#options.timings.moveRetriesMs]) {
      // What resets a stream often refuses the next connection too, for a moment.
      if (pauseMs > 0) await pause(pauseMs, clock, this.#abort.signal)
      // UDP that did not answer the first time has had its chance: waiting for it again only lengthens the outage.
      const again = pauseMs > 0 ? order.filter((kind) => kind !== 'udp') : order
      const candidates = this.#candidates(again, link)
      let streamOpened = false
      const move = await this.#keeper.move(link, candidates, this.#abort.signal, async (candidate) => {
        const opened = await open(candidate, this.#abort.signal, OPEN_TIMEOUT_MS)
        if ('transport' in opened && candidate.kind !== 'udp') streamOpened = true
        return opened
      })
      if (this.#stopReason !== undefined) return
      if (move !== undefined) {
        this.#moved(link, move, reason)
        return
      }
      // A stream that opens but is not answered says that the SA is gone at the other end; waiting changes nothing.
      if (streamOpened || link.driver.session.state === 'DESTROYED') break
    }
    await this.#startOver(link, reason, this.#options.order)
  }

  #moved(link: Link, move: Move, reason: string): void {
    this.#pendingChange = { from: link.transport.kind, to: move.transport.kind, reason }
    this.#keeper.moved(link, move)
    this.#udpReturn.schedule(link)
  }

  /** The old SA is beyond reach: a fresh one, with the same addresses if the gateway agrees. */
  async #startOver(link: Link, reason: string, order: readonly TransportKind[]): Promise<void> {
    const { clock, tunnel, onEvent } = this.#environment
    const { bytesIn, bytesOut } = tunnel.counters()
    const durationMs = Math.round(clock.now() - this.#connectedAt)
    onEvent({ event: 'reconnecting', reason, bytesIn, bytesOut, durationMs })
    if (clock.now() - this.#adoptedAt > STABLE_AFTER_MS) this.#retry.reset()
    await this.#replace(link, await this.#connector.connect(order, tunnel.virtualAddresses, true), reason)
  }

  async #replace(old: Link, fresh: BringUpResult, reason: string): Promise<void> {
    this.#pendingChange = { from: old.transport.kind, to: fresh.link.transport.kind, reason }
    await this.#adopt(fresh)
  }

  async #adopt(fresh: BringUpResult): Promise<void> {
    await this.#keeper.adopt(fresh)
    this.#adoptedAt = this.#environment.clock.now()
    if (!this.connected) this.#connectedAt = this.#adoptedAt
    this.#udpReturn.schedule(fresh.link)
    await this.#remember(fresh.link)
  }

  /**
   * IKE is answered here, ESP is not. An SA that was set up here moves on and keeps its addresses; one that came from
   * another path may have been followed by IKE alone: then a fresh one, here first.
   */
  async #espSilent(link: Link, others: readonly TransportKind[]): Promise<void> {
    const { log, tunnel } = this.#environment
    const { kind } = link.candidate
    const doubted = this.#doubted
    this.#doubted = this.#watchdog.everCarried ? undefined : kind
    log.log('info', 'IKE is answered but ESP is not', { transport: kind })
    if (this.#doubted !== undefined && doubted !== undefined) {
      // Nothing ever came back, over two paths now: nobody inside answers, which says nothing about either of them.
      this.#doubted = undefined
      tunnel.ignoreProbes()
      this.#udpReturn.trust()
      await this.#moveElsewhere(link, [doubted], 'no-better-path')
    } else if (!(await this.#leave(link, others)) && !this.#watchdog.everCarried) {
      this.#doubted = undefined
      tunnel.ignoreProbes()
    }
    this.#watchdog.judge.wasWrong()
    this.#watchdog.start()
  }

  /** @returns whether there was anywhere to go */
  async #leave(link: Link, others: readonly TransportKind[]): Promise<boolean> {
    const { kind } = link.candidate
    if (kind === 'udp') this.#udpReturn.distrust()
    if (link.fresh && (await this.#moveElsewhere(link, others, 'esp-silent'))) return true
    const fresh = await this.#freshElsewhere(link.fresh ? others : [kind, ...others])
    if (fresh !== undefined) await this.#replace(link, fresh, 'esp-silent')
    return fresh !== undefined
  }

  /** A fresh SA beside the one in use, which lives on if there is none to be had. */
  async #freshElsewhere(order: readonly TransportKind[]): Promise<BringUpResult | undefined> {
    const { log, tunnel } = this.#environment
    try {
      if (order.length === 0) throw new UnreachableError('no-alternative', 'There is no other transport.')
      return await this.#connector.climb(order, tunnel.virtualAddresses)
    } catch (error) {
      if (this.#stopReason !== undefined) throw error
      log.log('info', 'No other transport does better', { error: String(error) })
      return undefined
    }
  }

  /** @returns whether the peer followed to another transport, or the session is to end */
  async #moveElsewhere(link: Link, others: readonly TransportKind[], reason: string): Promise<boolean> {
    const move = await this.#keeper.move(link, this.#candidates(others, link), this.#abort.signal)
    if (this.#stopReason !== undefined) return true
    if (move !== undefined) this.#moved(link, move, reason)
    return move !== undefined
  }

  async #ikeClosed(
    link: Link,
    incident: Extract<Incident, { kind: 'ike-closed' }>,
    order: readonly TransportKind[]
  ): Promise<void> {
    const { clock } = this.#environment
    const error: IkestreamError | undefined = incident.error
    if (error !== undefined && incident.reason === 'authentication-failed') throw error
    link.driver.dispose()
    if (clock.now() - this.#adoptedAt < STABLE_AFTER_MS) {
      await pause(this.#retry.next(), clock, this.#abort.signal)
    }
    await this.#startOver(link, incident.reason, order)
  }

  async #returnToUdp(link: Link): Promise<void> {
    const [candidate] = this.#candidates(['udp'], link)
    const move = await this.#udpReturn.attempt(link, candidate)
    if (this.#stopReason !== undefined) return
    if (move === undefined) this.#udpReturn.schedule(link)
    else this.#moved(link, move, 'udp-available')
  }

  /** For each transport the address in use first, then the others. No lookup: with a dead path there may be no DNS. */
  #candidates(order: readonly TransportKind[], link: Link): Candidate[] {
    const { addresses, streamTarget } = this.#environment
    const inUse = link.candidate.address
    const gateway = [inUse, ...addresses.known.filter((other) => other !== inUse)]
    return order.flatMap((kind) =>
      (kind === 'udp' ? gateway.filter(isAddress) : (streamTarget.addresses ?? gateway)).map((address) => ({
        kind,
        address
      }))
    )
  }

  #verdict(verdict: 'ask' | 'peer-silent' | 'esp-silent'): void {
    const link = this.#keeper.current
    if (link === undefined) return
    if (verdict === 'ask') {
      link.driver.input((session, now) => session.checkLiveness(now))
      this.#environment.tunnel.sendProbe()
      return
    }
    this.#watchdog.stop()
    this.#incidents.push({ kind: verdict, transport: link.transport })
  }

  #pathConfirmed(outageMs: number): void {
    const change = this.#pendingChange
    if (change === undefined) return
    this.#pendingChange = undefined
    this.#environment.onEvent({ event: 'path-changed', ...change, outageMs: Math.round(outageMs) })
    if (change.to === 'udp' && this.#watchdog.judge.carriesEsp) this.#udpReturn.trust()
    const link = this.#keeper.current
    if (link !== undefined) void this.#remember(link)
  }

  async #remember({ candidate }: Link): Promise<void> {
    if (!this.#options.rememberNetworks) return
    await this.#environment.remember(candidate.kind, candidate.address)
  }

  #emitConnected(): void {
    const link = this.#keeper.current
    if (link === undefined) return
    const { info, transport } = link
    const { tunnel, clock, onEvent } = this.#environment
    onEvent({
      event: 'connected',
      transport: transport.kind,
      via: transport.via,
      gateway: transport.path.remote.address,
      gatewayId: info.remoteIdentity,
      virtualIps: info.config?.addresses.map(({ address }) => address) ?? [],
      dns: info.config?.dns ?? [],
      interface: tunnel.interfaceName,
      mtu: tunnel.mtu,
      remoteTs: tunnel.remoteTs,
      ikeSuite: info.ikeSuite,
      espSuite: info.espSuite ?? '',
      cluster: info.cluster,
      outerTls: outerTls(transport),
      elapsedMs: Math.round(clock.now() - this.#startedAt)
    })
  }

  async #end(): Promise<void> {
    this.#watchdog.stop()
    this.#udpReturn.stop()
    this.#abort.abort(new TemporaryError('stopped', 'The session has ended.'))
    await this.#keeper.end()
    if (!this.connected) return
    const { clock, tunnel, onEvent } = this.#environment
    const { bytesIn, bytesOut } = tunnel.counters()
    const durationMs = Math.round(clock.now() - this.#connectedAt)
    onEvent({ event: 'disconnected', reason: this.#stopReason ?? 'error', bytesIn, bytesOut, durationMs })
  }
}

/** What the outer TLS turned out to be: an interceptor's certificate is worth knowing, although IKE does not depend on it. */
function outerTls(transport: Transport): OuterTls | null {
  const info = tlsInfoOf(transport)
  if (info === undefined) return null
  const { protocol, authorized, authorizationError, issuer } = info
  return { protocol, authorized, problem: authorizationError ?? null, issuer }
}

/** Behind a proxy the candidate in use is a name, which UDP cannot be sent to. */
function isAddress(text: string): boolean {
  return isIP(text) !== 0
}
