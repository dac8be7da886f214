/**
 * Name resolution inside a private network: its own resolv.conf and nsswitch.conf, and nothing that would have names resolved by a
 * service outside (systemd-resolved, nscd, Avahi), where they would not go through the tunnel.
 *
 * All of it is mounted over the machine's files in the private mount namespace; the machine's files are not touched. The contents
 * change in place, when a fresh SA brings other name servers.
 * @module
 */
import { existsSync } from 'node:fs'
import { mkdir, readFile, realpath, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Logger } from '../log.ts'
import { type CommandRunner, must } from './commands.ts'
import { type DnsSettings, resolvConfText } from './dns.ts'
import { nameserversOf } from './dns-decision.ts'

const RESOLV_CONF = '/etc/resolv.conf'
const NSSWITCH = '/etc/nsswitch.conf'
/** Folders with sockets of services that resolve names on behalf of others. */
const SERVICE_FOLDERS = ['/run/systemd/resolve', '/run/nscd', '/var/run/nscd', '/run/avahi-daemon']
/** What resolves names without asking anybody outside of the network namespace. */
const INNER_SERVICES = ['files', 'dns', 'myhostname']

export interface ResolverFiles {
  readonly resolvConf: string
  readonly nsswitch: string
  readonly serviceFolders: readonly string[]
}

const SYSTEM_FILES: ResolverFiles = {
  resolvConf: RESOLV_CONF,
  nsswitch: NSSWITCH,
  serviceFolders: SERVICE_FOLDERS
}

export class PrivateResolver {
  /** Our own resolv.conf, under each name that it is seen by. */
  readonly #files: readonly string[]
  readonly #before: string
  readonly #log: Logger

  private constructor(files: readonly string[], before: string, log: Logger) {
    this.#files = files
    this.#before = before
    this.#log = log
  }

  /**
   * Mounts everything; names are not resolved until `set` is called.
   * @param scratch an empty folder of ours that lives as long as the network
   * @param runner runs commands inside it
   */
  static async prepare(
    scratch: string,
    runner: CommandRunner,
    log: Logger,
    system: ResolverFiles = SYSTEM_FILES
  ): Promise<PrivateResolver> {
    const before = await readFile(system.resolvConf, 'utf8').catch(() => '')
    const target = await realpath(system.resolvConf).catch(() => undefined)
    const files: string[] = []
    const mounts: [from: string, to: string][] = []
    const folders = [...new Set(await Promise.all(system.serviceFolders.map(realPathIfThere)))]
    for (const [index, folder] of folders.filter((path) => path !== undefined).entries()) {
      const own = join(scratch, `services-${index}`)
      await mkdir(own, { mode: 0o755 })
      // A resolv.conf that is a link into such a folder finds ours there.
      if (target !== undefined && dirname(target) === folder) files.push(join(own, basename(target)))
      mounts.push([own, folder])
    }
    if (files.length === 0 && target !== undefined) {
      files.push(join(scratch, 'resolv.conf'))
      mounts.push([join(scratch, 'resolv.conf'), target])
    }
    if (files.length === 0)
      log.log('warn', `There is no ${system.resolvConf}: names are not resolved inside.`)
    const nsswitch = await readFile(system.nsswitch, 'utf8').catch(() => undefined)
    if (nsswitch !== undefined) {
      await writeFile(join(scratch, 'nsswitch.conf'), innerNsswitch(nsswitch), { mode: 0o644 })
      mounts.push([join(scratch, 'nsswitch.conf'), await realpath(system.nsswitch)])
    }
    const resolver = new PrivateResolver(files, before, log)
    await resolver.#write('# No tunnel yet.\n')
    for (const [from, to] of mounts) await must(runner, ['mount', '--bind', from, to])
    return resolver
  }

  /** From now on these servers are asked; undefined: the gateway named none. */
  async set(settings: DnsSettings | undefined): Promise<void> {
    if (settings !== undefined && settings.servers.length > 0) {
      // The tunnel is all there is: whatever the machine asks otherwise is not there.
      await this.#write(innerResolvConf(settings, this.#before))
      return
    }
    const servers = nameserversOf(this.#before).filter((server) => !isLoopback(server))
    if (servers.length === 0) {
      this.#log.log(
        'warn',
        'The gateway names no name server, and none of this machine is reached from inside.'
      )
    }
    await this.#write(innerResolvConf({ servers, domains: [] }, this.#before))
  }

  async #write(text: string): Promise<void> {
    // In place: what is mounted is this very file.
    await Promise.all(this.#files.map((file) => writeFile(file, text, { mode: 0o644 })))
  }
}

function innerResolvConf(settings: Pick<DnsSettings, 'servers' | 'domains'>, before: string): string {
  const text = resolvConfText({ ...settings, exclusive: true }, before, '')
  return text.replace(/^#.*$/m, '# The name servers of the tunnel, inside it only (ikestream exec).')
}

/** The machine's nsswitch.conf with host names looked up in files and by DNS only. */
export function innerNsswitch(text: string): string {
  const hosts = `hosts: ${innerServices(/^[ \t]*hosts:(.*)$/m.exec(text)?.[1] ?? '').join(' ')}`
  return /^[ \t]*hosts:/m.test(text)
    ? text.replace(/^[ \t]*hosts:.*$/m, hosts)
    : `${text.trimEnd()}\n${hosts}\n`
}

/** Services that stay, in their order; an action such as `[NOTFOUND=return]` goes with the service in front of it. */
function innerServices(line: string): string[] {
  const kept: string[] = []
  let keeps = false
  for (const [word] of line.replace(/#.*/, '').matchAll(/\[[^\]]*\]|\S+/g)) {
    if (!word.startsWith('[')) keeps = INNER_SERVICES.includes(word)
    if (keeps) kept.push(word)
  }
  if (!kept.includes('files')) kept.unshift('files')
  if (!kept.includes('dns')) kept.push('dns')
  return kept
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

async function realPathIfThere(path: string): Promise<string | undefined> {
  return existsSync(path) ? realpath(path) : undefined
}
