/**
 * Which network is this machine in? A key that is the same each time it comes back, and tells nothing by itself: the
 * hash of the gateway's hardware address, or of interface and subnet where there is no gateway to see.
 * @module
 */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import {
  array,
  type GenericSchema,
  type InferOutput,
  looseObject,
  number,
  optional,
  safeParse,
  string
} from 'valibot'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'

export interface NetworkKeySources {
  /** Standard output of a command; undefined when it failed or is not there. */
  readonly run: (argv: readonly string[]) => Promise<string | undefined>
  /** Contents of a file; undefined when it cannot be read. */
  readonly read: (path: string) => Promise<string | undefined>
}

/**
 * @param server an address of the gateway: what matters is the network through which it is reached
 * @returns undefined when nothing about the network can be found out
 */
export async function networkKey(
  server: string | undefined,
  sources: NetworkKeySources
): Promise<string | undefined> {
  const way = (await wayFromIp(server, sources)) ?? (await wayFromProc(sources))
  if (way === undefined) return undefined
  if (way.gateway !== undefined) {
    const hardware =
      (await hardwareFromIp(way.gateway, way.device, sources)) ??
      (await hardwareFromProc(way.gateway, way.device, sources))
    if (hardware !== undefined) return hashed('gateway', hardware)
  }
  const subnet = await subnetOf(way, sources)
  return subnet === undefined ? undefined : hashed('subnet', `${way.device} ${subnet}`)
}

interface Way {
  readonly device: string
  readonly gateway: string | undefined
  /** Our own address on it. */
  readonly source: string | undefined
}

function hashed(kind: string, what: string): string {
  return `${kind}:${createHash('sha256').update(what.toLowerCase()).digest('hex').slice(0, 32)}`
}

const Route = looseObject({
  dev: optional(string()),
  gateway: optional(string()),
  via: optional(looseObject({ host: optional(string()) })),
  prefsrc: optional(string())
})
const Neighbour = looseObject({ lladdr: optional(string()) })
const Interface = looseObject({
  addr_info: optional(
    array(
      looseObject({ local: optional(string()), prefixlen: optional(number()), scope: optional(string()) })
    ),
    []
  )
})

async function wayFromIp(server: string | undefined, { run }: NetworkKeySources): Promise<Way | undefined> {
  const commands =
    server !== undefined && isIP(server) !== 0
      ? [['ip', '-json', 'route', 'get', server]]
      : [
          ['ip', '-json', 'route', 'show', 'default'],
          ['ip', '-json', '-6', 'route', 'show', 'default']
        ]
  for (const argv of commands) {
    const route = json(Route, await run(argv))[0]
    if (route?.dev !== undefined)
      return { device: route.dev, gateway: route.gateway ?? route.via?.host, source: route.prefsrc }
  }
  return undefined
}

async function hardwareFromIp(
  gateway: string,
  device: string,
  { run }: NetworkKeySources
): Promise<string | undefined> {
  const entries = json(Neighbour, await run(['ip', '-json', 'neigh', 'show', gateway, 'dev', device]))
  return entries.find((entry) => entry.lladdr !== undefined)?.lladdr
}

async function subnetOf(way: Way, { run }: NetworkKeySources): Promise<string | undefined> {
  const interfaces = json(Interface, await run(['ip', '-json', 'address', 'show', 'dev', way.device]))
  const addresses = interfaces.flatMap((entry) => entry.addr_info)
  const ours =
    addresses.find((entry) => entry.local === way.source) ?? addresses.find((e) => e.scope === 'global')
  if (ours?.local === undefined || ours.prefixlen === undefined) return undefined
  return networkOf(ours.local, ours.prefixlen)
}

/** `192.0.2.0/24` of `192.0.2.77` and 24; undefined when they make no sense. */
function networkOf(address: string, prefixLength: number): string | undefined {
  const bytes = addressToBytes(address)
  if (bytes === undefined || prefixLength < 0 || prefixLength > bytes.length * 8) return undefined
  for (let bit = prefixLength; bit < bytes.length * 8; bit++)
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) & ~(0x80 >> (bit & 7))
  return `${addressFromBytes(bytes)}/${prefixLength}`
}

/** A JSON array of objects, such as `ip -json` prints; empty for anything else. */
function json<const TSchema extends GenericSchema>(
  schema: TSchema,
  text: string | undefined
): InferOutput<TSchema>[] {
  try {
    const result = safeParse(array(schema), JSON.parse(text ?? ''))
    return result.success ? result.output : []
  } catch {
    return []
  }
}

const ROUTE_FLAG_UP_GATEWAY = 0x3

async function wayFromProc({ read }: NetworkKeySources): Promise<Way | undefined> {
  for (const line of lines(await read('/proc/net/route'))) {
    const [device, destination, gateway, flags] = line.split(/\s+/)
    if (device === undefined || gateway === undefined || destination !== '00000000') continue
    if ((Number.parseInt(flags ?? '', 16) & ROUTE_FLAG_UP_GATEWAY) !== ROUTE_FLAG_UP_GATEWAY) continue
    // Host byte order of a little-endian machine.
    const bytes =
      gateway
        .match(/../g)
        ?.map((pair) => Number.parseInt(pair, 16))
        .reverse() ?? []
    return { device, gateway: bytes.join('.'), source: undefined }
  }
  return undefined
}

async function hardwareFromProc(
  gateway: string,
  device: string,
  { read }: NetworkKeySources
): Promise<string | undefined> {
  for (const line of lines(await read('/proc/net/arp'))) {
    const [address, , , hardware, , name] = line.split(/\s+/)
    if (address === gateway && name === device && hardware !== '00:00:00:00:00:00') return hardware
  }
  return undefined
}

/** Without the heading. */
function lines(text: string | undefined): string[] {
  return (text ?? '').split('\n').slice(1)
}
