/**
 * Where the device of a session is, and who configures the host around it: the machine's own network (or a namespace of
 * `ip netns`), or a private network that was made for the session.
 * @module
 */
import { resolve } from 'node:path'
import { controlPath } from '../host/control-path.ts'
import { KeptHost } from '../host/kept-host.ts'
import { LocalHost } from '../host/local-host.ts'
import type { AppliedConfig, HostSession, TunnelConfig } from '../host/types.ts'
import type { Logger } from '../log.ts'
import { openTun } from '../tun/tun-device.ts'
import type { Tun } from '../tun/types.ts'
import type { ConnectOptions } from './options.ts'

/** The configuration of a place while it is in force. */
export interface PlacedConfig extends Omit<AppliedConfig, 'dnsMode'> {
  /** Who was told of the name servers; null: nobody. */
  readonly dnsMode: string | null
}

export interface TunnelPlace {
  /** The device is in a network of its own: it cannot swallow the gateway's packets, and sockets of ours cannot be bound to it. */
  readonly isolated: boolean
  /** @throws SystemError, AuthenticationError (privileges), UsageError (its name) */
  openDevice(): Tun
  /** Addresses, routes and name resolution. @throws SystemError; what was done until then is undone */
  configure(config: TunnelConfig): Promise<PlacedConfig>
  /** The session has ended and its configuration is undone. */
  close(): Promise<void>
}

export interface HostDirectories {
  readonly stateDirectory: string
  /** Where the control socket is going to be; undefined: nowhere. */
  readonly runtimeDirectory: string | undefined
}

/** The network of the machine, or a named namespace of it; every change is in the session's journal. */
export class HostPlace implements TunnelPlace {
  readonly isolated: boolean
  readonly #options: ConnectOptions
  readonly #host: HostSession

  private constructor(options: ConnectOptions, host: HostSession) {
    this.isolated = options.netns !== undefined
    this.#options = options
    this.#host = host
  }

  /**
   * Claims the session's name. What a session of this name left behind when it was killed goes first.
   * @param onKeeperGone with `--setuid`: the process that stays privileged for this session has ended
   * @throws SystemError
   */
  static async open(
    options: ConnectOptions,
    { stateDirectory, runtimeDirectory }: HostDirectories,
    log: Logger,
    onKeeperGone: () => void
  ): Promise<HostPlace> {
    const { sessionName, netns, script } = options
    const pidFile = options.pidFile === undefined ? undefined : resolve(options.pidFile)
    const controlSocket =
      runtimeDirectory === undefined ? undefined : controlPath(runtimeDirectory, sessionName)
    const settings = { stateDirectory, sessionName, netns, script, pidFile, controlSocket }
    const host =
      options.setuid === undefined
        ? await LocalHost.open(settings, { log })
        : await KeptHost.open(settings, { log, onGone: onKeeperGone })
    return new HostPlace(options, host)
  }

  openDevice(): Tun {
    const { netns, interfaceName } = this.#options
    return openTun({
      name: interfaceName,
      netnsPath: netns === undefined ? undefined : `/run/netns/${netns}`
    })
  }

  configure(config: TunnelConfig): Promise<PlacedConfig> {
    return this.#host.apply(config)
  }

  close(): Promise<void> {
    return this.#host.close()
  }
}
