/**
 * What a session needs of the world; everything that touches it is handed in, so that a session can run on a virtual clock.
 * @module
 */
import type { Logger } from '../log.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { ClientEvent } from './events.ts'
import type { GatewayAddresses } from './gateway-addresses.ts'
import type { Clock } from './ike-driver.ts'
import type { Candidate, Opened } from './openings.ts'
import type { Redirects } from './redirects.ts'
import type { SessionFactory } from './session-factory.ts'
import type { Tunnel } from './tunnel.ts'

export interface SessionEnvironment {
  readonly clock: Clock
  /** Uniform in [0, 1): spreads what many clients would else do at the same moment. */
  readonly chance: () => number
  readonly log: Logger
  readonly factory: SessionFactory
  readonly tunnel: Tunnel
  /** Never rejects. */
  readonly open: (candidate: Candidate, signal: AbortSignal, timeoutMs: number) => Promise<Opened>
  readonly addresses: GatewayAddresses
  readonly redirects: Redirects
  /** Names behind proxies are not resolved here; see `LadderInput`. */
  readonly streamTarget: { readonly via: string | null; readonly addresses: readonly string[] | undefined }
  /** What worked last on this network, if anything is remembered of it. */
  readonly recall: () => Promise<{ transport: TransportKind; address?: string | undefined } | undefined>
  readonly remember: (transport: TransportKind, address: string) => Promise<void>
  /** Our address in packets to this one; `none`: no way leads there; undefined: cannot be found out. */
  readonly sourceFor: (address: string) => string | 'none' | undefined
  readonly onEvent: (event: ClientEvent) => void
  /** A climb led nowhere, and there will be another one. */
  readonly onRetry?: ((error: unknown) => void) | undefined
}
