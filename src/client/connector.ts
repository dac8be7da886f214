/**
 * Gets fresh links: climbs the ladder, again and again while there is time and hope.
 * @module
 */

import type { Clock } from '../clock.ts'
import { AuthenticationError, type IkestreamError, TemporaryError } from '../errors.ts'
import { RedirectedError } from '../ike/redirect.ts'
import type { SessionTicket } from '../ike/types.ts'
import type { RungReport } from '../transport/ladder-types.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { Backoff } from './backoff.ts'
import { type Bell, pause } from './bell.ts'
import { type BringUpResult, bringUp } from './bring-up.ts'
import { Farewells } from './farewell.ts'
import type { ConnectOptions } from './options.ts'
import type { Destination } from './redirects.ts'
import type { SessionEnvironment } from './session-environment.ts'

/** A transport that does not open within this has failed. */
export const OPEN_TIMEOUT_MS = 8_000

export interface RememberedPath {
  readonly transport: TransportKind
  readonly address?: string | undefined
}

/** What a climb is to lead to, and until when. */
export interface ClimbWish {
  readonly order: readonly TransportKind[]
  /** Virtual addresses to ask for again. */
  readonly preferred: readonly string[]
  /** Where to begin. */
  readonly remembered?: RememberedPath | undefined
  /** It is the first of the session: there is no other SA that has to live on. */
  readonly isFirst?: boolean
  /** To resume the session that was lost; asked whenever an IKE session begins. */
  readonly ticket?: (() => SessionTicket | undefined) | undefined
  /** Another gateway than the one that the user named. */
  readonly destination?: Destination | undefined
  /** How long it may take; Infinity: for ever. */
  readonly timeoutMs: number
  /** Ends this attempt alone. */
  readonly signal?: AbortSignal | undefined
}

export interface Patience {
  /** False: one failure is enough, unless there is no end to the time. */
  readonly patient: boolean
  /** Another attempt makes sense now: ends pauses, and attempts that have been waiting for a while. */
  readonly hurry?: Bell | undefined
  /** The network is another one: ends every attempt that nobody has answered yet. */
  readonly news?: Bell | undefined
}

/**
 * Where the same credentials were good before, so many refusals in a row are believed. IKE_SA_INIT is protected by nobody before
 * IKE_AUTH: if a single bit of it was changed on the way, that looks like wrong credentials at either end.
 */
const REFUSALS_BELIEVED = 3

/** Until then a climb has reason to believe that it is about to be answered. */
const HURRY_AFTER_MS = 4_000

export class Connector {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #signal: AbortSignal
  readonly #retry: Backoff
  readonly farewells: Farewells
  /** Both ends have proved who they are, in this session. */
  #hasAuthenticated = false

  /** @param signal ends every attempt; its reason is what they reject with */
  constructor(options: ConnectOptions, environment: SessionEnvironment, signal: AbortSignal, retry: Backoff) {
    this.#options = options
    this.#environment = environment
    this.#signal = signal
    this.#retry = retry
    this.farewells = new Farewells(environment.clock)
  }

  /**
   * Climbs until it leads somewhere.
   * @throws what the last attempt ended with
   */
  async connect(wish: ClimbWish, patience: Patience): Promise<BringUpResult> {
    const { clock, log, onRetry } = this.#environment
    const deadline = clock.now() + wish.timeoutMs
    const repeat = patience.patient || wish.timeoutMs === Number.POSITIVE_INFINITY
    const signal = this.#anyOf(wish.signal)
    let refusals = 0
    for (;;) {
      const attempt = new Attempt(patience, clock)
      try {
        const left = { timeoutMs: deadline - clock.now(), signal: AbortSignal.any([signal, attempt.signal]) }
        return await this.#climb({ ...wish, ...left }, wish.timeoutMs, () => attempt.settle(), patience.news)
      } catch (error) {
        signal.throwIfAborted()
        refusals = mayPass(error) ? 0 : refusals + 1
        const isBelieved = refusals >= (this.#hasAuthenticated ? REFUSALS_BELIEVED : 1)
        if (attempt.isOutdated && !isBelieved) continue
        const delayMs = this.#retry.next()
        if (!repeat || isBelieved || clock.now() + delayMs >= deadline) throw error
        onRetry?.(error)
        log.log('info', 'Trying again', { inMs: Math.round(delayMs), after: String(error) })
        await pause(delayMs, clock, signal, patience.hurry, patience.news)
      } finally {
        attempt.settle()
      }
    }
  }

  /** Climbs once. */
  climb(wish: ClimbWish): Promise<BringUpResult> {
    return this.#climb(wish, wish.timeoutMs, () => undefined)
  }

  /**
   * @param wholeMs how long all attempts together may take, for people
   * @param onAnswer somebody answers IKE
   * @param news the network is another one
   */
  async #climb(
    wish: ClimbWish,
    wholeMs: number,
    onAnswer: () => void,
    news?: Bell | undefined
  ): Promise<BringUpResult> {
    const { timeoutMs } = wish
    const { clock, redirects } = this.#environment
    const tooLate = new AbortController()
    const signal = this.#anyOf(wish.signal)
    const limit = AbortSignal.any([signal, tooLate.signal])
    const timer = Number.isFinite(timeoutMs) ? clock.setTimer(timeoutMs, () => tooLate.abort()) : undefined
    try {
      let { destination } = wish
      for (;;) {
        try {
          return await this.#climbTo(destination, wish, limit, onAnswer, news)
        } catch (error) {
          if (!(error instanceof RedirectedError)) throw error
          destination = await redirects.follow(error, limit)
        }
      }
    } catch (error) {
      if (tooLate.signal.aborted && !signal.aborted) throw timedOut(wholeMs)
      throw error
    } finally {
      timer?.cancel()
    }
  }

