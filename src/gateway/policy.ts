/**
 * Who may connect to the embedded gateway, how it proves itself to them, and which addresses they get
 * (RFC 7296 sections 2.15, 2.16, 2.19). Answers the engine's questions; no I/O.
 * @module
 */

import type { TrustStore } from '../crypto/certificate.ts'
import type { LocalAuth, RemoteAuth } from '../ike/auth/types.ts'
import type { AssignedConfig, Identity, ResponderAuthentication, ResponderPolicy } from '../ike/types.ts'
import type { Secret } from '../secret.ts'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'
import { ConfigAttribute, EapType } from '../wire/ike-constants.ts'
import type { ConfigAttributeValue, TrafficSelector } from '../wire/ike-message.ts'
import type { AddressPool } from './address-pool.ts'

export interface GatewayCredentials {
  readonly identity: Identity
  /** Chain and key of the gateway. */
  readonly certificate: Extract<LocalAuth, { method: 'certificate' }> | undefined
  readonly psk: Secret | undefined
  readonly users: ReadonlyMap<string, Secret>
  /** Trust for clients with certificates. */
  readonly clientTrust: TrustStore | undefined
  /** For EAP-TLS; the same certificate in PEM, with the client CAs. */
  readonly eapTls: EapTlsServer | undefined
}
type EapTlsServer = NonNullable<Extract<RemoteAuth, { method: 'eap' }>['server']['tls']>

export class GatewayPolicy implements ResponderPolicy {
  readonly localTs: readonly TrafficSelector[]
  readonly #credentials: GatewayCredentials
  readonly #pool: AddressPool
  readonly #dns: readonly string[]
  readonly #subnets: readonly string[]

  constructor(
    credentials: GatewayCredentials,
    pool: AddressPool,
    network: {
      readonly dns: readonly string[]
      readonly localTs: readonly TrafficSelector[]
      readonly subnets: readonly string[]
    }
  ) {
    this.#credentials = credentials
    this.#pool = pool
    this.#dns = network.dns
    this.#subnets = network.subnets
    this.localTs = network.localTs
  }

  authenticationFor(
    _initiator: Identity,
    _wantedResponder: Identity | undefined,
    kind: 'psk' | 'certificate' | 'eap'
  ): ResponderAuthentication | undefined {
    const { identity, certificate, psk, clientTrust } = this.#credentials
    const remoteAuth = this.#remoteAuth(kind)
    if (remoteAuth === undefined) return undefined
    if (kind === 'psk') {
      return psk === undefined
        ? undefined
        : { localIdentity: identity, localAuth: { method: 'psk', secret: psk }, remoteAuth }
    }
    // A gateway with only a shared key still serves EAP users that know it (the usual FortiGate wizard's shape).
    const localAuth =
      certificate ?? (psk === undefined ? undefined : ({ method: 'psk', secret: psk } as const))
    if (localAuth === undefined || (kind === 'certificate' && clientTrust === undefined)) return undefined
    return { localIdentity: identity, localAuth, remoteAuth }
  }

  assign(peer: string, request: readonly ConfigAttributeValue[]): AssignedConfig | undefined {
    const addresses: { address: string; prefixLength: number }[] = []
    const families: (4 | 6)[] = []
    for (const [family, type] of [
      [4, ConfigAttribute.INTERNAL_IP4_ADDRESS],
      [6, ConfigAttribute.INTERNAL_IP6_ADDRESS]
    ] as const) {
      const wanted = request.find((attribute) => attribute.type === type)
      if (wanted === undefined) continue
      families.push(family)
      const lease = this.#pool.lease(family, peer, preferredAddress(wanted.value, family))
      if (lease === undefined) continue
      addresses.push({
        address: addressFromBytes(lease.address),
        prefixLength: family === 4 ? 32 : 128
      })
    }
    if (families.length > 0 && addresses.length === 0) return undefined
    const hasFamily = (address: string): boolean => families.includes(address.includes(':') ? 6 : 4)
    return {
      addresses,
      dns: this.#dns.filter(hasFamily),
      dnsDomains: [],
      subnets: this.#subnets.filter(hasFamily)
    }
  }

  release(peer: string, config: AssignedConfig): void {
    for (const { address } of config.addresses) {
      const bytes = addressToBytes(address)
      if (bytes !== undefined) this.#pool.release(peer, bytes)
    }
  }

  #remoteAuth(kind: 'psk' | 'certificate' | 'eap'): RemoteAuth | undefined {
    const { psk, clientTrust, users, eapTls } = this.#credentials
    switch (kind) {
      case 'psk':
        return psk === undefined ? undefined : { method: 'psk', secret: psk }
      case 'certificate':
        return clientTrust === undefined ? undefined : { method: 'certificate', trust: clientTrust }
      case 'eap': {
        const methods = [
          ...(users.size > 0 ? [EapType.MSCHAPV2] : []),
          ...(eapTls === undefined ? [] : [EapType.TLS])
        ]
        if (methods.length === 0) return undefined
        return {
          method: 'eap',
          server: { methods, passwordOf: (user) => users.get(user), ...(eapTls && { tls: eapTls }) }
        }
      }
    }
  }
}

/** INTERNAL_IP6_ADDRESS carries a prefix length behind the address; zero bytes mean "any". */
function preferredAddress(value: Uint8Array, family: 4 | 6): Uint8Array | undefined {
  const length = family === 4 ? 4 : 16
  const address = value.subarray(0, length)
  return address.length === length && address.some((byte) => byte !== 0) ? address : undefined
}
