/**
 * Name resolution while a tunnel is up: finds out who manages it here, gives the tunnel's servers to that manager, and notes down how
 * to take them back.
 * @module
 */
import { access, mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { type CommandRunner, must } from './commands.ts'
import {
  type DnsDecision,
  type DnsFacts,
  debianRecordName,
  decideDns,
  nameserversOf
} from './dns-decision.ts'
import { captureFile, overwriteFile, sha256 } from './file-backup.ts'
import type { StepLog } from './journal.ts'
import type { UndoStep } from './undo-step.ts'

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
  const [resolved, resolvconf, resolvConf, nsswitch, interfaceOrder] = await Promise.all([
    resolvedState(runner),
    resolvconfFlavour(runner),
    textOf(paths.resolvConf),
    textOf(paths.nsswitch),
    textOf(paths.interfaceOrder)
  ])
  return { resolved, resolvconf, resolvConf, nsswitch, interfaceOrder, netns }
}

/** Puts the settings in force. What has to be undone is in the journal, also when this fails halfway. */
export async function applyDns(settings: DnsSettings, context: DnsContext): Promise<DnsDecision> {
  const facts = await gatherDnsFacts(context.runner, context.paths, context.netns)
  const decision = decideDns(facts)
  for (const line of decision.trace) context.log.log('debug', `name resolution: ${line}`)
  switch (decision.mode) {
    case 'resolvectl':
      await applyResolvectl(settings, context)
      break
    case 'resolvconf':
      await applyResolvconf(settings, facts, context)
      break
    case 'file':
      warnAboutSplit(settings, context)
      await applyFile(
        context.paths.resolvConf,
        resolvConfText(settings, facts.resolvConf, context.interface),
        context
      )
      break
    case 'netns-file':
      await applyNetnsFile(settings, context)
  }
  return decision
}

/** Contents of a resolv.conf: the tunnel's servers first; the options that were there stay. */
export function resolvConfText(settings: DnsSettings, before: string | null, device: string): string {
  const old = before ?? ''
  const servers = settings.exclusive ? settings.servers : [...settings.servers, ...nameserversOf(old)]
  const oldSearch =
    [...old.matchAll(/^\s*(?:search|domain)\s+(.+)$/gm)].at(-1)?.[1]?.trim().split(/\s+/) ?? []
  const search = [...new Set([...settings.domains, ...oldSearch])]
  const lines = [
    `# Written by ikestream for ${device}; what was here before comes back when the tunnel ends.`
  ]
  for (const server of [...new Set(servers)].slice(0, MAX_SERVERS)) lines.push(`nameserver ${server}`)
  if (search.length > 0) lines.push(`search ${search.join(' ')}`)
  for (const [line] of old.matchAll(/^\s*(?:options|sortlist)\s+.+$/gm)) lines.push(line.trim())
  return `${lines.join('\n')}\n`
}

async function applyResolvectl(settings: DnsSettings, context: DnsContext): Promise<void> {
  await note({ kind: 'resolvectl', interface: context.interface, index: context.index }, context)
  const device = context.interface
  // What the gateway sends decides where names are asked, not what is appended to them: routing domains only.
  const domains = settings.domains.map((domain) => `~${domain}`)
  if (settings.exclusive) domains.unshift('~.')
  // Domains and default-route come before the servers, so that no name is asked of them that is not theirs.
  if (domains.length > 0) await must(context.runner, ['resolvectl', 'domain', device, ...domains])
  const byDefault = settings.exclusive || settings.domains.length === 0
  await must(context.runner, ['resolvectl', 'default-route', device, String(byDefault)])
  await must(context.runner, ['resolvectl', 'dns', device, ...settings.servers])
}

async function applyResolvconf(settings: DnsSettings, facts: DnsFacts, context: DnsContext): Promise<void> {
  const open = facts.resolvconf === 'openresolv'
  const record = open ? context.interface : debianRecordName(context.interface, facts.interfaceOrder)
  const lines = settings.servers.map((server) => `nameserver ${server}`)
  if (settings.domains.length > 0) lines.push(`search ${settings.domains.join(' ')}`)
  const flags = open ? ['-m', '0', ...(settings.exclusive ? ['-x'] : [])] : []
  await note({ kind: 'resolvconf', record, force: open }, context)
  await must(context.runner, ['resolvconf', '-a', record, ...flags], { input: `${lines.join('\n')}\n` })
}

async function applyNetnsFile(settings: DnsSettings, context: DnsContext): Promise<void> {
  const folder = join(context.paths.netnsFolder, context.netns ?? '')
  for (const path of [dirname(folder), folder]) {
    if (await exists(path)) continue
    await note({ kind: 'directory', path }, context)
    await mkdir(path, { recursive: true, mode: 0o755 })
  }
  // In a namespace of its own the tunnel is all there is.
  const text = resolvConfText({ ...settings, exclusive: true }, null, context.interface)
  await applyFile(join(folder, 'resolv.conf'), text, context)
}

async function applyFile(path: string, text: string, context: DnsContext): Promise<void> {
  const before = await captureFile(path)
  await note({ kind: 'file', path, writtenSha256: sha256(text), before }, context)
  await overwriteFile(path, text, before)
}

function warnAboutSplit(settings: DnsSettings, context: DnsContext): void {
  if (settings.exclusive || settings.domains.length === 0) return
  context.log.log(
    'warn',
    'without systemd-resolved all names are asked of the tunnel’s servers, not only those of its domains'
  )
}

async function note(step: UndoStep, context: DnsContext): Promise<void> {
  await context.journal.add(step)
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
