/**
 * What is known of a network and of a gateway behind it: plain data, gathered by `check` on purpose and by `connect` on its
 * way up the ladder. `judge.ts` makes a verdict of it.
 *
 * Names and values stand in `check --json` as they are here (schema/check.schema.json). Whatever could not be found out is
 * null or `unknown`: nothing is guessed.
 * @module
 */
import type { TransportFailureCode } from '../transport/types.ts'
import type { TransportKind } from '../wire/endpoint.ts'

export type Family = 4 | 6

/** Which addresses there are of a family: RFC 1918 and RFC 4193, RFC 6598, loopback, RFC 3927 and RFC 4291, or the rest. */
export type AddressScope = 'public' | 'private' | 'shared' | 'loopback' | 'link-local'

/** How this machine is attached, for one address family. */
export interface FamilyEvidence {
  /** There is a route towards the gateway, or to the Internet where the gateway has no address of this family. */
  readonly available: boolean
  /** Own address on that route. */
  readonly address: string | null
  readonly scope: AddressScope | null
  /** Why there is no route: `network-unreachable` and the like. */
  readonly reason: string | null
}

export interface NetworkEvidence {
  readonly ipv4: FamilyEvidence
  readonly ipv6: FamilyEvidence
}

export interface ResolvedAddress {
  readonly address: string
  readonly family: Family
  readonly scope: AddressScope
}

/** What came of asking for a name of which the true answer is known. */
export interface ControlName {
  readonly name: string
  readonly outcome: 'resolved' | 'not-found' | 'failed' | 'timeout'
  readonly addresses: readonly string[]
}

export interface DnsEvidence {
  /** `literal`: the gateway was given by its address, and nothing was asked. */
  readonly outcome: 'resolved' | 'literal' | 'not-found' | 'failed' | 'timeout'
  /** One sentence, for anything but success. */
  readonly message: string | null
  readonly elapsedMs: number | null
  readonly addresses: readonly ResolvedAddress[]
  /** A random name below example.com, which does not exist (RFC 2606). */
  readonly randomName: ControlName | null
  /** ipv4only.arpa, which is 192.0.0.170 and 192.0.0.171 everywhere (RFC 7050). */
  readonly knownName: ControlName | null
  /** IPv6 addresses for ipv4only.arpa: there is a NAT64 (RFC 7050 section 3). */
  readonly nat64: boolean | null
}

export type InitAnswerKind =
  | 'accepted'
  | 'cookie'
  | 'invalid-ke-payload'
  | 'no-proposal-chosen'
  | 'other-error'
  | 'other-version'

/** What the gateway said to IKE_SA_INIT. Any answer proves that it is reached. */
export interface InitAnswerEvidence {
  readonly kind: InitAnswerKind
  /** Name of the error notify, or null. */
  readonly notify: string | null
  /** To what was really offered: the suite that was chosen. Null when only an offer that nobody accepts was answered. */
  readonly suite: string | null
  /** What was offered is what `connect` would offer: `no-proposal-chosen` then says that it would fail. */
  readonly offerWasReal: boolean
  readonly fragmentation: boolean | null
}

export interface RoundTrip {
  readonly minMs: number
  readonly medianMs: number
  readonly samples: number
}

/** An ICMP error that came back, from whom. */
export interface IcmpEvidence {
  readonly family: Family
  readonly type: number
  readonly code: number
  /** `port-unreachable`, `administratively-prohibited` and so on. */
  readonly name: string
  readonly from: string | null
}

export interface UdpPortEvidence {
  readonly port: number
  /** `failed`: nothing could be sent. `skipped`: not asked. */
  readonly outcome: 'answered' | 'silent' | 'rejected' | 'failed' | 'skipped'
  readonly reason: TransportFailureCode | null
  readonly icmp: IcmpEvidence | null
  readonly answer: InitAnswerEvidence | null
  readonly rtt: RoundTrip | null
  /** Requests that were sent until the first answer came, or in all. */
  readonly transmissions: number
}

export interface NatEvidence {
  /** Our address or port looks different from the gateway. */
  readonly present: boolean
  /** The gateway announces another address than we reach it at; some do so on purpose. */
  readonly gatewayBehindNat: boolean
  readonly localAddress: string
  readonly localPort: number
  /** Given by the user, and proved by the gateway's hash; else null. */
  readonly publicAddress: string | null
  /** The mapped ports that the gateway's hashes prove for that address, by its own port. */
  readonly mappedPorts: readonly { readonly gatewayPort: number; readonly port: number }[]
  readonly portPreserved: boolean | null
  /** One local port becomes different ones for different ports of the gateway. */
  readonly mappingVaries: boolean | null
}

