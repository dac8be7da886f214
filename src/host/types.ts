/**
 * What a session asks of the host, and what it holds in its hands afterwards; whoever does the configuring.
 * @module
 */
import type { Logger } from '../log.ts'
import type { CommandRunner } from './commands.ts'
import type { DnsPaths, DnsSettings } from './dns.ts'
import type { DnsMode } from './dns-decision.ts'
import type { StepLog } from './journal.ts'

export interface TunnelAddress {
  readonly address: string
  readonly prefixLength: number
}

/** What the gateway decides, and may decide anew with each fresh SA. */
export interface InnerNetwork {
  readonly addresses: readonly TunnelAddress[]
  /** Networks behind the tunnel, CIDR notation; none leaves all routes alone. */
  readonly routes: readonly string[]
  readonly dns?: DnsSettings | undefined
}

export interface TunnelConfig extends InnerNetwork {
  /** Name of the device; it exists already. */
  readonly interface: string
  /** Network namespace of `ip netns` that the device is in, or is to be moved into. */
  readonly netns?: string | undefined
  readonly mtu: number
  /** Addresses of the gateway: their packets stay outside the tunnel. */
  readonly pinned: readonly string[]
}

export interface HostContext {
  readonly runner?: CommandRunner
  readonly log?: Logger
  /** Where changes are noted down; in memory only when absent. */
  readonly journal?: StepLog
  readonly dnsPaths?: DnsPaths
}

/** Something that could not be set as asked; the tunnel works, but differently. */
export interface ConfigConflict {
  readonly kind:
    | 'route-exists'
    | 'route-is-gateway'
    | 'gateway-unrouted'
    | 'ipv6-unavailable'
    | 'dns-outside-tunnel'
  /** The route or address in question. */
  readonly subject: string
  readonly message: string
}

export interface AppliedConfig {
  readonly conflicts: readonly ConfigConflict[]
  /** How the servers were set; null when there were none. */
  readonly dnsMode: DnsMode | null
  /** Takes everything back; may be called again. @throws SystemError naming what could not be undone */
  undo(): Promise<void>
  /** The gateway has other addresses now. */
  updatePinned(addresses: readonly string[]): Promise<void>
  /** The network changed: finds the way to the gateway anew. @returns the gateway addresses whose way changed */
  repin(): Promise<readonly string[]>
  /** A fresh SA came with another network. @returns what of it could not be set as asked */
  reconfigure(network: InnerNetwork): Promise<readonly ConfigConflict[]>
  /** The path carries less than it did. */
  setMtu(mtu: number): Promise<void>
}

/** Configures the host for one session, and keeps the journal of it. */
export interface HostSession {
  /** Once. @throws SystemError when the system refuses; what was done until then is undone */
  apply(config: TunnelConfig): Promise<AppliedConfig>
  /** Takes everything back and ends the journal; what cannot be undone stays in it. @throws SystemError naming that */
  close(): Promise<void>
}

/** Which session, and what it may do to the host. */
export interface HostSettings {
  readonly stateDirectory: string
  readonly sessionName: string
  /** Network namespace of `ip netns` that the device lives in. */
  readonly netns?: string | undefined
  /** A vpnc-script that does the configuring: a program's path, or a command line for the shell. */
  readonly script?: string | undefined
  /** A file that holds the process id for as long as the session runs; an absolute path. */
  readonly pidFile?: string | undefined
  /** The session's control socket, which it makes itself and may not be able to remove; an absolute path. */
  readonly controlSocket?: string | undefined
}
