/**
 * The networks of the lab, as a table: what each does to packets, and what a client should make of it. The commands `ikestream lab`,
 * the project's own test and docs/LAB.md all read this table and no other.
 * @module
 */
import type { Fault } from '../host/netlab-hotel.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { LabSettings } from './settings.ts'

/** Who stands in for the outside world where something is refused. */
type WallService = 'portal' | 'interceptor'

export interface LabNetwork {
  readonly name: string
  /** One sentence: what this network does. */
  readonly sentence: string
  readonly faults?: readonly Fault[]
  readonly wall?: WallService
  /** On the router; its address is in the client's environment. */
  readonly proxy?: ProxyKind
  /** The client has logged in at the portal before it does anything else. */
  readonly loggedIn?: boolean
  /** IP versions that the client has; both by default. */
  readonly families?: 'ipv4' | 'ipv6'
  /** What is chosen where nothing else is asked for. */
  readonly settings?: Omit<LabSettings, 'seed'>
  readonly expected: Expected
}

export type ProxyKind = 'http' | 'socks'

export interface Expected {
  readonly check: ExpectedCheck
  readonly connect: ExpectedConnect
}

export interface ExpectedCheck {
  /** Code of the verdict; its exit code follows from it. */
  readonly verdict: string
  /** What connect would use; null: nothing works. */
  readonly over: TransportKind | null
  /** Codes of the findings that are no mere information, sorted. */
  readonly findings: readonly string[]
  readonly portal: 'open' | 'portal' | 'walled'
  /** It finds the MTU that the network has. */
  readonly findsMtu?: boolean
}

export type ExpectedConnect =
  | { readonly over: TransportKind; readonly within: SpeedClass }
  /** Code of the error; its exit code is that of its family. */
  | { readonly error: string; readonly exitCode: number; readonly within: SpeedClass }

/** How long a person waits, on a machine that has little else to do. */
export const SPEED_CLASSES = { 'at once': 3_000, soon: 8_000, patience: 20_000 } as const
export type SpeedClass = keyof typeof SPEED_CLASSES

const UDP_DROPPED: Fault = { protocol: 'udp', action: 'drop' }
const HTTP_PORT = 80
const HTTPS_PORT = 443

/** The kernel takes no rule for the one behind it. */
const LAST_PORT = 65_534

/** TCP to all ports but these, which are in order. */
function tcpExcept(...open: readonly number[]): Fault {
  const edges = [0, ...open, LAST_PORT + 1]
  const ports = edges.slice(1).map((edge, index) => [(edges[index] ?? 0) + 1, edge - 1] as const)
  return { protocol: 'tcp', ports, action: 'drop' }
}

const CAPTIVE: readonly Fault[] = [
  UDP_DROPPED,
  { protocol: 'tcp', ports: [HTTP_PORT], action: 'refuse' },
  tcpExcept(HTTP_PORT)
]

/** Whatever is not through the proxy ends at the router. */
const SHUT: readonly Fault[] = [{ protocol: 'all', action: 'drop' }]

function reachable(over: TransportKind, more: Partial<ExpectedCheck> = {}): ExpectedCheck {
  return { verdict: 'reachable', over, findings: [], portal: 'open', ...more }
}

