/**
 * Name resolution while a tunnel is up: finds out who manages it here, gives the tunnel's servers to that manager, and notes down how
 * to take them back.
 * @module
 */
import { access, mkdir, readFile, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { type CommandRunner, must } from './commands.ts'
import {
  type DnsDecision,
  type DnsFacts,
  type DnsMode,
  debianRecordName,
  decideDns,
  hasLocalResolver,
  nameserversOf,
  openresolvRecordName
} from './dns-decision.ts'
import { captureFile, overwriteFile, sha256 } from './file-backup.ts'
import type { StepLog } from './journal.ts'
import { type UndoStep, undoStep } from './undo-step.ts'

/** glibc reads no more servers than these (resolv.conf(5), MAXNS). */
const MAX_SERVERS = 3

export interface DnsSettings {
  readonly servers: readonly string[]
  /** Domains whose names the tunnel's servers answer. */
  readonly domains: readonly string[]
  /** All names are asked of the tunnel's servers (full tunnel). */
  readonly exclusive: boolean
}

/** The system's files; tests name others. */
export interface DnsPaths {
  readonly resolvConf: string
  readonly nsswitch: string
  readonly interfaceOrder: string
  readonly netnsFolder: string
}

export const SYSTEM_DNS_PATHS: DnsPaths = {
  resolvConf: '/etc/resolv.conf',
  nsswitch: '/etc/nsswitch.conf',
  interfaceOrder: '/etc/resolvconf/interface-order',
  netnsFolder: '/etc/netns'
}

export interface DnsContext {
  readonly runner: CommandRunner
  readonly journal: StepLog
  readonly log: Logger
  readonly paths: DnsPaths
  readonly interface: string
  /** The kernel's number of the device. */
  readonly index: number
  readonly netns: string | null
}

/** Asks the machine what `decideDns` wants to know. */
async function gatherDnsFacts(
  runner: CommandRunner,
  paths: DnsPaths,
  netns: string | null
): Promise<DnsFacts> {
  const [resolved, resolvconf, resolvConf, resolvConfPath, nsswitch, interfaceOrder] = await Promise.all([
    resolvedState(runner),
    resolvconfFlavour(runner),
    textOf(paths.resolvConf),
    realpath(paths.resolvConf).catch(() => null),
    textOf(paths.nsswitch),
    textOf(paths.interfaceOrder)
  ])
  return { resolved, resolvconf, resolvConf, resolvConfPath, nsswitch, interfaceOrder, netns }
}

/**
 * The tunnel's name servers while they are in force. What has to be undone is in the journal before it is done, also when a
 * change fails halfway.
 */
export class NameResolution {
  readonly #context: DnsContext
  #inForce: { readonly facts: DnsFacts; readonly decision: DnsDecision } | undefined
  #steps: UndoStep[] = []

  constructor(context: DnsContext) {
    this.#context = context
  }

  /** How the servers were set; null while there are none. */
  get mode(): DnsMode | null {
    return this.#inForce?.decision.mode ?? null
  }

  /**
   * Puts settings in force, or others in place of those that are, without a moment in between in which names are asked
   * elsewhere; undefined takes them back.
   */
  async set(settings: DnsSettings | undefined): Promise<void> {
    if (settings === undefined || settings.servers.length === 0) {
      await this.#takeBack()
      return
    }
    this.#inForce ??= await this.#decide()
    const { facts, decision } = this.#inForce
    switch (decision.mode) {
      case 'resolvectl':
        return this.#setResolvectl(settings)
      case 'resolvconf':
        return this.#setResolvconf(settings, facts)
      case 'file':
        return this.#setResolvConfFile(settings, facts)
      case 'netns-file':
        return this.#setNetnsFile(settings)
    }
  }

  async #decide(): Promise<{ facts: DnsFacts; decision: DnsDecision }> {
    const { runner, paths, netns, log } = this.#context
    const facts = await gatherDnsFacts(runner, paths, netns)
    const decision = decideDns(facts)
    for (const line of decision.trace) log.log('debug', `name resolution: ${line}`)
    return { facts, decision }
  }

  async #takeBack(): Promise<void> {
    const { runner, log, netns, journal } = this.#context
    for (const step of this.#steps.splice(0).reverse()) {
      await undoStep(step, { runner, log, netns })
      await journal.remove(step)
    }
    this.#inForce = undefined
  }

  async #setResolvectl(settings: DnsSettings): Promise<void> {
    const { runner, interface: device, index } = this.#context
    const again = this.#steps.length > 0
    await this.#note({ kind: 'resolvectl', interface: device, index })
    // What the gateway sends decides where names are asked, not what is appended to them: routing domains only.
    const domains = settings.domains.map((domain) => `~${domain}`)
    if (settings.exclusive) domains.unshift('~.')
    if (again && domains.length === 0) domains.push('')
    // Domains and default-route come before the servers, so that no name is asked of them that is not theirs.
    if (domains.length > 0) await must(runner, ['resolvectl', 'domain', device, ...domains])
    const byDefault = settings.exclusive || settings.domains.length === 0
    await must(runner, ['resolvectl', 'default-route', device, String(byDefault)])
    await must(runner, ['resolvectl', 'dns', device, ...settings.servers])
  }

  async #setResolvconf(settings: DnsSettings, facts: DnsFacts): Promise<void> {
    const { runner, interface: device } = this.#context
    const open = facts.resolvconf === 'openresolv'
    const record = open ? openresolvRecordName(device) : debianRecordName(device, facts.interfaceOrder)
    // A local resolver can ask servers for their own domains only; the C library cannot.
    const apart = open && isSplit(settings) && hasLocalResolver(facts.resolvConf)
    if (!apart) this.#warnAboutSplit(settings)
    const lines = settings.servers.map((server) => `nameserver ${server}`)
    if (settings.domains.length > 0) lines.push(`search ${settings.domains.join(' ')}`)
    const flags = [...(open && settings.exclusive ? ['-x'] : []), ...(apart ? ['-p'] : [])]
    await this.#note({ kind: 'resolvconf', record, force: open })
    await must(runner, ['resolvconf', '-a', record, ...flags], { input: `${lines.join('\n')}\n` })
  }

  async #setResolvConfFile(settings: DnsSettings, facts: DnsFacts): Promise<void> {
    const { paths, interface: device } = this.#context
    this.#warnAboutSplit(settings)
    await this.#setFile(paths.resolvConf, resolvConfText(settings, facts.resolvConf, device))
  }

  async #setNetnsFile(settings: DnsSettings): Promise<void> {
    const { paths, netns, interface: device } = this.#context
    const folder = join(paths.netnsFolder, netns ?? '')
    for (const path of [dirname(folder), folder]) {
      if (await exists(path)) continue
      await this.#note({ kind: 'directory', path })
      await mkdir(path, { recursive: true, mode: 0o755 })
    }
    // In a namespace of its own the tunnel is all there is.
    const text = resolvConfText({ ...settings, exclusive: true }, null, device)
    await this.#setFile(join(folder, 'resolv.conf'), text)
  }

  async #setFile(path: string, text: string): Promise<void> {
    const old = this.#steps.find((step) => step.kind === 'file')
    const before = old?.kind === 'file' ? old.before : await captureFile(path)
    const fresh: UndoStep = { kind: 'file', path, writtenSha256: sha256(text), before }
    if (old?.kind === 'file' && old.writtenSha256 === fresh.writtenSha256) return
    await this.#note(fresh)
    await overwriteFile(path, text, before)
    if (old === undefined) return
    this.#steps = this.#steps.filter((step) => step !== old)
    await this.#context.journal.remove(old)
  }

  #warnAboutSplit(settings: DnsSettings): void {
    if (!isSplit(settings)) return
    this.#context.log.log(
      'warn',
      'without systemd-resolved all names are asked of the tunnel’s servers, not only those of its domains'
    )
  }

  async #note(step: UndoStep): Promise<void> {
    const same = JSON.stringify(step)
    if (this.#steps.some((one) => JSON.stringify(one) === same)) return
    this.#steps.push(step)
    await this.#context.journal.add(step)
  }
}

