/**
 * Evidence for tests of the judge: an open network, and what can be different from that.
 * @module
 */
import type {
  DnsEvidence,
  Evidence,
  FamilyEvidence,
  InitAnswerEvidence,
  PortalApiEvidence,
  PortalProbeEvidence,
  StreamEvidence,
  TlsEvidence,
  UdpEvidence,
  UdpPortEvidence
} from '../../src/diagnosis/evidence.ts'

export const GATEWAY = '203.0.113.7'
export const GATEWAY6 = '2001:db8::7'

export const ACCEPTED: InitAnswerEvidence = {
  kind: 'accepted',
  notify: null,
  suite: 'aes256gcm16-prfsha256-x25519',
  offerWasReal: true,
  fragmentation: true
}
export const REFUSED: InitAnswerEvidence = {
  kind: 'no-proposal-chosen',
  notify: 'NO_PROPOSAL_CHOSEN',
  suite: null,
  offerWasReal: false,
  fragmentation: null
}

export function udpPort(port: number, changes: Partial<UdpPortEvidence> = {}): UdpPortEvidence {
  return {
    port,
    outcome: 'answered',
    reason: null,
    icmp: null,
    answer: port === 4500 ? ACCEPTED : REFUSED,
    rtt: { minMs: 12.3, medianMs: 14, samples: 5 },
    transmissions: 1,
    ...changes
  }
}

export const SILENT: Partial<UdpPortEvidence> = {
  outcome: 'silent',
  reason: 'timeout',
  answer: null,
  rtt: null,
  transmissions: 3
}

export function udp(
  ike: Partial<UdpPortEvidence> = {},
  natT: Partial<UdpPortEvidence> = {},
  changes: Partial<UdpEvidence> = {}
): UdpEvidence {
  return {
    address: GATEWAY,
    family: 4,
    ike: udpPort(500, ike),
    natT: udpPort(4500, natT),
    nat: null,
    large: null,
    ...changes
  }
}

export function tls(changes: Partial<TlsEvidence> = {}): TlsEvidence {
  return {
    protocol: 'TLSv1.3',
    authorized: true,
    problem: null,
    issuer: "C=US, O=Let's Encrypt, CN=R11",
    subject: 'CN=vpn.example.com',
    fingerprint: '',
    anchorsGiven: false,
    ...changes
  }
}

export function stream(transport: 'tcp' | 'tls', changes: Partial<StreamEvidence> = {}): StreamEvidence {
  return {
    transport,
    via: null,
    address: GATEWAY,
    port: transport === 'tcp' ? 4500 : 443,
    outcome: 'answered',
    reason: null,
    message: null,
    openMs: 20,
    prefixAccepted: true,
    answer: REFUSED,
    rtt: { minMs: 38, medianMs: 40, samples: 3 },
    tls: transport === 'tls' ? tls() : null,
    ...changes
  }
}

export function failedStream(
  transport: 'tcp' | 'tls',
  reason: StreamEvidence['reason'],
  changes: Partial<StreamEvidence> = {}
): StreamEvidence {
  const nothing = { openMs: null, prefixAccepted: null, answer: null, rtt: null, tls: null }
  return stream(transport, {
    ...nothing,
    outcome: 'failed',
    reason,
    message: `it says ${reason}`,
    ...changes
  })
}

export function dns(changes: Partial<DnsEvidence> = {}): DnsEvidence {
  return {
    outcome: 'resolved',
    message: null,
    elapsedMs: 8,
    addresses: [{ address: GATEWAY, family: 4, scope: 'public' }],
    randomName: { name: 'x.example.com', outcome: 'not-found', addresses: [] },
    knownName: { name: 'ipv4only.arpa', outcome: 'resolved', addresses: ['192.0.0.170', '192.0.0.171'] },
    nat64: false,
    ...changes
  }
}

export function portalApi(changes: Partial<PortalApiEvidence> = {}): PortalApiEvidence {
  return {
    url: 'https://portal.example/api',
    source: 'networkd',
    outcome: 'answered',
    message: null,
    captive: true,
    userPortalUrl: 'https://portal.example/login',
    venueInfoUrl: null,
    canExtendSession: null,
    secondsRemaining: null,
    bytesRemaining: null,
    ...changes
  }
}

export function probe(
  outcome: PortalProbeEvidence['outcome'],
  changes: Partial<PortalProbeEvidence> = {}
): PortalProbeEvidence {
  return {
    url: 'http://probe.example/success.txt',
    outcome,
    status: outcome === 'expected' ? 200 : null,
    portalUrl: null,
    address: null,
    message: null,
    elapsedMs: 30,
    ...changes
  }
}

export const ROUTED: FamilyEvidence = { available: true, address: '10.0.0.2', scope: 'private', reason: null }
export const NO_ROUTE: FamilyEvidence = {
  available: false,
  address: null,
  scope: null,
  reason: 'network-unreachable'
}

/** An open network, but for the changes. */
export function evidence(changes: Partial<Evidence> = {}): Evidence {
  return {
    server: 'vpn.example.com',
    order: ['udp', 'tcp', 'tls'],
    proxy: null,
    network: { ipv4: ROUTED, ipv6: NO_ROUTE },
    dns: dns(),
    udp: [udp()],
    streams: [stream('tcp'), stream('tls')],
    portal: { api: null, probe: probe('expected') },
    complete: true,
    ...changes
  }
}
