/**
 * The test gateway: strongSwan in the gateway namespace of an `InteropNetwork`, with the connections of
 * `strongswan-connections.ts`.
 * @module
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Charon } from './charon.ts'
import type { InteropNetwork } from './interop-network.ts'
import { testPki } from './pki.ts'
import { GATEWAY_CREDENTIALS, gatewaySwanctl } from './strongswan-connections.ts'
import { mergeSettings, type Settings } from './strongswan-settings.ts'
import { waitUntil } from './wait-until.ts'

export interface GatewayOptions {
  /** Every IKE_SA_INIT request must bring a COOKIE (RFC 7296 section 2.6). */
  readonly cookies?: boolean
  /** Largest IKE datagram in bytes before RFC 7383 fragments. */
  readonly fragmentSize?: number
  /** Further or changed connections, merged into the table. */
  readonly connections?: Settings
  /** Further settings of strongswan.conf's `charon` section. */
  readonly charon?: Settings
}

/** Starts the gateway and resolves once it is ready. Its caller stops it, before the network is destroyed. */
export async function startGateway(network: InteropNetwork, options: GatewayOptions = {}): Promise<Charon> {
  const directory = join(network.directory, 'gateway')
  await mkdir(directory, { recursive: true })
  const charon: Settings = {
    ...(options.fragmentSize === undefined ? {} : { fragment_size: options.fragmentSize }),
    ...(options.cookies === true ? { cookie_threshold: 1, half_open_timeout: ONE_DAY_S } : {}),
    ...options.charon
  }
  const gateway = await Charon.start({
    enter: network.inGateway,
    directory,
    pki: await testPki(),
    swanctl: gatewaySwanctl(
      mergeSettings(
        // charon chooses the IKE proposals by address, before it knows the IDr
        { 'ecp384-only': { local_addrs: network.gatewaySecondV4 } },
        options.connections ?? {}
      )
    ),
    credentials: GATEWAY_CREDENTIALS,
    charon,
    // strongSwan 5.9 speaks EAP-TLS over TLS 1.3 without the success indication that RFC 9190 section 2.5 demands
    tls: { version_max: '1.2' }
  })
  if (options.cookies === true) await occupyHalfOpenSlot(network, gateway)
  return gateway
}

const ONE_DAY_S = 86_400

/**
 * charon asks for cookies while at least `cookie_threshold` (1) IKE SAs are half open: one IKE_SA_INIT request that is never
 * followed up leaves such an SA behind.
 */
async function occupyHalfOpenSlot(network: InteropNetwork, gateway: Charon): Promise<void> {
  await network.sendLocalDatagram('127.0.0.9', '127.0.0.1', 500, abandonedInitRequest())
  await waitUntil('a half-open IKE SA', async () => {
    const { ikesas } = await gateway.stats()
    return typeof ikesas === 'object' && 'half-open' in ikesas && ikesas['half-open'] === '1'
  })
}

/** IKE_SA_INIT (RFC 7296 section 1.2): AES-GCM-128, PRF-HMAC-SHA2-256, Curve25519 with the base point as public value. */
function abandonedInitRequest(): Uint8Array {
  const transforms = '0300000c01000014800e0080' + '0300000802000005' + '000000080400001f'
  const proposal = `00000024${'01010003'}${transforms}`
  const sa = `22000028${proposal}`
  const ke = `28000028001f0000${'09'.padEnd(64, '0')}`
  const nonce = `00000024${'5a'.repeat(32)}`
  const payloads = sa + ke + nonce
  const length = (28 + payloads.length / 2).toString(16).padStart(8, '0')
  return Buffer.from(
    `${'c0ffee0000000001'}${'0'.repeat(16)}${'21202208'}${'00000000'}${length}${payloads}`,
    'hex'
  )
}