/** The tunnel's servers are for some names only. */
function isSplit(settings: DnsSettings): boolean {
  return !settings.exclusive && settings.domains.length > 0
}

/** Contents of a resolv.conf: the tunnel's servers first; the options that were there stay. */
export function resolvConfText(settings: DnsSettings, before: string | null, device: string): string {
  const old = before ?? ''
  const servers = settings.exclusive ? settings.servers : [...settings.servers, ...nameserversOf(old)]
  const oldSearch =
    [...old.matchAll(/^[ \t]*(?:search|domain)[ \t]+(.+)$/gm)].at(-1)?.[1]?.trim().split(/\s+/) ?? []
  const search = [...new Set([...settings.domains, ...oldSearch])]
  const lines = [
    `# Written by ikestream for ${device}; what was here before comes back when the tunnel ends.`
  ]
  for (const server of [...new Set(servers)].slice(0, MAX_SERVERS)) lines.push(`nameserver ${server}`)
  if (search.length > 0) lines.push(`search ${search.join(' ')}`)
  for (const [line] of old.matchAll(/^[ \t]*(?:options|sortlist)[ \t]+.+$/gm)) lines.push(line.trim())
  return `${lines.join('\n')}\n`
}

async function resolvedState(runner: CommandRunner): Promise<DnsFacts['resolved']> {
  try {
    // `resolvectl status` starts the service by itself where it is only installed; `dns` asks no less.
    return (await runner.run(['resolvectl', 'dns'])).exitCode === 0 ? 'answers' : 'silent'
  } catch (error) {
    if (error instanceof SystemError && error.code === 'command-missing') return 'absent'
    return 'silent'
  }
}

async function resolvconfFlavour(runner: CommandRunner): Promise<DnsFacts['resolvconf']> {
  try {
    const { stdout } = await runner.run(['resolvconf', '--version'])
    if (/openresolv/i.test(stdout)) return 'openresolv'
    if (/systemd/i.test(stdout)) return 'systemd'
    // Debian's says so since 1.85; any other is used the same way, which is the least that all of them understand.
    return 'debian'
  } catch {
    return 'absent'
  }
}

async function textOf(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return null
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false
  )
}
