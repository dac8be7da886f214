/**
 * What is done about a path that broke, fell silent or carries no ESP, and about an IKE SA that has come to its end.
 *
 * The IKE SA is kept where it can be (RFC 9329 section 6.1); where a gateway's ESP does not follow it, or the SA is gone, a fresh one takes
 * over, made before the old one is broken whenever the old one still lives.
 * @module
 */
import { isIP } from 'node:net'
import { IkestreamError, UnreachableError } from '../errors.ts'
import { RedirectedError } from '../ike/redirect.ts'
import type { SessionTicket } from '../ike/types.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { Backoff } from './backoff.ts'
import { type Bell, pause } from './bell.ts'
import type { BringUpResult } from './bring-up.ts'
import type { ClimbWish, Connector } from './connector.ts'
import type { PathChangedEvent } from './events.ts'
import type { Incident } from './incidents.ts'
import { type Link, sessionPath } from './link.ts'
import type { LinkKeeper } from './link-keeper.ts'
import { MoveRounds } from './move-rounds.ts'
import type { Candidate, Opened } from './openings.ts'
import type { ConnectOptions } from './options.ts'
import type { Move } from './path-mover.ts'
import { Reconnection } from './reconnection.ts'
import type { SessionEnvironment } from './session-environment.ts'
import type { UdpReturn } from './udp-return.ts'
import type { Watchdog } from './watchdog.ts'

/** A session that ends sooner than this after it came up counts as a failed attempt. */
const STABLE_AFTER_MS = 10_000

/** Reasons to leave a path that works. */
const VOLUNTARY: readonly string[] = ['udp-available', 'requested']

export interface RecoveryParts {
  readonly keeper: LinkKeeper
  readonly connector: Connector
  readonly watchdog: Watchdog
  readonly udpReturn: UdpReturn
  readonly retry: Backoff
  /** The session is to end. */
  readonly signal: AbortSignal
  /** The network is another one, or somebody wants it tried at once. */
  readonly news: Bell
  /** ESP arrives again on the path that was given up. */
  readonly revived: Bell
  /** Something happens that cannot wait. */
  readonly urgent: Bell
}

export class Recovery {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #keeper: LinkKeeper
  readonly #connector: Connector
  readonly #watchdog: Watchdog
  readonly #udpReturn: UdpReturn
  readonly #retry: Backoff
  readonly #signal: AbortSignal
  readonly #revived: Bell
  readonly #urgent: Bell
  readonly #rounds: MoveRounds
  readonly #reconnection: Reconnection
  #pendingChange: Omit<PathChangedEvent, 'event' | 'outageMs'> | undefined
  #connectedAt: number | undefined
  /** When the IKE SA in use was taken into use. */
  #adoptedAt = 0
  /** The path that was left because no ESP came back, for as long as none has come since. */
  #left: TransportKind | undefined

  constructor(options: ConnectOptions, environment: SessionEnvironment, parts: RecoveryParts) {
    const { keeper, connector, watchdog, udpReturn, retry, signal, news, revived, urgent } = parts
    this.#options = options
    this.#environment = environment
    this.#keeper = keeper
    this.#connector = connector
    this.#watchdog = watchdog
    this.#udpReturn = udpReturn
    this.#retry = retry
    this.#signal = signal
    this.#revived = revived
    this.#urgent = urgent
    this.#rounds = new MoveRounds(environment, keeper, news, revived)
    this.#reconnection = new Reconnection(options, environment, this.#rounds, connector, signal, news)
  }

  /** When the session came up first. */
  get connectedAt(): number | undefined {
    return this.#connectedAt
  }

  /** Takes a fresh link into use. */
  async adopt(fresh: BringUpResult): Promise<void> {
    await this.#keeper.adopt(fresh)
    this.#adoptedAt = this.#environment.clock.now()
    this.#connectedAt ??= this.#adoptedAt
    this.#udpReturn.schedule(fresh.link)
    const { info, transport } = fresh.link
    if (info.byTicket) this.#environment.onEvent({ event: 'resumed', gateway: transport.path.remote.address })
    await this.#remember(fresh.link)
  }

