/**
 * Where the system keeps the address of a captive portal's API that came with DHCP or a router advertisement (RFC 8910):
 * systemd-networkd's links, NetworkManager, dhclient's leases. Read only; what is not there is not missed.
 * @module
 */
import { readdir, readFile } from 'node:fs/promises'
import type { CommandRunner } from '../host/commands.ts'
import type { PortalApiEvidence } from './evidence.ts'
import { acceptedApiUrl } from './portal-settings.ts'

export interface FoundPortalApi {
  /** An https URL, or the URN that says that there is no portal. */
  readonly url: string
  readonly source: PortalApiEvidence['source']
}

export interface PortalSourceFiles {
  /** Names in a directory; none when it cannot be read. */
  list(directory: string): Promise<readonly string[]>
  /** Contents, or undefined. */
  read(path: string): Promise<string | undefined>
}

const systemFiles: PortalSourceFiles = {
  list: (directory) => readdir(directory).catch(() => []),
  read: (path) => readFile(path, 'utf8').catch(() => undefined)
}

/** One file a link, named by its index, with a line `CAPTIVE_PORTAL=`. */
const NETWORKD_LINKS = '/run/systemd/netif/links'
const DHCLIENT_DIRECTORIES: readonly string[] = ['/run', '/var/lib/dhcp', '/var/lib/dhclient']
/** A local call that answers in milliseconds; whoever takes longer is not waited for. */
const NMCLI_TIMEOUT_MS = 1_000

/** The first that is known, systemd-networkd first; undefined: none. Never rejects. */
export async function findPortalApi(
  runner: CommandRunner,
  files: PortalSourceFiles = systemFiles
): Promise<FoundPortalApi | undefined> {
  return (
    (await fromNetworkd(files)) ?? (await fromNetworkManager(runner, files)) ?? (await fromDhclient(files))
  )
}

function found(text: string | undefined, source: FoundPortalApi['source']): FoundPortalApi | undefined {
  const url = text === undefined ? undefined : acceptedApiUrl(text.trim())
  return url === undefined ? undefined : { url, source }
}

async function fromNetworkd(files: PortalSourceFiles): Promise<FoundPortalApi | undefined> {
  for (const name of await files.list(NETWORKD_LINKS)) {
    const text = await files.read(`${NETWORKD_LINKS}/${name}`)
    const result = found(/^CAPTIVE_PORTAL=(.+)$/m.exec(text ?? '')?.[1], 'networkd')
    if (result !== undefined) return result
  }
  return undefined
}

/** It hands on the option where the DHCP server sent it, under the name that the number 114 once had, or under today's. */
async function fromNetworkManager(
  runner: CommandRunner,
  files: PortalSourceFiles
): Promise<FoundPortalApi | undefined> {
  if ((await files.list('/run/NetworkManager')).length === 0) return undefined
  const argv = ['nmcli', '--terse', '--fields', 'DHCP4,DHCP6', 'device', 'show']
  const result = await runner.run(argv, { timeoutMs: NMCLI_TIMEOUT_MS }).catch(() => undefined)
  if (result?.exitCode !== 0) return undefined
  const option = /^DHCP[46]\.OPTION\[\d+\]:(?:default_url|\w*captive_portal)\s*=\s*(\S+)/m
  return found(option.exec(result.stdout)?.[1]?.replaceAll('\\:', ':'), 'networkmanager')
}

/** The last lease in a file is the one in force. */
async function fromDhclient(files: PortalSourceFiles): Promise<FoundPortalApi | undefined> {
  for (const directory of DHCLIENT_DIRECTORIES) {
    for (const name of await files.list(directory)) {
      if (!/^dhclient.*\.leases?$/.test(name)) continue
      const text = (await files.read(`${directory}/${name}`)) ?? ''
      const lease = text.slice(text.lastIndexOf('lease {'))
      const option = /option (?:default-url|unknown-114|(?:v4-|dhcp6\.)?captive-portal) "([^"]+)";/.exec(
        lease
      )
      const result = found(option?.[1], 'dhclient')
      if (result !== undefined) return result
    }
  }
  return undefined
}