export const LAB_NETWORKS: readonly LabNetwork[] = [
  {
    name: 'open',
    sentence: 'Everything passes, over IPv4 and IPv6.',
    expected: { check: reachable('udp'), connect: { over: 'udp', within: 'at once' } }
  },
  {
    name: 'udp-dropped',
    sentence: 'UDP vanishes without a word; TCP passes.',
    faults: [UDP_DROPPED],
    expected: { check: reachable('tcp'), connect: { over: 'tcp', within: 'soon' } }
  },
  {
    name: 'udp-rejected',
    sentence: 'UDP is answered with ICMP port unreachable; TCP passes.',
    faults: [{ protocol: 'udp', action: 'refuse' }],
    expected: { check: reachable('tcp'), connect: { over: 'tcp', within: 'at once' } }
  },
  {
    name: 'udp-4500-dropped',
    sentence:
      'UDP 500 passes and UDP 4500 vanishes: the gateway answers, and then IKE_AUTH and ESP are lost.',
    faults: [{ protocol: 'udp', ports: [4500], action: 'drop' }],
    expected: {
      check: reachable('tcp', { findings: ['udp-4500-blocked'] }),
      connect: { over: 'tcp', within: 'soon' }
    }
  },
  {
    name: 'tcp-4500-refused',
    sentence: 'UDP vanishes, TCP 4500 is refused, TLS 443 passes.',
    faults: [UDP_DROPPED, { protocol: 'tcp', ports: [4500], action: 'refuse' }],
    expected: { check: reachable('tls'), connect: { over: 'tls', within: 'soon' } }
  },
  {
    name: 'only-443',
    sentence: 'Nothing but TCP 443 passes; everything else vanishes, plain HTTP included.',
    faults: [UDP_DROPPED, tcpExcept(HTTPS_PORT)],
    expected: { check: reachable('tls', { portal: 'walled' }), connect: { over: 'tls', within: 'soon' } }
  },
  {
    name: 'tls-interception',
    sentence: 'Only the web passes, and a box with a certificate of its own reads what is in TLS.',
    faults: [
      UDP_DROPPED,
      { protocol: 'tcp', ports: [HTTPS_PORT], action: 'refuse' },
      tcpExcept(HTTP_PORT, HTTPS_PORT)
    ],
    wall: 'interceptor',
    expected: {
      check: { verdict: 'no-ike', over: null, findings: ['tls-intercepted'], portal: 'open' },
      connect: { error: 'gateway-unreachable', exitCode: 69, within: 'patience' }
    }
  },
  {
    name: 'captive-portal',
    sentence: 'A captive portal before the login: HTTP leads to its page, everything else vanishes.',
    faults: CAPTIVE,
    wall: 'portal',
    expected: {
      check: { verdict: 'captive-portal', over: null, findings: [], portal: 'portal' },
      connect: { error: 'captive-portal', exitCode: 69, within: 'patience' }
    }
  },
  {
    name: 'captive-portal-logged-in',
    sentence: 'The same portal after the login: everything passes.',
    faults: CAPTIVE,
    wall: 'portal',
    loggedIn: true,
    expected: { check: reachable('udp'), connect: { over: 'udp', within: 'at once' } }
  },
  {
    name: 'http-proxy',
    sentence: 'Only an HTTP proxy leads out, and only to port 443.',
    faults: SHUT,
    proxy: 'http',
    expected: {
      check: reachable('tls', { findings: ['proxy-refused'], portal: 'walled' }),
      connect: { over: 'tls', within: 'soon' }
    }
  },
  {
    name: 'socks-proxy',
    sentence: 'Only a SOCKS5 proxy leads out.',
    faults: SHUT,
    proxy: 'socks',
    expected: {
      check: reachable('tcp', { portal: 'walled' }),
      connect: { over: 'tcp', within: 'soon' }
    }
  },
  {
    name: 'small-mtu',
    sentence: 'Packets of more than 1400 bytes vanish, and the ICMP that would say so is lost.',
    settings: { mtu: 1400 },
    expected: {
      check: reachable('udp', { findings: ['path-mtu-black-hole'], findsMtu: true }),
      connect: { over: 'udp', within: 'at once' }
    }
  },
  {
    name: 'high-loss',
    sentence: 'One packet in twenty is lost, each way, on a line of 15 ms.',
    settings: { loss: 0.05, delayMs: 15 },
    expected: { check: reachable('udp'), connect: { over: 'udp', within: 'soon' } }
  },
  {
    name: 'long-delay',
    sentence: 'A satellite: 300 ms each way.',
    settings: { delayMs: 300 },
    expected: { check: reachable('udp'), connect: { over: 'udp', within: 'soon' } }
  },
  {
    name: 'nat-short',
    sentence:
      'A NAT, IPv4 only, that forgets UDP after 5 s of silence from inside, and gives another port then.',
    families: 'ipv4',
    settings: { natTimeoutMs: 5_000 },
    expected: { check: reachable('udp'), connect: { over: 'udp', within: 'at once' } }
  },
  {
    name: 'ipv6-only',
    sentence: 'The client has no IPv4 address at all.',
    families: 'ipv6',
    expected: { check: reachable('udp'), connect: { over: 'udp', within: 'at once' } }
  }
]

export function findLabNetwork(name: string): LabNetwork | undefined {
  return LAB_NETWORKS.find((network) => network.name === name)
}
