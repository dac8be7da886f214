/**
 * `connect` for programs: a VPN session as an object with events.
 * @module
 */
import { EventEmitter } from 'node:events'
import { type ConnectFlags, resolveOptions } from '../cli/resolve-options.ts'
import { connect as startSession } from '../client/connect.ts'
import type {
  ClientEvent,
  ConnectedEvent,
  DisconnectedEvent,
  LivenessEvent,
  PathChangedEvent,
  ReconnectingEvent,
  RedirectedEvent,
  RekeyedEvent,
  ResumedEvent,
  RungEvent
} from '../client/events.ts'
import type { RunningSession } from '../client/running-session.ts'
import type { SessionStatus } from '../client/session-status.ts'
import { directories } from '../host/directories.ts'
import { type GatewaySettings, understand } from './settings.ts'

export interface ConnectSettings extends GatewaySettings {
  /** Name of the session: two of one name cannot run at a time. */
  readonly name?: string | undefined
  readonly interface?: string | undefined
  readonly mtu?: number | undefined
  readonly netns?: string | undefined
  readonly routes?: boolean | undefined
  readonly dns?: boolean | undefined
  readonly script?: string | undefined
  readonly reconnectTimeout?: number | undefined
  readonly persist?: boolean | undefined
  /** The gateway is told to end all other sessions of this identity. */
  readonly initialContact?: boolean | undefined
  /** False: a lost session is authenticated anew, also where the gateway gives session tickets. */
  readonly resume?: boolean | undefined
  /** False: gateways that send their clients to others are not followed. */
  readonly redirect?: boolean | undefined
  readonly dpd?: number | undefined
  readonly clusterLiveness?: number | undefined
  readonly ikeLifetime?: number | undefined
  readonly childLifetime?: number | undefined
  readonly udpProbe?: number | undefined
  readonly capture?: string | undefined
  readonly captureInner?: string | undefined
  readonly unsafeDumpKeys?: string | undefined
  /** True: `ikestream status` and `ikestream disconnect` of the same user know this session. */
  readonly control?: boolean | undefined
  /** Where journals and what is remembered of networks are kept; the user's state folder by default. */
  readonly stateDirectory?: string | undefined
  /** Every event from the first on; those before the tunnel is up come nowhere else. */
  readonly onEvent?: ((event: ClientEvent) => void) | undefined
}

const OWN_NAMES = [
  'name',
  'capture',
  'captureInner',
  'unsafeDumpKeys',
  'control',
  'stateDirectory',
  'onEvent'
]

/** By the name of each event: the event itself. */
export interface ConnectionEvents {
  rung: [RungEvent]
  connected: [ConnectedEvent]
  'path-changed': [PathChangedEvent]
  rekeyed: [RekeyedEvent]
  liveness: [LivenessEvent]
  reconnecting: [ReconnectingEvent]
  redirected: [RedirectedEvent]
  resumed: [ResumedEvent]
  disconnected: [DisconnectedEvent]
}

/** A tunnel that is up, until it is closed or fails. */
export class Connection extends EventEmitter<ConnectionEvents> {
  /** What was told when it came up. */
  readonly connected: ConnectedEvent
  /** Resolves when it was asked to end and everything is as before; rejects with why it ended otherwise. */
  readonly closed: Promise<void>
  readonly #session: RunningSession

  /** Use `connect`. */
  constructor(session: RunningSession, connected: ConnectedEvent, closed: Promise<void>) {
    super()
    this.#session = session
    this.connected = connected
    this.closed = closed
  }

  /** As `ikestream status --json` shows it. */
  status(): SessionStatus {
    return this.#session.status()
  }

  /** Climbs the ladder anew, keeping the SAs where the gateway lets us. */
  reconnect(): void {
    this.#session.reconnect()
  }

  /** What was captured so far is in the files. */
  flushCaptures(): void {
    this.#session.flushCaptures()
  }

  /** Ends it: the gateway is told, routes and name servers are as before. Resolves then. */
  async close(): Promise<void> {
    this.#session.stop('requested')
    await this.closed
  }
}

/**
 * Brings a tunnel up. Needs CAP_NET_ADMIN, as the command does. Asks nobody: a missing password is an error.
 * @returns when the tunnel is up
 * @throws IkestreamError, or the signal's reason
 */
export async function connect(settings: ConnectSettings): Promise<Connection> {
  const { signal, onEvent, name, capture, captureInner, unsafeDumpKeys } = settings
  signal?.throwIfAborted()
  const { server, profileName, values, secrets, log } = understand(settings, OWN_NAMES)
  const flags = { nonInter: true, name, capture, captureInner, unsafeDumpKeys }
  const options = await resolveOptions(server, profileName, values, withoutUndefined(flags), log, secrets)
  const { state, runtime } = directories()
  let connection: Connection | undefined
  let isUp: (event: ConnectedEvent) => void = () => undefined
  const up = new Promise<ConnectedEvent>((resolve) => {
    isUp = resolve
  })
  const session = await startSession(options, {
    log,
    stateDirectory: settings.stateDirectory ?? state,
    runtimeDirectory: settings.control === true ? runtime : undefined,
    runBy: 'api',
    onEvent: (event) => {
      onEvent?.(event)
      if (event.event === 'connected') isUp(event)
      if (connection !== undefined) emit(connection, event)
    }
  })
  const abort = (): void => session.stop('aborted')
  if (signal?.aborted === true) abort()
  signal?.addEventListener('abort', abort, { once: true })
  const closed = session.ended.finally(() => signal?.removeEventListener('abort', abort))
  // Whoever is not interested in the end need not handle it.
  closed.catch(() => undefined)
  const connected = await Promise.race([up, closed.then(() => undefined)])
  if (connected === undefined)
    throw signal?.reason ?? new DOMException('The session was stopped.', 'AbortError')
  connection = new Connection(session, connected, closed)
  return connection
}

function emit(connection: Connection, event: ClientEvent): void {
  // Each event's name is the key of its own kind: what the compiler cannot see for a union.
  connection.emit(event.event as 'rung', event as RungEvent)
}

function withoutUndefined(flags: Readonly<Record<string, unknown>>): ConnectFlags {
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined))
}