  /** Keeps the IKE SA and moves it; a fresh one only when no path carries the old one. */
  async recover(link: Link, reason: string, order: readonly TransportKind[]): Promise<void> {
    const move = link.forgotten ? undefined : await this.#moveSoon(link, order)
    if (this.#signal.aborted) return
    if (move === undefined) await this.#reconnect(link, reason)
    else this.#moved(link, move, reason)
  }

  /**
   * IKE is answered here, ESP is not. The SA moves on and keeps its addresses; where it came from another path, the peer's ESP may not
   * have followed: then a fresh one, here first. When nothing comes back then either, nobody inside answers.
   */
  async espSilent(link: Link): Promise<void> {
    const { kind } = link.candidate
    this.#environment.log.log('info', 'IKE is answered but ESP is not', { transport: kind })
    if (kind === 'udp') this.#udpReturn.distrust()
    if (!(await this.#moveBack(link))) {
      if (this.#left === undefined || (!link.fresh && this.#isMissed)) await this.#leave(link)
      else await this.#giveUpLooking(link, this.#left)
    }
    this.#watchdog.start()
  }

  /** ESP arrives over the path in use. */
  carried(): void {
    this.#left = undefined
    this.#keeper.carried()
  }

  /** @throws the gateway's refusal to authenticate us any longer */
  async ikeClosed(link: Link, { error, reason }: Extract<Incident, { kind: 'ike-closed' }>): Promise<void> {
    const { clock } = this.#environment
    if (error !== undefined && reason === 'authentication-failed') throw error satisfies IkestreamError
    link.driver.dispose()
    if (clock.now() - this.#adoptedAt < STABLE_AFTER_MS) await pause(this.#retry.next(), clock, this.#signal)
    await this.#reconnect(link, reason)
  }

  /** A fresh SA, authenticated anew, while the old one still works (RFC 4478). Without one the old SA goes on for as long as it may. */
  async reauthenticate(link: Link): Promise<void> {
    const { kind, address } = link.candidate
    const { order } = this.#options
    const remembered = { transport: kind, address }
    const fresh = await this.#freshElsewhere([kind, ...order.filter((other) => other !== kind)], {
      destination: link.destination,
      remembered
    })
    if (fresh !== undefined) await this.#replace(link, fresh, 'reauthentication')
  }

  /**
   * The gateway wants us at another one: a fresh SA there, while this one still works. Without one, this one goes on for as long as the
   * gateway lets it.
   */
  async redirected(link: Link, to: string): Promise<void> {
    const { redirects, log } = this.#environment
    const { kind } = link.candidate
    const { order } = this.#options
    const from = link.transport.path.remote.address
    try {
      const destination = await redirects.follow(new RedirectedError(to, 'session', from), this.#signal)
      const others = order.filter((other) => other !== kind)
      const fresh = await this.#freshElsewhere([kind, ...others], { destination })
      if (fresh !== undefined) await this.#replace(link, fresh, 'redirected')
    } catch (error) {
      if (!(error instanceof IkestreamError) || this.#signal.aborted) throw error
      log.log('warn', error.message, { hint: error.hint })
    }
  }

  async returnToUdp(link: Link): Promise<void> {
    const [candidate] = this.#candidates(['udp'], link)
    const move = await this.#udpReturn.attempt(link, candidate)
    if (this.#signal.aborted) return
    if (move === undefined) this.#udpReturn.schedule(link)
    else this.#moved(link, move, 'udp-available')
  }

  /** The first traffic after a change of path, or nothing was waiting for any. */
  pathConfirmed(outageMs: number): void {
    const change = this.#pendingChange
    if (change === undefined) return
    this.#pendingChange = undefined
    this.#environment.onEvent({ event: 'path-changed', ...change, outageMs: Math.round(outageMs) })
    if (change.to === 'udp' && this.#watchdog.judge.carriesEsp) this.#udpReturn.trust()
    const link = this.#keeper.current
    if (link !== undefined) void this.#remember(link)
  }

  /** As long as a short break is all that it is. */
  async #moveSoon(link: Link, order: readonly TransportKind[]): Promise<Move | undefined> {
    const { clock } = this.#environment
    const { moveGiveUpMs, moveRetriesMs } = this.#options.timings
    const deadline = clock.now() + moveGiveUpMs
    // UDP that did not answer the first time has had its chance: waiting for it again only lengthens the outage.
    const streams = order.filter((kind) => kind !== 'udp')
    const again = streams.length > 0 ? streams : order
    this.#rounds.begin()
    for (const pauseMs of [0, ...moveRetriesMs]) {
      // What resets a stream often refuses the next connection too, for a moment.
      if (pauseMs > 0) await pause(pauseMs, clock, this.#signal, this.#rounds.dueNow).catch(() => undefined)
      const candidates = this.#candidates(pauseMs > 0 ? again : order, link)
      const leftMs = deadline - clock.now()
      if (leftMs <= 0) return undefined
      const { move, reached } = await this.#rounds.round(link, candidates, this.#signal, leftMs)
      if (move !== undefined) return move
      // A stream that opens but is not answered says that the SA is gone at the other end; waiting changes nothing. A node of a
      // cluster that is dying takes connections, too, and another one has the SA a moment later.
      const isGone = reached && !link.info.cluster
      if (isGone || link.forgotten || this.#signal.aborted || link.driver.session.state === 'DESTROYED')
        return undefined
    }
    return undefined
  }

  /** The old SA is beyond reach; it is offered again and again while a fresh one is sought. */
  async #reconnect(link: Link, reason: string): Promise<void> {
    const { clock, tunnel, onEvent } = this.#environment
    const { order } = this.#options
    const { bytesIn, bytesOut } = tunnel.counters()
    const durationMs = Math.round(clock.now() - (this.#connectedAt ?? clock.now()))
    onEvent({ event: 'reconnecting', reason, bytesIn, bytesOut, durationMs })
    if (clock.now() - this.#adoptedAt > STABLE_AFTER_MS) this.#retry.reset()
    const { kind, address } = link.candidate
    // Without a path nothing is retransmitted, and nothing fails for lack of an answer: the SA lives for as long as its lifetime.
    link.driver.input((session, now) => session.pathLost(now, sessionPath(link.transport)))
    const regained = await this.#reconnection.regain(link, {
      candidates: () => this.#candidates([kind, ...order.filter((other) => other !== kind)], link),
      order,
      remembered: reason === 'network-changed' ? undefined : { transport: kind, address },
      ticket: this.#ticketOf(link)
    })
    if ('move' in regained) this.#moved(link, regained.move, reason)
    else await this.#replace(link, regained.fresh, reason)
  }

  /** For the gateway that gave it: after a redirection the other one is asked first. */
  #ticketOf({ ticket, destination }: Link): SessionTicket | undefined {
    const isValid = ticket !== undefined && ticket.expiresAt > this.#environment.clock.now()
    return isValid && destination === undefined ? ticket : undefined
  }

  #moved(link: Link, move: Move, reason: string): void {
    this.#expectChange(link.transport.kind, move.transport.kind, reason)
    this.#keeper.moved(link, move, VOLUNTARY.includes(reason))
    this.#udpReturn.schedule(link)
  }

  /** Several changes are one, as long as nothing comes through. */
  #expectChange(from: TransportKind, to: TransportKind, reason: string): void {
    this.#watchdog.settle()
    const pending = this.#pendingChange
    const isCause = pending !== undefined && !VOLUNTARY.includes(pending.reason)
    this.#pendingChange = { from: pending?.from ?? from, to, reason: isCause ? pending.reason : reason }
  }

  async #replace(old: Link, fresh: BringUpResult, reason: string): Promise<void> {
    this.#expectChange(old.transport.kind, fresh.link.transport.kind, reason)
    await this.adopt(fresh)
  }

  /** Somebody waits for ESP: a name server that does not answer is not worth another authentication. */
  get #isMissed(): boolean {
    return this.#watchdog.everCarried || this.#watchdog.judge.trafficUnanswered
  }

  /** The path that was left for this one still waits. @returns whether the peer followed there */
  async #moveBack(link: Link): Promise<boolean> {
    const previous = this.#keeper.takePrevious()
    if (previous === undefined) return false
    return this.#moveOrStay(link, [previous.candidate], 'esp-silent', async () => previous)
  }

  async #leave(link: Link): Promise<void> {
    const { kind } = link.candidate
    const others = this.#options.order.filter((other) => other !== kind)
    const isMissed = this.#isMissed
    this.#left ??= kind
    if (link.fresh && (await this.#moveElsewhere(link, others, 'esp-silent'))) return
    const { destination } = link
    const fresh = isMissed
      ? await this.#freshElsewhere(link.fresh ? others : [kind, ...others], { destination })
      : undefined
    if (fresh !== undefined) {
      await this.#replace(link, fresh, 'esp-silent')
      return
    }
    this.#left = undefined
    if (!this.#watchdog.everCarried) this.#environment.tunnel.ignoreProbes()
    this.#watchdog.judge.wasWrong()
  }

  /** Nothing came back over two paths: that says nothing about either of them, and the better one is good enough. */
  async #giveUpLooking(link: Link, left: TransportKind): Promise<void> {
    const { order } = this.#options
    const isMissed = this.#isMissed
    this.#left = undefined
    this.#environment.tunnel.ignoreProbes()
    this.#udpReturn.trust()
    const wasBetter = order.indexOf(left) < order.indexOf(link.candidate.kind)
    if (!isMissed) {
      if (wasBetter) await this.#moveElsewhere(link, [left], 'no-better-path')
      this.#watchdog.judge.wasWrong()
      return
    }
    // The peer's ESP need not follow a move, and nothing would tell.
    const { destination } = link
    const fresh = wasBetter ? await this.#freshElsewhere([left], { destination }) : undefined
    if (fresh !== undefined) await this.#replace(link, fresh, 'no-better-path')
    this.#watchdog.judge.resign()
  }

  /** A fresh SA beside the one in use, which lives on if there is none to be had. */
  async #freshElsewhere(
    order: readonly TransportKind[],
    where: Pick<ClimbWish, 'destination' | 'remembered'>
  ): Promise<BringUpResult | undefined> {
    const { log, tunnel } = this.#environment
    const abort = new AbortController()
    // What happens to the SA in use comes first, also that it comes to life again.
    const unlisten = [this.#urgent, this.#revived].map((bell) => bell.listen(() => abort.abort()))
    try {
      if (order.length === 0) throw new UnreachableError('no-alternative', 'There is no other transport.')
      const { timeoutMs } = this.#options
      const preferred = tunnel.virtualAddresses
      const { signal } = abort
      return await this.#connector.climb({ order, preferred, ...where, timeoutMs, signal })
    } catch (error) {
      if (this.#signal.aborted) throw error
      log.log('info', 'There is no fresh SA to be had', { error: String(error) })
      return undefined
    } finally {
      for (const end of unlisten) end()
    }
  }

  /** @returns whether the peer followed to another transport, or the session is to end */
  #moveElsewhere(link: Link, others: readonly TransportKind[], reason: string): Promise<boolean> {
    return this.#moveOrStay(link, this.#candidates(others, link), reason)
  }

  /** Where IKE is answered on the path in use. @returns whether the peer followed, or the session is to end */
  async #moveOrStay(
    link: Link,
    candidates: readonly Candidate[],
    reason: string,
    open?: () => Promise<Opened>
  ): Promise<boolean> {
    const move = await this.#keeper.move(link, candidates, this.#signal, open)
    if (this.#signal.aborted) return true
    if (move !== undefined) this.#moved(link, move, reason)
    // The engine's last path is one that did not answer: without another it would never ask or rekey anything again.
    else link.driver.input((session, now) => session.movePath(now, sessionPath(link.transport)))
    return move !== undefined
  }

  /** For each transport the address in use first, then the others. No lookup: with a dead path there may be no DNS. */
  #candidates(order: readonly TransportKind[], link: Link): Candidate[] {
    const { addresses, streamTarget } = this.#environment
    const inUse = link.candidate.address
    const { destination } = link
    const known = destination?.addresses ?? addresses.known
    const gateway = [inUse, ...known.filter((other) => other !== inUse)]
    const proxied = destination === undefined ? streamTarget.addresses : [destination.host]
    const streams = streamTarget.addresses === undefined ? gateway : (proxied ?? gateway)
    return order.flatMap((kind) =>
      (kind === 'udp' ? gateway.filter(isAddress) : streams).map((address) => ({
        kind,
        address
      }))
    )
  }

  async #remember({ candidate, destination }: Link): Promise<void> {
    // A redirection changes nothing beyond its session (RFC 5685 section 11).
    if (!this.#options.rememberNetworks || destination !== undefined) return
    await this.#environment.remember(candidate.kind, candidate.address)
  }
}

/** Behind a proxy the candidate in use is a name, which UDP cannot be sent to. */
function isAddress(text: string): boolean {
  return isIP(text) !== 0
}
