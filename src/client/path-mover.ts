/**
 * Moves an established IKE SA to another path (RFC 9329 sections 6.1, 7.1; RFC 4555): outstanding requests go out
 * again bit for bit, then UPDATE_SA_ADDRESSES or an empty INFORMATIONAL, and only an answer makes the move real.
 * @module
 */
import type { Logger } from '../log.ts'
import type { Transport, TransportHandlers } from '../transport/types.ts'
import type { Clock, IkeDriver, IkeEvent } from './ike-driver.ts'
import { type Link, sessionPath } from './link.ts'
import { type Candidate, type Opened, Openings } from './openings.ts'

export interface MoverEnvironment {
  readonly clock: Clock
  readonly log: Logger
  readonly open: (candidate: Candidate, signal: AbortSignal) => Promise<Opened>
  /** Handlers that lead IKE to the link's driver and ESP to the pump. */
  readonly handlers: (transport: Transport, driver: IkeDriver) => TransportHandlers
  readonly answerMs: number
  readonly graceMs: number
}

/** Behind a hint that the gateway has forgotten the SA, a genuine answer has this long. */
const HINT_GRACE_MS = 250

export interface Move {
  readonly transport: Transport
  readonly candidate: Candidate
}

/** Waits for engine events that concern one move; fed by the session with every event of the link's driver. */
export class MoveWatch {
  #waiting:
    | {
        readonly pathId: number
        readonly settle: (moved: boolean) => void
        readonly doubt: () => void
      }
    | undefined

  /** @returns true if the event settled the move that is being waited for */
  offer(event: IkeEvent): void {
    if (event.type === 'path-changed' && event.path.id === this.#waiting?.pathId) this.#waiting.settle(true)
    else if (event.type === 'hint' && event.path.id === this.#waiting?.pathId) this.#waiting.doubt()
    else if (event.type === 'closed') this.#waiting?.settle(false)
  }

  /** The transport of the awaited path ended. */
  transportClosed(pathId: number): void {
    if (this.#waiting?.pathId === pathId) this.#waiting.settle(false)
  }

  abandon(): void {
    this.#waiting?.settle(false)
  }

  wait(pathId: number, clock: Clock, timeoutMs: number): Promise<boolean> {
    this.abandon()
    return new Promise((resolve) => {
      const giveUp = (): void => this.#waiting?.settle(false)
      let timer = clock.setTimer(timeoutMs, giveUp)
      this.#waiting = {
        pathId,
        doubt: () => {
          timer.cancel()
          timer = clock.setTimer(Math.min(timeoutMs, HINT_GRACE_MS), giveUp)
        },
        settle: (moved) => {
          timer.cancel()
          this.#waiting = undefined
          resolve(moved)
        }
      }
    })
  }
}

/**
 * Tries the candidates, all opened side by side, in order of preference until the peer answers on one.
 * @returns the move that was answered; undefined when none was, or the IKE SA came to its end
 */
export async function moveLink(
  link: Link,
  candidates: readonly Candidate[],
  watch: MoveWatch,
  environment: MoverEnvironment,
  signal: AbortSignal
): Promise<Move | undefined> {
  const openings = new Openings(
    candidates,
    (candidate) => environment.open(candidate, signal),
    environment.clock,
    environment.graceMs
  )
  const stop = (): void => {
    openings.close()
    watch.abandon()
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    for (;;) {
      if (signal.aborted || link.driver.disposed) return undefined
      const opened = await openings.next()
      if (opened === undefined) return undefined
      if (await tryMove(link, opened.transport, watch, environment)) return opened
      environment.log.log('info', 'The session did not follow to this path', {
        transport: opened.candidate.kind,
        address: opened.candidate.address
      })
    }
  } finally {
    signal.removeEventListener('abort', stop)
    openings.close()
  }
}

async function tryMove(
  link: Link,
  transport: Transport,
  watch: MoveWatch,
  environment: MoverEnvironment
): Promise<boolean> {
  const { driver } = link
  const path = sessionPath(transport)
  transport.setHandlers(environment.handlers(transport, driver))
  driver.attach(transport)
  const answered = watch.wait(path.id, environment.clock, environment.answerMs)
  driver.input((session, now) => session.movePath(now, path))
  if (await answered) return true
  driver.input((session, now) => session.pathLost(now, path))
  // The one in use is its owner's.
  if (transport === link.transport) return false
  driver.detach(transport)
  void transport.close(0)
  return false
}
