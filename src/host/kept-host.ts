/**
 * The host of a session that gives up its privileges: a keeper is started before that, stays privileged, and does the
 * configuring and the undoing. This is the session's side of it; see `keeper.ts` for the other.
 * @module
 */

import type { Logger } from '../log.ts'
import { KeeperChannel, startKeeper } from './keeper-channel.ts'
import type {
  AppliedConfig,
  ConfigConflict,
  HostSession,
  HostSettings,
  InnerNetwork,
  TunnelAddress,
  TunnelConfig
} from './types.ts'

export interface KeptHostOptions {
  readonly log: Logger
  /** The keeper ended although nobody asked it to. */
  readonly onGone: () => void
}

export class KeptHost implements HostSession {
  readonly #channel: KeeperChannel

  /** Starts the keeper, which does what `LocalHost.open` does. @throws what that throws, SystemError if there is no keeper */
  static async open(settings: HostSettings, options: KeptHostOptions): Promise<KeptHost> {
    const channel = new KeeperChannel(startKeeper(settings.script !== undefined), options)
    try {
      await channel.ask({ op: 'open', pid: process.pid, settings: { ...settings } })
      return new KeptHost(channel)
    } catch (error) {
      await channel.close().catch(() => undefined)
      throw error
    }
  }

  private constructor(channel: KeeperChannel) {
    this.#channel = channel
  }

  async apply(config: TunnelConfig): Promise<AppliedConfig> {
    const { interface: device, netns, mtu, pinned } = config
    const plain = { ...wire(config), interface: device, netns, mtu, pinned: [...pinned] }
    const { conflicts, dnsMode } = await this.#channel.ask({ op: 'apply', config: plain })
    return new KeptConfig(this.#channel, conflicts, dnsMode)
  }

  close(): Promise<void> {
    return this.#channel.close()
  }
}

class KeptConfig implements AppliedConfig {
  readonly conflicts: readonly ConfigConflict[]
  dnsMode: AppliedConfig['dnsMode']
  readonly #channel: KeeperChannel

  constructor(
    channel: KeeperChannel,
    conflicts: readonly ConfigConflict[],
    dnsMode: AppliedConfig['dnsMode']
  ) {
    this.#channel = channel
    this.conflicts = conflicts
    this.dnsMode = dnsMode
  }

  async undo(): Promise<void> {
    await this.#channel.ask({ op: 'undo' })
  }

  async updatePinned(addresses: readonly string[]): Promise<void> {
    await this.#channel.ask({ op: 'update-pinned', addresses: [...addresses] })
  }

  async repin(): Promise<readonly string[]> {
    return (await this.#channel.ask({ op: 'repin' })).moved
  }

  async reconfigure(network: InnerNetwork): Promise<readonly ConfigConflict[]> {
    const { conflicts, dnsMode } = await this.#channel.ask({ op: 'reconfigure', network: wire(network) })
    this.dnsMode = dnsMode
    return conflicts
  }

  async setMtu(mtu: number): Promise<void> {
    await this.#channel.ask({ op: 'set-mtu', mtu })
  }
}

/** In the shape of a request, whatever else the caller's objects hold. */
function wire({ addresses, routes, dns }: InnerNetwork): {
  addresses: TunnelAddress[]
  routes: string[]
  dns?: { servers: string[]; domains: string[]; exclusive: boolean }
} {
  return {
    addresses: addresses.map(({ address, prefixLength }) => ({ address, prefixLength })),
    routes: [...routes],
    ...(dns === undefined
      ? {}
      : { dns: { servers: [...dns.servers], domains: [...dns.domains], exclusive: dns.exclusive } })
  }
}
