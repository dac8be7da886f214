/**
 * What a seed stands for: how both ends are configured, what their network is like, and which faults are likely.
 * @module
 */

import type { ConnectOptions } from '../../../src/client/options.ts'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import type { GatewayOptions } from '../../../src/gateway/options.ts'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import type { IkeTimers } from '../../../src/ike/types.ts'
import { Secret } from '../../../src/secret.ts'
import { parseCidr } from '../../../src/wire/cidr.ts'
import type { TransportKind } from '../../../src/wire/endpoint.ts'
import { connectOptions } from '../../support/virtual-client.ts'
import { simulatedCertificate } from './gateway-machine.ts'
import type { Weather } from './network.ts'
import type { World } from './world.ts'

/** Which kinds of trouble a session is to meet. */
export const PROFILES = [
  'rekeys',
  'lossy',
  'filters',
  'roaming',
  'streams',
  'crashes',
  'cluster',
  'hostile',
  'mixed'
] as const
export type Profile = (typeof PROFILES)[number]

export interface Plan {
  readonly profile: Profile
  readonly order: readonly TransportKind[]
  readonly client: ConnectOptions
  readonly gateway: GatewayOptions
  readonly isCluster: boolean
  readonly natIdleMs: number
  /** When nothing else makes it worse. */
  readonly weather: Weather
  /** Between two faults, on average. */
  readonly faultEveryMs: number
  readonly activeMs: number
  /** Between two inner packets, on average. */
  readonly packetEveryMs: number
  /** The host inside sends by itself, too. */
  readonly pushes: boolean
}

const PSK = new Secret('a shared key that is long enough')
const IKE = parseProposals(['aes128gcm16-prfsha256-x25519'], 'ike')
const ESP = parseProposals(['aes128gcm16-noesn'], 'esp')
const ESP_PFS = parseProposals(['aes128gcm16-x25519-noesn'], 'esp')
const ESP_EITHER = [...ESP_PFS, ...ESP].map((proposal, index) => ({ ...proposal, number: index + 1 }))
const ORDERS: readonly (readonly TransportKind[])[] = [
  ['udp', 'tcp', 'tls'],
  ['udp', 'tcp', 'tls'],
  ['udp', 'tls'],
  ['udp'],
  ['tcp', 'tls'],
  ['tls']
]

/** @param profile instead of the one that the seed gives */
export function planOf(world: World, profile?: Profile): Plan {
  const drawn = world.pick(PROFILES)
  const chosen = profile ?? drawn
  const order = world.pick(ORDERS as [readonly TransportKind[], ...(readonly TransportKind[])[]])
  const timers = timersOf(world, chosen)
  const isCluster = chosen === 'cluster' || (chosen === 'mixed' && world.chance(0.3))
  const espProposals = world.chance(0.3) ? ESP_PFS : ESP
  return {
    profile: chosen,
    // A rekeying shall lose nothing: on one path that stays.
    order:
      chosen === 'streams'
        ? order
            .filter((kind) => kind !== 'udp')
            .concat('tcp')
            .slice(0, 2)
        : order,
    client: clientOptions({ order, timers, espProposals }),
    gateway: gatewayOptions(timersOf(world, chosen)),
    isCluster,
    weather: weatherOf(world, chosen),
    natIdleMs: world.pick([120_000, 60_000, 15_000]),
    faultEveryMs: chosen === 'hostile' ? world.between(100, 800) : world.between(800, 5_000),
    activeMs: world.between(10_000, 40_000),
    packetEveryMs: world.pick([50, 150, 400]),
    pushes: world.chance(0.5)
  }
}

/** While SAs are being rekeyed nothing of ESP gets lost, so that whatever is missing was lost by a rekeying. */
function weatherOf(world: World, profile: Profile): Weather {
  const isRekeys = profile === 'rekeys'
  return {
    delayMs: world.between(1, 80),
    jitterMs: world.between(0, 20),
    loss: isRekeys ? 0 : world.between(0, 0.02),
    ikeLoss: isRekeys ? world.between(0, 0.25) : 0,
    duplication: world.between(0, isRekeys ? 0.2 : 0.1),
    reordering: world.between(0, isRekeys ? 0.2 : 0.1),
    corruption: world.between(0, 0.03)
  }
}

/** Often so short that both ends rekey all the time by themselves: by time, bytes and packets. */
function timersOf(world: World, profile: Profile): Partial<IkeTimers> {
  const isShort = profile === 'rekeys' || world.chance(0.4)
  const byPackets = world.chance(0.3)
  const byBytes = world.chance(0.3)
  const childMs = world.between(8_000, 30_000)
  const ikeMs = world.between(30_000, 90_000)
  return {
    ...(isShort ? { childLifetimeMs: childMs, ikeLifetimeMs: ikeMs, rekeyMargin: 0.5 } : {}),
    ...(isShort && byPackets ? { childLifetimePackets: 120 } : {}),
    ...(isShort && byBytes ? { childLifetimeBytes: 8_000 } : {}),
    livenessMs: 5_000,
    natKeepaliveMs: 10_000
  }
}

function clientOptions(changes: Partial<ConnectOptions>): ConnectOptions {
  return connectOptions({
    localAuth: { method: 'psk', secret: PSK },
    remoteAuth: { method: 'psk', secret: PSK },
    ikeProposals: IKE,
    timeoutMs: Number.POSITIVE_INFINITY,
    reconnectTimeoutMs: Number.POSITIVE_INFINITY,
    ...changes
  })
}

/** A client that sends nothing is asked after this long. */
export const IDLE_LIVENESS_MS = 15_000

function gatewayOptions(timers: Partial<IkeTimers>): GatewayOptions {
  const cidr = parseCidr('10.99.0.0/24')
  if (cidr === undefined) throw new Error('not a network')
  return {
    listen: [],
    ports: { ike: 500, natT: 4500, tcp: 4500, tls: 443 },
    ...{ udp: true, tcp: true, tls: true },
    identity: identityFromText('gw.example.org'),
    certificate: simulatedCertificate(),
    cafile: undefined,
    psk: PSK,
    users: new Map(),
    clientTrust: undefined,
    pools: [cidr],
    dns: ['10.99.0.1'],
    dnsDomains: [],
    localTs: [],
    interfaceName: undefined,
    ikeProposals: IKE,
    espProposals: ESP_EITHER,
    timers,
    cookies: 'auto',
    maxHalfOpen: 64,
    limits: { idleLivenessMs: IDLE_LIVENESS_MS }
  }
}
