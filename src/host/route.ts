/**
 * Routes as data: as `ip -json route` prints them, as we add and delete them, and which of them carries a packet.
 * @module
 */
import * as v from 'valibot'
import { addressFamily, addressToBytes } from '../wire/address.ts'
import { addressInCidr, type Cidr, networkOf, parseCidr } from '../wire/cidr.ts'
import { type CommandRunner, mustJson } from './commands.ts'

/** A route that we add, and later delete by the same words, so that nothing else can be hit. */
export interface RouteSpec {
  readonly family: 4 | 6
  /** CIDR notation. */
  readonly destination: string
  readonly type: 'unicast' | 'unreachable'
  readonly via?: string | undefined
  readonly device?: string | undefined
  readonly metric?: number | undefined
  /** The next hop is on the link although no address of ours says so. */
  readonly onlink?: boolean | undefined
}

/** How packets to an address leave this machine. */
export interface NextHop {
  readonly device: string
  readonly via?: string | undefined
  readonly onlink: boolean
  /** MTU of the route itself, where one is set. */
  readonly mtu?: number | undefined
  /** The address that the kernel would send from. */
  readonly source?: string | undefined
}

export function routeArgv(verb: 'add' | 'replace' | 'del', route: RouteSpec): string[] {
  const argv = ['ip', `-${route.family}`, 'route', verb]
  if (route.type !== 'unicast') argv.push(route.type)
  argv.push(route.destination)
  if (route.via !== undefined) {
    const foreign = route.family === 4 && addressFamily(route.via) === 6
    argv.push('via', ...(foreign ? ['inet6'] : []), route.via)
  }
  if (route.device !== undefined) argv.push('dev', route.device)
  if (route.metric !== undefined) argv.push('metric', String(route.metric))
  argv.push('proto', 'static')
  if (route.onlink === true) argv.push('onlink')
  return argv
}

export function sameRoute(a: RouteSpec, b: RouteSpec): boolean {
  return routeArgv('add', a).join(' ') === routeArgv('add', b).join(' ')
}

/** 0.0.0.0/0 and ::/0 as two halves: they win over the default route that is there, and leave it in place. */
export function halves(cidr: Cidr): Cidr[] {
  if (cidr.prefixLength !== 0) return [cidr]
  const upper = new Uint8Array(cidr.address.length)
  upper[0] = 0x80
  return [
    { family: cidr.family, address: new Uint8Array(cidr.address.length), prefixLength: 1 },
    { family: cidr.family, address: upper, prefixLength: 1 }
  ]
}

/** Parses and clears host bits; undefined for text that is no block. */
export function parseNetwork(text: string): Cidr | undefined {
  const cidr = parseCidr(text)
  return cidr === undefined ? undefined : networkOf(cidr)
}

export function covers(network: Cidr, address: string): boolean {
  const bytes = addressToBytes(address)
  return bytes !== undefined && addressInCidr(bytes, network)
}

const Hop = {
  dev: v.optional(v.string()),
  gateway: v.optional(v.string()),
  via: v.optional(v.object({ host: v.string() })),
  flags: v.optional(v.array(v.string()), [])
}
const Routes = v.array(
  v.object({
    ...Hop,
    type: v.optional(v.string(), 'unicast'),
    dst: v.string(),
    metric: v.optional(v.number(), 0),
    prefsrc: v.optional(v.string()),
    metrics: v.optional(v.array(v.object({ mtu: v.optional(v.number()) })), []),
    nexthops: v.optional(v.array(v.object(Hop)), [])
  })
)
export type ListedRoute = v.InferOutput<typeof Routes>[number]

export function parseRoutes(document: unknown): ListedRoute[] {
  const result = v.safeParse(Routes, document)
  return result.success ? result.output : []
}

/** What the kernel does with packets to `address` now: a next hop, `local`, or undefined when it has no route. */
export async function routeTo(
  runner: CommandRunner,
  address: string
): Promise<NextHop | 'local' | undefined> {
  const family = addressFamily(address) ?? 4
  const argv = ['ip', '-json', `-${family}`, 'route', 'get', address]
  const result = await runner.run(argv)
  // Exit status 2 is the kernel's "no": unreachable, prohibited, or a blackhole.
  if (result.exitCode !== 0) return undefined
  const [route] = parseRoutes(await mustJson({ run: async () => result }, argv))
  if (route === undefined) return undefined
  if (route.type === 'local') return 'local'
  return route.type === 'unicast' ? toNextHop(route) : undefined
}

/** The main table of one family. */
export async function mainTable(runner: CommandRunner, family: 4 | 6): Promise<ListedRoute[]> {
  return parseRoutes(await mustJson(runner, ['ip', '-json', `-${family}`, 'route', 'show', 'table', 'main']))
}

/**
 * The next hop that a table gives an address: the longest prefix, then the lowest metric. Routes for which `ignore` holds,
 * and those over dead links, do not count.
 */
export function lookUp(
  table: readonly ListedRoute[],
  address: string,
  ignore: (route: ListedRoute) => boolean
): NextHop | undefined {
  const family = addressFamily(address) ?? 4
  let best: { route: ListedRoute; prefixLength: number } | undefined
  for (const route of table) {
    const text = route.dst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : route.dst
    const network = parseNetwork(text)
    if (network === undefined || network.family !== family || !covers(network, address)) continue
    if (route.flags.includes('dead') || route.flags.includes('linkdown') || ignore(route)) continue
    const { prefixLength } = network
    const better =
      best === undefined ||
      prefixLength > best.prefixLength ||
      (prefixLength === best.prefixLength && route.metric < best.route.metric)
    if (better) best = { route, prefixLength }
  }
  return best === undefined || best.route.type !== 'unicast' ? undefined : toNextHop(best.route)
}

function toNextHop(route: ListedRoute): NextHop | undefined {
  const hop = route.dev === undefined ? route.nexthops.find((one) => !one.flags.includes('dead')) : route
  if (hop?.dev === undefined) return undefined
  return {
    device: hop.dev,
    via: hop.gateway ?? hop.via?.host,
    onlink: hop.flags.includes('onlink'),
    mtu: route.metrics.find((one) => one.mtu !== undefined)?.mtu,
    source: route.prefsrc
  }
}