export interface LargeProbe {
  /** Length of the whole IP packet, or of all its fragments' packet put together. */
  readonly ipBytes: number
  readonly fragmented: boolean
  /** `refused`: the kernel or a router says that it is too big. */
  readonly outcome: 'answered' | 'lost' | 'refused'
}

/** Large IKE messages towards the gateway. What comes back is small: the way back is not tested. */
export interface LargeMessageEvidence {
  readonly port: number
  /** MTU of the own link on this path. */
  readonly linkMtu: number
  readonly probes: readonly LargeProbe[]
  /** Largest packet that arrived in one piece; null when none did that was larger than the smallest question. */
  readonly pathMtu: number | null
  /** A router said "packet too big", and which size it takes. */
  readonly announcedMtu: number | null
  readonly fragments: 'pass' | 'lost' | 'unknown'
}

export interface UdpEvidence {
  readonly address: string
  readonly family: Family
  /** Port 500; the same as `natT` where both are one port. */
  readonly ike: UdpPortEvidence
  readonly natT: UdpPortEvidence
  readonly nat: NatEvidence | null
  readonly large: LargeMessageEvidence | null
}

export interface TlsEvidence {
  readonly protocol: string
  /** The certificate chains to the trust anchors in use and carries the expected name. */
  readonly authorized: boolean
  /** Stable code of what is wrong with it. */
  readonly problem: string | null
  readonly issuer: string
  readonly subject: string
  readonly fingerprint: string
  /** The user named the CAs of the gateway: a certificate of another one is not the gateway's. */
  readonly anchorsGiven: boolean
}

export interface StreamEvidence {
  readonly transport: Exclude<TransportKind, 'udp'>
  /** Proxy without credentials, or null. */
  readonly via: string | null
  /** An address, or the gateway's name where a proxy resolves it. */
  readonly address: string
  readonly port: number
  /** `silent`: it opened, and nobody speaks IKE there. */
  readonly outcome: 'answered' | 'silent' | 'failed' | 'skipped'
  readonly reason: TransportFailureCode | null
  readonly message: string | null
  /** Until TCP (and the proxy) was through; until TLS was. */
  readonly openMs: number | null
  /** The connection stayed open behind the RFC 9329 prefix, or IKE was answered. */
  readonly prefixAccepted: boolean | null
  readonly answer: InitAnswerEvidence | null
  /** Of IKE, through the stream. */
  readonly rtt: RoundTrip | null
  readonly tls: TlsEvidence | null
}

/** RFC 8908. */
export interface PortalApiEvidence {
  readonly url: string
  /** Who knew it: the user, or the system's lease. */
  readonly source: 'option' | 'networkd' | 'networkmanager' | 'dhclient'
  readonly outcome: 'answered' | 'failed' | 'unrestricted'
  readonly message: string | null
  readonly captive: boolean | null
  readonly userPortalUrl: string | null
  readonly venueInfoUrl: string | null
  readonly canExtendSession: boolean | null
  readonly secondsRemaining: number | null
  readonly bytesRemaining: number | null
}

export interface PortalProbeEvidence {
  readonly url: string
  /**
   * `expected`: the answer of the genuine server. `portal-redirect`, `portal-page`, `login-required` (RFC 6585 section 6):
   * somebody else's. `unexpected`: an answer that could be anybody's. The rest: no answer.
   */
  readonly outcome:
    | 'expected'
    | 'portal-redirect'
    | 'portal-page'
    | 'login-required'
    | 'unexpected'
    | 'silent'
    | 'refused'
    | 'name-failed'
    | 'unreachable'
  readonly status: number | null
  /** Where the answer leads. */
  readonly portalUrl: string | null
  /** Who answered. */
  readonly address: string | null
  readonly message: string | null
  readonly elapsedMs: number
}

export interface PortalEvidence {
  readonly api: PortalApiEvidence | null
  /** Null when it was switched off, or not needed. */
  readonly probe: PortalProbeEvidence | null
}

export interface Evidence {
  /** As the user typed it. */
  readonly server: string
  /** Transports, best first; those that are not named were not asked for. */
  readonly order: readonly TransportKind[]
  /** The proxy that `connect` would take, without credentials. */
  readonly proxy: string | null
  readonly network: NetworkEvidence | null
  readonly dns: DnsEvidence | null
  readonly udp: readonly UdpEvidence[]
  readonly streams: readonly StreamEvidence[]
  readonly portal: PortalEvidence | null
  /** False when time was up before everything had its chance. */
  readonly complete: boolean
}
