/**
 * Runs a vpnc-script: the program that openconnect and vpnc hand the configuring of the host to, and the environment that it
 * expects. Variables without a value are absent from its environment, also if ours has them.
 * @module
 */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { SystemError } from '../errors.ts'
import { addressFamily, addressFromBytes } from '../wire/address.ts'
import { formatCidr, netmaskFromPrefixLength, networkOf } from '../wire/cidr.ts'
import { type CommandRunner, childEnvironment, essence } from './commands.ts'
import { parseNetwork } from './route.ts'

/** A script may have to wait for a name server to restart, no longer. */
export const SCRIPT_TIMEOUT_MS = 60_000

export type ScriptReason = 'pre-init' | 'connect' | 'disconnect' | 'attempt-reconnect' | 'reconnect'

/** What the script is told about the session. */
export interface ScriptSettings {
  /** Process id of the session; this process when absent. */
  readonly pid?: number
  readonly gateway: string
  readonly interface: string
  readonly mtu: number
  readonly addresses: readonly { readonly address: string; readonly prefixLength: number }[]
  /** Networks behind the tunnel in CIDR notation; one that is everything makes the tunnel the default route. */
  readonly routes: readonly string[]
  /** Networks that stay outside. */
  readonly excludedRoutes?: readonly string[]
  readonly dnsServers?: readonly string[]
  /** Domains whose names the tunnel's servers answer. */
  readonly splitDomains?: readonly string[]
  readonly searchDomains?: readonly string[]
  readonly banner?: string
  readonly idleTimeoutS?: number
  /** 0 errors, 1 progress, 2 debug, 3 trace. */
  readonly logLevel?: 0 | 1 | 2 | 3
}

/** Every name of the contract; `CISCO_SPLIT_INC_0_ADDR` and its like are matched by the pattern. */
const CONTRACT =
  /^(reason|VPNGATEWAY|VPNPID|TUNDEV|IDLE_TIMEOUT|LOG_LEVEL|INTERNAL_IP[46]_[A-Z]+|CISCO_(DEF_DOMAIN|SPLIT_DNS|BANNER|PROXY_PAC|CSTP_OPTIONS|(IPV6_)?SPLIT_(INC|EXC)(_\d+_[A-Z]+)?))$/

/** The contract's variables for a session. */
export function scriptVariables(reason: ScriptReason, settings: ScriptSettings): Record<string, string> {
  const servers = settings.dnsServers ?? []
  const variables: Record<string, string> = {
    reason,
    VPNGATEWAY: settings.gateway,
    VPNPID: String(settings.pid ?? process.pid),
    TUNDEV: settings.interface,
    LOG_LEVEL: String(settings.logLevel ?? 1),
    ...addressVariables(settings),
    ...routeVariables('INC', settings.routes),
    ...routeVariables('EXC', settings.excludedRoutes ?? [])
  }
  set(variables, 'IDLE_TIMEOUT', settings.idleTimeoutS?.toString())
  set(variables, 'INTERNAL_IP4_DNS', joined(servers.filter((one) => addressFamily(one) === 4)))
  set(variables, 'INTERNAL_IP6_DNS', joined(servers.filter((one) => addressFamily(one) === 6)))
  set(variables, 'CISCO_DEF_DOMAIN', joined(settings.searchDomains ?? []))
  set(variables, 'CISCO_SPLIT_DNS', joined(settings.splitDomains ?? [], ','))
  set(variables, 'CISCO_BANNER', settings.banner)
  return variables
}

/** Our own environment without secrets and without any of the contract's names, plus these. */
export function scriptEnvironment(variables: Readonly<Record<string, string>>): Record<string, string> {
  const env = childEnvironment()
  for (const name of Object.keys(env)) if (CONTRACT.test(name)) delete env[name]
  return { ...env, ...variables }
}

/** How a script is started: a file directly, anything else as a command line for the shell, as its users are used to. */
export function scriptArgv(script: string): string[] {
  return existsSync(script) ? [resolve(script)] : ['/bin/sh', '-c', script]
}

/** Runs the script and waits for it. @throws SystemError when it cannot be run, fails, or takes too long */
export async function runScript(
  runner: CommandRunner,
  argv: readonly string[],
  variables: Readonly<Record<string, string>>,
  timeoutMs = SCRIPT_TIMEOUT_MS
): Promise<void> {
  const result = await runner.run(argv, { env: scriptEnvironment(variables), timeoutMs })
  if (result.exitCode === 0) return
  const said = essence(result.stderr)
  const how = result.exitCode === 127 ? 'could not be run' : `failed with status ${result.exitCode}`
  throw new SystemError(
    'script-failed',
    `the script ${argv.at(-1)} ${how} (${variables['reason']})${said === '' ? '' : `: ${said}`}`,
    { hint: 'run it by hand with the same environment (vpnc-script), or leave --script out' }
  )
}

function addressVariables(settings: ScriptSettings): Record<string, string> {
  const variables: Record<string, string> = {}
  // Scripts take the MTU from here whatever the address family is.
  variables['INTERNAL_IP4_MTU'] = String(settings.mtu)
  const v4 = settings.addresses.find((one) => addressFamily(one.address) === 4)
  const v6 = settings.addresses.find((one) => addressFamily(one.address) === 6)
  if (v4 !== undefined) {
    variables['INTERNAL_IP4_ADDRESS'] = v4.address
    const network = parseNetwork(`${v4.address}/${v4.prefixLength}`)
    if (network !== undefined && v4.prefixLength < 32) {
      variables['INTERNAL_IP4_NETMASK'] = addressFromBytes(netmaskFromPrefixLength(v4.prefixLength))
      variables['INTERNAL_IP4_NETMASKLEN'] = String(v4.prefixLength)
      variables['INTERNAL_IP4_NETADDR'] = addressFromBytes(network.address)
    }
  }
  if (v6 !== undefined) {
    variables['INTERNAL_IP6_ADDRESS'] = v6.address
    variables['INTERNAL_IP6_NETMASK'] = `${v6.address}/${v6.prefixLength}`
  }
  return variables
}

function routeVariables(direction: 'INC' | 'EXC', routes: readonly string[]): Record<string, string> {
  const variables: Record<string, string> = {}
  const networks = routes.flatMap((text) => parseNetwork(text) ?? [])
  for (const family of [4, 6] as const) {
    const listed = networks.filter((network) => network.family === family)
    // No list of included networks means the default route.
    if (listed.length === 0 || listed.some((network) => network.prefixLength === 0)) continue
    const prefix = `CISCO_${family === 6 ? 'IPV6_' : ''}SPLIT_${direction}`
    variables[prefix] = String(listed.length)
    for (const [index, network] of listed.entries()) {
      const [address = ''] = formatCidr(networkOf(network)).split('/')
      variables[`${prefix}_${index}_ADDR`] = address
      variables[`${prefix}_${index}_MASKLEN`] = String(network.prefixLength)
      if (family === 6) continue
      variables[`${prefix}_${index}_MASK`] = addressFromBytes(netmaskFromPrefixLength(network.prefixLength))
      for (const field of ['PROTOCOL', 'SPORT', 'DPORT']) variables[`${prefix}_${index}_${field}`] = '0'
    }
  }
  return variables
}

function set(variables: Record<string, string>, name: string, value: string | undefined): void {
  if (value !== undefined) variables[name] = value
}

function joined(items: readonly string[], separator = ' '): string | undefined {
  return items.length === 0 ? undefined : items.join(separator)
}
