/**
 * Where the device of a session is, and who configures the host around it: the machine's own network (or a namespace of
 * `ip netns`), or a private network that was made for the session.
 * @module
 */
import { cleanup } from '../host/cleanup.ts'
import { type CommandRunner, SystemCommandRunner } from '../host/commands.ts'
import { Journal } from '../host/journal.ts'
import { applyVpncScript } from '../host/script-config.ts'
import { applyTunnelConfig } from '../host/tunnel-config.ts'
import type { AppliedConfig, TunnelConfig } from '../host/types.ts'
import type { Logger } from '../log.ts'
import { openTun, type TunDevice } from '../tun/tun-device.ts'
import type { ConnectOptions } from './options.ts'

export interface TunnelPlace {
  /** The device is in a network of its own: it cannot swallow the gateway's packets, and sockets of ours cannot be bound to it. */
  readonly isolated: boolean
  /** @throws SystemError, AuthenticationError (privileges), UsageError (its name) */
  openDevice(): TunDevice
  /** Addresses, routes and name resolution. @throws SystemError; what was done until then is undone */
  configure(config: TunnelConfig): Promise<AppliedConfig>
  /** The session has ended and its configuration is undone. */
  close(): Promise<void>
}

/** The network of the machine, or a named namespace of it; every change is in the session's journal. */
export class HostPlace implements TunnelPlace {
  readonly isolated: boolean
  readonly #options: ConnectOptions
  readonly #log: Logger
  readonly #runner: CommandRunner
  readonly #journal: Journal

  private constructor(options: ConnectOptions, log: Logger, runner: CommandRunner, journal: Journal) {
    this.isolated = options.netns !== undefined
    this.#options = options
    this.#log = log
    this.#runner = runner
    this.#journal = journal
  }

  /**
   * Claims the session's name. What a session of this name left behind when it was killed goes first.
   * @throws SystemError
   */
  static async open(options: ConnectOptions, stateDirectory: string, log: Logger): Promise<HostPlace> {
    const { sessionName, netns } = options
    const runner = new SystemCommandRunner(log)
    await cleanup(sessionName, { stateDirectory, runner, log })
    const journal = await Journal.open(stateDirectory, sessionName, netns === undefined ? {} : { netns })
    return new HostPlace(options, log, runner, journal)
  }

  openDevice(): TunDevice {
    const { netns, interfaceName } = this.#options
    return openTun({
      name: interfaceName,
      netnsPath: netns === undefined ? undefined : `/run/netns/${netns}`
    })
  }

  configure(config: TunnelConfig): Promise<AppliedConfig> {
    const { script } = this.#options
    const context = { runner: this.#runner, log: this.#log, journal: this.#journal }
    return script === undefined
      ? applyTunnelConfig(config, context)
      : applyVpncScript(config, { script }, context)
  }

  close(): Promise<void> {
    return this.#journal.close()
  }
}
