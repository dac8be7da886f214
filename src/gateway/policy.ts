/**
 * Who may connect to the embedded gateway, how it proves itself to them, and which addresses they get
 * (RFC 7296 sections 2.15, 2.16, 2.19). Answers the engine's questions; no I/O.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import type { TrustStore } from '../crypto/certificate.ts'
import { certificateCarries } from '../crypto/certificate-identity.ts'
import { signingKeyFrom } from '../crypto/signature.ts'
import { toPem } from '../crypto/trust-store.ts'
import type { EapTlsCredentials, LocalAuth, RemoteAuth } from '../ike/auth/types.ts'
import type { AssignedConfig, Identity, ResponderAuthentication, ResponderPolicy } from '../ike/types.ts'
import { Secret } from '../secret.ts'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'
import { formatCidr, networkOf } from '../wire/cidr.ts'
import { ConfigAttribute, EapType } from '../wire/ike-constants.ts'
import type { ConfigAttributeValue, TrafficSelector } from '../wire/ike-message.ts'
import { selectEverything, selectorFromCidr } from '../wire/traffic-selectors.ts'
import type { AddressPool } from './address-pool.ts'
import type { GatewayCertificate, GatewayOptions } from './options.ts'

export interface GatewayCredentials {
  readonly identity: Identity
  readonly certificate: Extract<LocalAuth, { method: 'certificate' }>
  readonly psk: Secret | undefined
  readonly users: ReadonlyMap<string, Secret>
  /** Trust for clients with certificates. */
  readonly clientTrust: TrustStore | undefined
  /** For EAP-TLS; the same certificate in PEM, with the client CAs. */
  readonly eapTls: EapTlsCredentials | undefined
}

export interface GatewayNetwork {
  readonly dns: readonly string[]
  /** Names that the servers answer for; none: all. */
  readonly dnsDomains: readonly string[]
  /** What clients may reach. */
  readonly localTs: readonly TrafficSelector[]
  /** The same as CIDR, told to clients; none for everything. */
  readonly subnets: readonly string[]
}

/** The policy that a gateway's options describe. @throws DataError for a key that cannot sign */
export function gatewayPolicy(options: GatewayOptions, pool: AddressPool): GatewayPolicy {
  const { identity, certificate, psk, users, clientTrust, dns, dnsDomains, localTs } = options
  return new GatewayPolicy(
    {
      identity,
      certificate: {
        method: 'certificate',
        chain: certificate.chain,
        key: signingKeyFrom(certificate.key)
      },
      psk,
      users,
      clientTrust,
      eapTls: clientTrust === undefined ? undefined : eapTlsServer(certificate, clientTrust)
    },
    pool,
    {
      dns,
      dnsDomains,
      localTs:
        localTs.length > 0 ? localTs.map(selectorFromCidr) : [selectEverything(4), selectEverything(6)],
      subnets: localTs.map((cidr) => formatCidr(networkOf(cidr)))
    }
  )
}

export class GatewayPolicy implements ResponderPolicy {
  readonly clientTrust: TrustStore | undefined
  readonly localTs: readonly TrafficSelector[]
  readonly #credentials: GatewayCredentials
  readonly #pool: AddressPool
  readonly #network: GatewayNetwork

  constructor(credentials: GatewayCredentials, pool: AddressPool, network: GatewayNetwork) {
    this.#credentials = credentials
    this.#pool = pool
    this.#network = network
    this.clientTrust = credentials.clientTrust
    this.localTs = network.localTs
  }

  authenticationFor(
    _initiator: Identity,
    wantedResponder: Identity | undefined,
    kind: 'psk' | 'certificate' | 'eap'
  ): ResponderAuthentication | undefined {
    const { identity, certificate, psk } = this.#credentials
    const remoteAuth = this.#remoteAuth(kind)
    if (remoteAuth === undefined) return undefined
    if (kind === 'psk') {
      if (psk === undefined) return undefined
      return { localIdentity: identity, localAuth: { method: 'psk', secret: psk }, remoteAuth }
    }
    return { localIdentity: this.#identityFor(wantedResponder), localAuth: certificate, remoteAuth }
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
    const dns = this.#network.dns.filter(hasFamily)
    // Domains go with servers, and to those who ask (RFC 8598 section 3.1).
    const domains = dns.length > 0 && request.some(({ type }) => type === ConfigAttribute.INTERNAL_DNS_DOMAIN)
    return {
      addresses,
      dns,
      dnsDomains: domains ? this.#network.dnsDomains : [],
      subnets: this.#network.subnets.filter(hasFamily)
    }
  }

  release(peer: string, config: AssignedConfig): void {
    for (const { address } of config.addresses) {
      const bytes = addressToBytes(address)
      if (bytes !== undefined) this.#pool.release(peer, bytes)
    }
  }

  admits(peer: string, method: 'psk' | 'certificate' | 'eap'): boolean {
    const { psk, clientTrust, users, eapTls } = this.#credentials
    switch (method) {
      case 'psk':
        return psk !== undefined
      case 'certificate':
        return clientTrust !== undefined
      case 'eap':
        return users.has(peer) || eapTls !== undefined
    }
  }

  /** The name that the initiator asks for, if the certificate proves it (RFC 7296 section 3.5); else our own. */
  #identityFor(wanted: Identity | undefined): Identity {
    const { identity, certificate } = this.#credentials
    const [leaf] = certificate.chain
    if (wanted === undefined || leaf === undefined) return identity
    return certificateCarries(new X509Certificate(leaf), wanted) ? wanted : identity
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

function eapTlsServer(certificate: GatewayCertificate, clientTrust: TrustStore): EapTlsCredentials {
  return {
    certificateChain: certificate.chain.map((der) => toPem('CERTIFICATE', der)).join(''),
    privateKey: new Secret(certificate.key.export({ format: 'pem', type: 'pkcs8' }).toString()),
    trustAnchors: clientTrust.anchors.map((der) => toPem('CERTIFICATE', der))
  }
}

/** INTERNAL_IP6_ADDRESS carries a prefix length behind the address; zero bytes mean "any". */
function preferredAddress(value: Uint8Array, family: 4 | 6): Uint8Array | undefined {
  const length = family === 4 ? 4 : 16
  const address = value.subarray(0, length)
  return address.length === length && address.some((byte) => byte !== 0) ? address : undefined
}
