/**
 * Gets fresh links: climbs the ladder, again and again while there is time and hope.
 * @module
 */
import { AuthenticationError, type IkestreamError, TemporaryError } from '../errors.ts'
import type { RungReport } from '../transport/ladder-types.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { Backoff } from './backoff.ts'
import { type BringUpResult, bringUp } from './bring-up.ts'
import type { Clock } from './ike-driver.ts'
import type { ConnectOptions } from './options.ts'
import type { SessionEnvironment } from './session-environment.ts'

/** A transport that does not open within this has failed. */
export const OPEN_TIMEOUT_MS = 8_000

export interface RememberedPath {
  readonly transport: TransportKind
  readonly address?: string | undefined
}

export class Connector {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #signal: AbortSignal
  readonly #retry: Backoff

  /** @param signal ends every attempt; its reason is what they reject with */
  constructor(options: ConnectOptions, environment: SessionEnvironment, signal: AbortSignal, retry: Backoff) {
    this.#options = options
    this.#environment = environment
    this.#signal = signal
    this.#retry = retry
  }

  /**
   * Climbs until it leads somewhere.
   * @param patient false: one failure is enough, unless `--persist` says otherwise
   * @throws what the last attempt ended with
   */
  async connect(
    order: readonly TransportKind[],
    preferred: readonly string[],
    patient: boolean,
    remembered?: RememberedPath
  ): Promise<BringUpResult> {
    const { clock, log } = this.#environment
    const { timeoutMs } = this.#options
    const deadline = clock.now() + timeoutMs
    const repeat = patient || timeoutMs === Number.POSITIVE_INFINITY
    for (;;) {
      try {
        return await this.climb(order, preferred, remembered, deadline)
      } catch (error) {
        const delayMs = this.#retry.next()
        if (!repeat || !mayPass(error) || clock.now() + delayMs >= deadline) throw error
        log.log('info', 'Trying again', { inMs: Math.round(delayMs), after: String(error) })
        await pause(delayMs, clock, this.#signal)
      }
    }
  }

  /**
   * Climbs once.
   * @param deadline when to give up, on the session's clock
   */
  async climb(
    order: readonly TransportKind[],
    preferred: readonly string[],
    remembered?: RememberedPath,
    deadline = this.#environment.clock.now() + this.#options.timeoutMs
  ): Promise<BringUpResult> {
    const { factory, clock, log, addresses: gateway, streamTarget, open } = this.#environment
    const { timeoutMs, ladder: timings } = this.#options
    const tooLate = new AbortController()
    const limit = AbortSignal.any([this.#signal, tooLate.signal])
    const timer = Number.isFinite(deadline)
      ? clock.setTimer(deadline - clock.now(), () => tooLate.abort())
      : undefined
    try {
      const { via, addresses: streamAddresses } = streamTarget
      const addresses = await gateway.find(limit).catch((error) => {
        // Where only a proxy leads out, only the proxy may know names; without one this is the end.
        if (streamAddresses === undefined || limit.aborted) throw error
        return []
      })
      const reachable = addresses.length > 0 ? order : order.filter((kind) => kind !== 'udp')
      return await bringUp({
        ladder: { addresses, order: reachable, via, streamAddresses, remembered },
        timings,
        clock,
        log,
        open: (candidate, abort) => open(candidate, abort, OPEN_TIMEOUT_MS),
        makeSession: () => factory.make(preferred),
        onReport: (report) => this.#report(report),
        signal: limit
      })
    } catch (error) {
      if (limit.aborted && !this.#signal.aborted) throw timedOut(timeoutMs)
      throw error
    } finally {
      timer?.cancel()
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
}

/** Resolves after the delay; rejects with the signal's reason when that fires first. */
export function pause(delayMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    const onAbort = (): void => {
      timer.cancel()
      reject(signal.reason)
    }
    const timer = clock.setTimer(delayMs, () => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    })
    signal.addEventListener('abort', onAbort, { once: true })
  })
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
