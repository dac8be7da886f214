/**
 * The private network of one command as the place of a tunnel: the device is made there, and addresses, routes and name
 * resolution are that network's alone. The transport stays outside. Nothing has to be undone: all of it ends with the network.
 * @module
 */
import { rm } from 'node:fs/promises'
import { ensurePrivateDirectory } from '../host/directories.ts'
import { openTunElsewhere } from '../host/passed-tun.ts'
import type { PrivateNetwork } from '../host/private-network.ts'
import { PrivateResolver } from '../host/private-resolver.ts'
import { applyTunnelConfig } from '../host/tunnel-config.ts'
import type { TunnelConfig } from '../host/types.ts'
import type { Logger } from '../log.ts'
import type { TunDevice } from '../tun/tun-device.ts'
import type { PlacedConfig, TunnelPlace } from './tunnel-place.ts'

export interface PrivatePlaceOptions {
  readonly interfaceName: string | undefined
  /** False: names are resolved as on the machine. */
  readonly dns: boolean
  /** A folder that is made for the network's own files, and removed with them. */
  readonly scratch: string
}

export class PrivatePlace implements TunnelPlace {
  readonly isolated = true
  readonly #network: PrivateNetwork
  readonly #device: TunDevice
  readonly #resolver: PrivateResolver | undefined
  readonly #scratch: string
  readonly #log: Logger

  private constructor(
    network: PrivateNetwork,
    device: TunDevice,
    resolver: PrivateResolver | undefined,
    scratch: string,
    log: Logger
  ) {
    this.#network = network
    this.#device = device
    this.#resolver = resolver
    this.#scratch = scratch
    this.#log = log
  }

  /** @throws SystemError, AuthenticationError, UsageError when the device or its files cannot be made */
  static async open(
    network: PrivateNetwork,
    options: PrivatePlaceOptions,
    log: Logger
  ): Promise<PrivatePlace> {
    const { interfaceName, dns, scratch } = options
    await ensurePrivateDirectory(scratch)
    try {
      const [device, resolver] = await Promise.all([
        openTunElsewhere(interfaceName, (argv) => network.administrator(argv)),
        dns ? PrivateResolver.prepare(scratch, network.runner, log) : undefined
      ])
      return new PrivatePlace(network, device, resolver, scratch, log)
    } catch (error) {
      await rm(scratch, { recursive: true, force: true })
      throw error
    }
  }

  openDevice(): TunDevice {
    return this.#device
  }

  async configure({ dns, ...config }: TunnelConfig): Promise<PlacedConfig> {
    const context = { runner: this.#network.runner, log: this.#log }
    const applied = await applyTunnelConfig({ ...config, netns: undefined, pinned: [] }, context)
    await this.#resolver?.set(dns)
    return {
      conflicts: applied.conflicts,
      dnsMode: dns === undefined || this.#resolver === undefined ? null : 'private',
      undo: () => Promise.resolve(),
      updatePinned: () => Promise.resolve(),
      repin: () => Promise.resolve([]),
      reconfigure: async ({ dns: servers, ...network }) => {
        const conflicts = await applied.reconfigure(network)
        await this.#resolver?.set(servers)
        return conflicts
      },
      setMtu: (mtu) => applied.setMtu(mtu)
    }
  }

  async close(): Promise<void> {
    await rm(this.#scratch, { recursive: true, force: true })
  }
}
