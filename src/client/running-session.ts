/**
 * A session from its beginning to its end, with everything around it: the watch on the network, the control socket, and the
 * order in which all of it ends.
 * @module
 */
import { monotonicClock, noteSleep } from '../clock.ts'
import type { IkestreamError } from '../errors.ts'
import type { ControlServer } from '../host/control-server.ts'
import type { NetworkWatch } from '../host/network-watch.ts'
import { watchWakes } from '../host/wake-watch.ts'
import type { Logger } from '../log.ts'
import type { StreamFaults } from '../wire/frame-fate.ts'
import type { Captures } from './captures.ts'
import { openControl } from './control.ts'
import { systemClock } from './ike-driver.ts'
import type { ConnectOptions } from './options.ts'
import type { VpnSession } from './session.ts'
import type { SessionHistory } from './session-history.ts'
import { type SessionStatus, sessionStatus } from './session-status.ts'
import type { Tunnel } from './tunnel.ts'

export interface RunningSession {
  /** Asks for a clean end. */
  stop(reason?: string): void
  /** Climbs the ladder again, keeping the SAs. */
  reconnect(): void
  readonly connected: boolean
  /** What was captured so far is in the files. */
  flushCaptures(): void
  /** How long the session has been at what it is doing about an incident; 0 while there is none. */
  readonly busyForMs: number
  /** A snapshot, as `ikestream status` shows it. */
  status(): SessionStatus
  /** Resolves at the end, when everything has been taken back; rejects with why it ended otherwise. */
  readonly ended: Promise<void>
}

export interface SessionParts {
  readonly options: ConnectOptions
  readonly session: VpnSession
  readonly tunnel: Tunnel
  readonly history: SessionHistory
  readonly runBy: SessionStatus['runBy']
  readonly log: Logger
  /** Where the control socket is made; undefined: there is none. */
  readonly runtimeDirectory: string | undefined
  readonly watching: NetworkWatch
  readonly captures: Captures
  /** Of all streams so far. */
  readonly streamFaults: StreamFaults
  /** Why an end that looks clean is none. */
  readonly failure: () => IkestreamError | undefined
  /** A better word for what it failed with; asked once the tunnel has been taken back. Never rejects. */
  readonly explain: (error: unknown) => Promise<unknown>
}

/** @throws SystemError when another session of that name answers on its control socket; the tunnel is closed then */
export async function startSession(parts: SessionParts): Promise<RunningSession> {
  const { session } = parts
  const status = (): SessionStatus => statusOf(parts)
  let failure: unknown
  const control = await controlFor(parts, status, () => failure)
  const ended = runToEnd(parts)
    .catch((error: unknown) => {
      failure = error
      throw error
    })
    .finally(() => control?.close())
  return {
    ended,
    stop: (reason) => session.stop(reason),
    reconnect: () => session.reconnect(),
    flushCaptures: () => parts.captures.flush(),
    get connected() {
      return session.connected
    },
    get busyForMs() {
      return session.busyForMs
    },
    status
  }
}

function statusOf({ options, runBy, history, session, tunnel, streamFaults }: SessionParts): SessionStatus {
  const { link, stopping } = session
  const now = systemClock.now()
  return sessionStatus({
    ...{ options, runBy, history, link, stopping, streamFaults },
    tunnel: tunnel.report(),
    now
  })
}

async function controlFor(
  { options, session, tunnel, watching, runtimeDirectory, log }: SessionParts,
  status: () => SessionStatus,
  failure: () => unknown
): Promise<ControlServer | undefined> {
  if (runtimeDirectory === undefined) return undefined
  const controlled = { status, stop: (reason: string) => session.stop(reason), failure }
  try {
    return await openControl(runtimeDirectory, options.sessionName, controlled, log.child('control'))
  } catch (error) {
    watching.close()
    await tunnel.close()
    throw error
  }
}

async function runToEnd(parts: SessionParts): Promise<void> {
  try {
    await runAndTakeBack(parts)
  } catch (error) {
    throw await parts.explain(error)
  }
  const error = parts.failure()
  if (error !== undefined) throw error
}

async function runAndTakeBack({ session, tunnel, watching, captures }: SessionParts): Promise<void> {
  const wakes = watchWakes(({ pausedMs, asleepMs }) => {
    noteSleep(asleepMs)
    session.woke(pausedMs)
  }, monotonicClock)
  try {
    await session.run()
  } finally {
    wakes.close()
    watching.close()
    await tunnel.close()
    captures.close()
  }
}
