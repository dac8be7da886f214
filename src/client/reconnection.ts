/**
 * Nothing carries the IKE SA right now. Two things are tried side by side until one of them succeeds: the old SA, which costs one round
 * trip and no authentication, is offered to the gateway again and again over every path (RFC 9329 section 6.1 keeps it for its
 * lifetime); and a fresh one is set up, in case the gateway has forgotten the old.
 * @module
 */
import type { SessionTicket } from '../ike/types.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import { Bell, pause } from './bell.ts'
import type { BringUpResult } from './bring-up.ts'
import type { Connector, RememberedPath } from './connector.ts'
import type { Link } from './link.ts'
import type { MoveRounds } from './move-rounds.ts'
import type { Candidate } from './openings.ts'
import type { ConnectOptions } from './options.ts'
import type { Move } from './path-mover.ts'
import type { SessionEnvironment } from './session-environment.ts'

/** The old SA on another path, or a fresh one. */
export type Regained = { readonly move: Move } | { readonly fresh: BringUpResult }

/** One round of offering the old SA over every path: SYNs have left at 0 and 1 s by then, requests over UDP three times. */
const ROUND_MS = 3_000
/** Between two rounds, a pause of this part of the outage so far: coming back takes that much longer at most. */
const PAUSE_FRACTION = 0.05
const MAX_PAUSE_MS = 10_000

/** An old SA that is heard again while a fresh one is already there has this long: a few round trips. */
const OLD_GRACE_MS = 500

export interface ReconnectWish {
  /** For the old SA; in order. */
  readonly candidates: () => readonly Candidate[]
  /** For a fresh one. */
  readonly order: readonly TransportKind[]
  readonly remembered: RememberedPath | undefined
  /** Spares the fresh one its authentication, as long as the gateway takes it. */
  readonly ticket: SessionTicket | undefined
}

export class Reconnection {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #rounds: MoveRounds
  readonly #connector: Connector
  readonly #signal: AbortSignal
  /** The network is another one, or somebody wants it tried at once. */
  readonly #news: Bell

  constructor(
    options: ConnectOptions,
    environment: SessionEnvironment,
    rounds: MoveRounds,
    connector: Connector,
    signal: AbortSignal,
    news: Bell
  ) {
    this.#options = options
    this.#environment = environment
    this.#rounds = rounds
    this.#connector = connector
    this.#signal = signal
    this.#news = news
  }

  /** @throws what the last attempt at a fresh SA ended with, once there is no time left, or no hope */
  async regain(link: Link, { candidates, order, remembered, ticket }: ReconnectWish): Promise<Regained> {
    const { clock } = this.#environment
    const over = new AbortController()
    const signal = AbortSignal.any([this.#signal, over.signal])
    const hurry = new Bell()
    let isGone = false
    hurry.listen(() => {
      isGone = true
    })
    const climbing = this.#connector.connect(
      {
        order,
        remembered,
        // With a ticket the gateway ends the old SA, which is worth more as long as it may live (RFC 5723 section 4.3.4).
        ticket: () => (isGone || link.forgotten ? ticket : undefined),
        preferred: this.#environment.tunnel.virtualAddresses,
        timeoutMs: this.#options.reconnectTimeoutMs,
        signal
      },
      { patient: true, news: this.#news, hurry }
    )
    const moving = this.#keepMoving(link, candidates, signal, hurry)
    const startedAt = clock.now()
    const first = await Promise.race([climbing.catch(() => undefined), whenMoved(moving)])
    const isReplaced = first?.link.info.byTicket
    if (first !== undefined && !isReplaced && link.driver.session.lastHeardAt > startedAt) {
      // The old SA is heard again, too, and is about to follow: it is worth more.
      await Promise.race([moving, pause(OLD_GRACE_MS, clock, this.#signal).catch(() => undefined)])
    }
    over.abort()
    const [fresh, move] = await Promise.allSettled([climbing, moving])
    const moved = move.status === 'fulfilled' ? move.value : undefined
    // The gateway has let go of the old SA for this one.
    if (fresh.status === 'fulfilled' && fresh.value.link.info.byTicket) {
      if (moved !== undefined && moved.transport !== link.transport) {
        link.driver.detach(moved.transport)
        void moved.transport.close(0)
      }
      return { fresh: fresh.value }
    }
    if (moved !== undefined) {
      // Both at the same moment: what is known to carry the tunnel's addresses stays.
      if (fresh.status === 'fulfilled')
        this.#connector.farewells.say(fresh.value.link.driver, fresh.value.link.transport)
      return { move: moved }
    }
    if (first !== undefined) return { fresh: first }
    if (fresh.status === 'rejected') throw fresh.reason
    return { fresh: fresh.value }
  }

  /** @returns undefined once the SA is gone here, or the signal has fired */
  async #keepMoving(
    link: Link,
    candidates: () => readonly Candidate[],
    signal: AbortSignal,
    hurry: Bell
  ): Promise<Move | undefined> {
    const { clock, log } = this.#environment
    const startedAt = clock.now()
    for (;;) {
      if (signal.aborted || link.driver.disposed || link.driver.session.state === 'DESTROYED')
        return undefined
      const roundAt = clock.now()
      const { move, reached, outdated } = await this.#rounds.round(link, candidates(), signal, ROUND_MS)
      if (move !== undefined) return move
      if (outdated) continue
      if (reached || link.forgotten) {
        // The gateway is there and does not know the SA, it seems: a fresh one is due now.
        log.log('debug', 'The gateway is there, but the session did not follow')
        hurry.ring()
      }
      const now = clock.now()
      const pauseMs = Math.min(MAX_PAUSE_MS, (now - startedAt) * PAUSE_FRACTION)
      const restMs = Math.max(0, roundAt + ROUND_MS - now)
      await pause(restMs + pauseMs, clock, signal, this.#rounds.dueNow).catch(() => undefined)
    }
  }
}

/** Settles only if there was a move: without one it is up to the climb. */
async function whenMoved(moving: Promise<Move | undefined>): Promise<undefined> {
  if ((await moving) === undefined) await new Promise<never>(() => undefined)
  return undefined
}