  async #climbTo(
    destination: Destination | undefined,
    { order, preferred, remembered, ticket, isFirst = false }: ClimbWish,
    signal: AbortSignal,
    onAnswer: () => void,
    news: Bell | undefined
  ): Promise<BringUpResult> {
    const { factory, clock, log, streamTarget, tunnel, open } = this.#environment
    const isElsewhere = destination !== undefined
    if (isElsewhere) await tunnel.keepOutside(destination.addresses)
    const addresses = destination?.addresses ?? (await this.#ownAddresses(signal))
    const reachable = addresses.length > 0 ? order : order.filter((kind) => kind !== 'udp')
    const isProxied = streamTarget.addresses !== undefined
    const result = await bringUp({
      ladder: {
        addresses,
        order: reachable,
        via: streamTarget.via,
        streamAddresses: isElsewhere && isProxied ? [destination.host] : streamTarget.addresses,
        // What is remembered is about the gateway that the user named.
        remembered: isElsewhere ? undefined : remembered
      },
      timings: this.#options.ladder,
      clock,
      log,
      open: (candidate, abort) => open(candidate, abort, OPEN_TIMEOUT_MS),
      makeSession: () => factory.make(preferred, this.#wishes(destination, ticket?.(), isFirst)),
      onReport: (report) => {
        if (report.outcome === 'answered') onAnswer()
        this.#report(report)
      },
      news,
      farewells: this.farewells,
      signal
    })
    this.#hasAuthenticated = true
    result.link.destination = destination
    return result
  }

  #wishes(destination: Destination | undefined, ticket: SessionTicket | undefined, isFirst: boolean) {
    const { redirect, resume, initialContact } = this.#options
    return {
      initialContact: initialContact && isFirst,
      redirect: redirect ? { from: destination?.from } : undefined,
      // A ticket is for the gateway that gave it.
      resumption: resume ? { ticket: destination === undefined ? ticket : undefined } : undefined
    }
  }

  /** Of the gateway that the user named. */
  #ownAddresses(signal: AbortSignal): Promise<readonly string[]> {
    const { addresses, streamTarget } = this.#environment
    return addresses.find(signal).catch((error) => {
      // Where only a proxy leads out, only the proxy may know names; without one this is the end.
      if (streamTarget.addresses === undefined || signal.aborted) throw error
      return []
    })
  }

  #anyOf(signal: AbortSignal | undefined): AbortSignal {
    return signal === undefined ? this.#signal : AbortSignal.any([this.#signal, signal])
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
}

/** One climb, which another may overtake as long as nobody has answered. */
class Attempt {
  readonly #abort = new AbortController()
  readonly #unlisten: readonly ((() => void) | undefined)[]

  constructor({ news, hurry }: Patience, clock: Clock) {
    const startedAt = clock.now()
    this.#unlisten = [
      news?.listen(() => this.#abort.abort()),
      hurry?.listen(() => {
        if (clock.now() - startedAt >= HURRY_AFTER_MS) this.#abort.abort()
      })
    ]
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  get isOutdated(): boolean {
    return this.#abort.signal.aborted
  }

  /** Somebody answered, or it is over: nothing ends it any more. */
  settle(): void {
    for (const unlisten of this.#unlisten) unlisten?.()
  }
}

function timedOut(timeoutMs: number): IkestreamError {
  return new TemporaryError('timeout', `The tunnel did not come up within ${timeoutMs / 1000} s.`, {
    hint: 'Give it longer with --timeout, or look at what happens with --verbose.'
  })
}

/** Wrong credentials stay wrong; everything else may pass. */
function mayPass(error: unknown): boolean {
  return !(error instanceof AuthenticationError)
}
