/**
 * Leaves the configuring of the host to a vpnc-script, behind the same interface as our own.
 * @module
 */
import { type Logger, silentLogger } from '../log.ts'
import { enterNamespace, inNamespace, must, SystemCommandRunner } from './commands.ts'
import { placeDevice } from './device.ts'
import { memoryLog } from './journal.ts'
import { canonicalAddress } from './pinned-routes.ts'
import type { AppliedConfig, ConfigConflict, HostContext, InnerNetwork, TunnelConfig } from './types.ts'
import { type UndoStep, undoAll } from './undo-step.ts'
import {
  runScript,
  SCRIPT_TIMEOUT_MS,
  type ScriptReason,
  type ScriptSettings,
  scriptArgv,
  scriptVariables
} from './vpnc-script.ts'

export interface ScriptOptions {
  /** A program's path, or a command line for the shell. */
  readonly script: string
  /** The process that the session is, if it is not this one. */
  readonly pid?: number
  readonly timeoutMs?: number
  readonly banner?: string
  readonly logLevel?: 0 | 1 | 2 | 3
}

/**
 * Runs the script for `pre-init` and `connect`. If it fails, it has been run for `disconnect`.
 * @throws SystemError when the script fails
 */
export async function applyVpncScript(
  config: TunnelConfig,
  options: ScriptOptions,
  context: HostContext = {}
): Promise<AppliedConfig> {
  const applied = new ScriptConfig(config, options, context)
  try {
    await applied.connect()
    return applied
  } catch (error) {
    await applied.undo().catch(() => undefined)
    throw error
  }
}

type ScriptStep = Extract<UndoStep, { kind: 'script' }>

class ScriptConfig implements AppliedConfig {
  readonly conflicts = []
  readonly dnsMode = null
  #config: TunnelConfig
  readonly #options: ScriptOptions
  readonly #context: Required<Pick<HostContext, 'runner' | 'log' | 'journal'>>
  readonly #argv: readonly string[]
  #settings: ScriptSettings
  #step: ScriptStep | undefined
  #queue: Promise<unknown> = Promise.resolve()

  constructor(config: TunnelConfig, options: ScriptOptions, context: HostContext) {
    const log: Logger = context.log ?? silentLogger
    this.#config = config
    this.#options = options
    this.#context = {
      log,
      runner: context.runner ?? new SystemCommandRunner(log),
      journal: context.journal ?? memoryLog()
    }
    const argv = scriptArgv(options.script)
    const { netns } = config
    this.#argv = netns === undefined ? argv : enterNamespace({ kind: 'name', name: netns }, argv)
    this.#settings = settingsOf(config, options)
  }

  async connect(): Promise<void> {
    await this.#run('pre-init')
    await placeDevice(this.#context.runner, this.#config.interface, this.#config.netns)
    await this.#connect()
  }

  undo(): Promise<void> {
    return this.#inTurn(() => this.#disconnect())
  }

  updatePinned(addresses: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      const [gateway] = addresses
      if (gateway === undefined || this.#step === undefined) return
      this.#settings = { ...this.#settings, gateway: canonicalAddress(gateway) }
      await this.#run('attempt-reconnect')
    })
  }

  async repin(): Promise<readonly string[]> {
    await this.updatePinned([this.#settings.gateway])
    return []
  }

  /** The contract knows no change of addresses: the script takes down the old session and sets up the new. */
  async reconfigure(network: InnerNetwork): Promise<readonly ConfigConflict[]> {
    await this.#inTurn(async () => {
      if (this.#step === undefined) return
      await this.#disconnect()
      this.#config = { ...this.#config, ...network }
      this.#settings = { ...settingsOf(this.#config, this.#options), gateway: this.#settings.gateway }
      await this.#connect()
    })
    return []
  }

  /** Nor a change of MTU: this one is ours. */
  setMtu(mtu: number): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#step === undefined) return
      const { interface: device, netns } = this.#config
      const tunnel = inNamespace(
        this.#context.runner,
        netns === undefined ? undefined : { kind: 'name', name: netns }
      )
      await must(tunnel, ['ip', 'link', 'set', 'dev', device, 'mtu', String(mtu)])
    })
  }

  async #connect(): Promise<void> {
    const step: ScriptStep = {
      kind: 'script',
      argv: this.#argv,
      variables: scriptVariables('disconnect', this.#settings),
      timeoutMs: this.#timeoutMs
    }
    await this.#context.journal.add(step)
    this.#step = step
    await this.#run('connect')
  }

  async #disconnect(): Promise<void> {
    const { runner, log, journal } = this.#context
    const step = this.#step
    if (step === undefined) return
    const failures = await undoAll([step], { runner, log, netns: this.#config.netns ?? null }, async () => {
      this.#step = undefined
      await journal.remove(step)
    })
    if (failures[0] !== undefined) throw failures[0]
  }

  get #timeoutMs(): number {
    return this.#options.timeoutMs ?? SCRIPT_TIMEOUT_MS
  }

  #run(reason: ScriptReason): Promise<void> {
    const variables = scriptVariables(reason, this.#settings)
    return runScript(this.#context.runner, this.#argv, variables, this.#timeoutMs)
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    const turn = this.#queue.then(action)
    this.#queue = turn.catch(() => undefined)
    return turn
  }
}

function settingsOf(config: TunnelConfig, options: ScriptOptions): ScriptSettings {
  return {
    gateway: canonicalAddress(config.pinned[0] ?? '0.0.0.0'),
    interface: config.interface,
    mtu: config.mtu,
    addresses: config.addresses,
    routes: config.routes,
    dnsServers: config.dns?.servers ?? [],
    splitDomains: config.dns?.exclusive === false ? config.dns.domains : [],
    searchDomains: config.dns?.exclusive === true ? config.dns.domains : [],
    ...(options.pid === undefined ? {} : { pid: options.pid }),
    ...(options.banner === undefined ? {} : { banner: options.banner }),
    ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel })
  }
}
