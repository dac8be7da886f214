import { describe, expect, it } from 'vitest'
import { statusLines } from '../../../src/cli/status-text.ts'
import type { SessionStatus } from '../../../src/client/session-status.ts'
import { PumpCounters } from '../../../src/dataplane/stats.ts'
import { IN_USE, notInUse } from '../../../src/native/speedups.ts'
import { NO_FACTS } from '../../../src/transport/types.ts'
import { streamFaults } from '../../../src/wire/frame-fate.ts'
import { schemaFaults, shippedSchema } from '../../support/json-schema.ts'

const STARTED = '2026-06-01T10:00:00.000Z'
const NOW = Date.parse(STARTED) + 3_725_000

const ike = {
  ...{ uniqueid: 1, version: 2, state: 'ESTABLISHED', initiator: true, established: 3600, lifeTime: 14_000 },
  ...{
    localHost: '10.0.0.2',
    localPort: 50_000,
    localId: 'alice',
    remoteHost: '203.0.113.1',
    remotePort: 443
  },
  ...{ remoteId: 'gw.example.com', initiatorSpi: '0123456789abcdef', responderSpi: 'fedcba9876543210' },
  ...{ natLocal: true, natRemote: false, natAny: true, encrAlg: 'AES_CBC', encrKeysize: 256 },
  ...{ integAlg: 'HMAC_SHA2_256_128', prfAlg: 'PRF_HMAC_SHA2_256', dhGroup: 'ECP_256', rekeyTime: 7265 },
  ...{ localVips: ['10.99.0.2'], tasksQueued: [], tasksActive: [] },
  childSas: [
    {
      ...{ uniqueid: 2, reqid: 1, state: 'INSTALLED', mode: 'TUNNEL', protocol: 'ESP', encap: true },
      ...{ spiIn: 'c0000001', spiOut: 'c0000002', encrAlg: 'CHACHA20_POLY1305', encrKeysize: null },
      ...{
        integAlg: null,
        dhGroup: null,
        esn: false,
        bytesIn: 10,
        packetsIn: 1,
        bytesOut: 20,
        packetsOut: 2
      },
      ...{ rekeyTime: 59, lifeTime: 300, installTime: 10, localTs: ['10.99.0.2/32'], remoteTs: ['0.0.0.0/0'] }
    }
  ]
} as const satisfies SessionStatus['ikeSas'][number]

const status: SessionStatus = {
  ...{ name: 'work', runBy: 'connect', pid: 4242, state: 'connected', server: 'vpn.example.com' },
  ...{ startedAt: STARTED, connectedAt: STARTED, reconnects: 1, transport: 'tls', via: 'http://proxy:3128' },
  ...{ gateway: '203.0.113.1', gatewayId: 'gw.example.com', localId: 'alice', outerTls: null },
  ...{ interface: 'ike0', netns: null, mtu: 1400, virtualIps: ['10.99.0.2'], dns: ['10.99.0.53'] },
  ...{ dnsMode: 'resolvectl', ikeSuite: null, espSuite: null, mobike: true, cluster: true },
  resumption: { resumed: false, ticketValidMs: null },
  liveness: { lastHeardMs: 2400, rttMs: 23.5, intervalMs: 30_000 },
  traffic: {
    ...{ bytesIn: 12_345_678, packetsIn: 9000, bytesOut: 999, packetsOut: 1 },
    dropped: { ...new PumpCounters().dropped, replayed: 2, outsideSelectors: 1 }
  },
  streams: { unknownSpi: 12, failedChecks: 0, malformed: 0, resynchronised: 1, corrupted: 0 },
  dataPath: {
    cipher: { backend: 'node', libcrypto: notInUse('koffi is missing') },
    tun: { checksum: IN_USE, tcp: IN_USE, udp: notInUse('the kernel has no USO') },
    transport: { ...NO_FACTS, congestionControl: 'bbr', unsentBytes: 131_072 }
  },
  rungs: [
    {
      ...{ transport: 'udp', via: null, address: '203.0.113.1', outcome: 'failed', reason: 'timeout' },
      ...{ message: 'IKE_SA_INIT was not answered', elapsedMs: 2500 }
    }
  ],
  pathChanges: [{ time: STARTED, from: 'udp', to: 'tls', reason: 'peer-silent', outageMs: 1405 }],
  notes: ['there is a route to 10.0.0.0/8 already; it stays outside the tunnel'],
  ikeSas: [ike]
}

describe('the status of a session for people', () => {
  it('says everything that there is to say', () => {
    const time = new Date(STARTED).toLocaleTimeString('en-GB')
    expect(statusLines(status, NOW)).toEqual([
      'work: connected over TLS through http://proxy:3128 for 1 h 2 min',
      '  gateway     203.0.113.1 (gw.example.com), as alice, MOBIKE, cluster',
      '  tunnel      ike0, 10.99.0.2, MTU 1400',
      '              DNS 10.99.0.53 (resolvectl)',
      '  traffic     12.3 MB in (9000 packets)',
      '              999 B out (1 packet)',
      '              dropped: 1 outside selectors, 2 replayed',
      '              streams: 12 unknown spi, 1 resynchronised',
      '  liveness    heard 2 s ago, round trip 23.5 ms',
      '  IKE SA      ESTABLISHED, AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_256, SPIs 0123456789abcdef_i fedcba9876543210_r, rekeying in 2 h 1 min, NAT in front of us',
      '  Child SA    INSTALLED, CHACHA20_POLY1305, SPIs c0000001_in c0000002_out, rekeying in 59 s, 10.99.0.2/32 to 0.0.0.0/0',
      '  data path   TUN checksums, TUN super-packets of TCP, TCP bbr',
      '              without OpenSSL called directly: koffi is missing',
      '              without TUN super-packets of UDP: the kernel has no USO',
      '  tried       UDP to 203.0.113.1 failed: IKE_SA_INIT was not answered (2.50 s)',
      `  paths       ${time} UDP → TLS (peer-silent), outage 1405 ms`,
      '  notes       there is a route to 10.0.0.0/8 already; it stays outside the tunnel',
      '  process     4242 (connect)'
    ])
  })

  it('shows rates where they are known', () => {
    const lines = statusLines(status, NOW, { inPerSecond: 2_500_000, outPerSecond: 10 })
    expect(lines).toContain('  traffic     12.3 MB in (9000 packets), 2.5 MB/s')
    expect(lines).toContain('              999 B out (1 packet), 10 B/s')
  })

  it('is short where there is little to say', () => {
    const nothing = { gateway: null, gatewayId: null, transport: null, via: null, connectedAt: null } as const
    const empty = { virtualIps: [], dns: [], rungs: [], pathChanges: [], notes: [], ikeSas: [] }
    const early: SessionStatus = {
      ...{ ...status, ...nothing, ...empty, state: 'connecting' },
      ...{ liveness: { lastHeardMs: null, rttMs: null, intervalMs: 0 } },
      traffic: { ...status.traffic, dropped: new PumpCounters().dropped },
      streams: streamFaults()
    }
    expect(statusLines(early, Date.parse(STARTED) + 300)).toEqual([
      'work: connecting, begun just now',
      '  gateway     vpn.example.com',
      '  tunnel      ike0, MTU 1400',
      '  traffic     12.3 MB in (9000 packets)',
      '              999 B out (1 packet)',
      '  data path   TUN checksums, TUN super-packets of TCP, TCP bbr',
      '              without OpenSSL called directly: koffi is missing',
      '              without TUN super-packets of UDP: the kernel has no USO',
      '  process     4242 (connect)'
    ])
  })
})

describe('the schema of status --json', () => {
  const schema = shippedSchema('status.schema.json')
  const document = { schemaVersion: 1, time: STARTED, sessions: [status] }

  it('describes a session', () => {
    expect(schemaFaults(schema, document)).toEqual([])
  })

  it.each([
    ['a missing field', { schemaVersion: 1, time: STARTED }, '$.sessions: is missing'],
    ['another version', { ...document, schemaVersion: 2 }, '$.schemaVersion: 2 is not 1'],
    ['a field that it does not know', { ...document, extra: 1 }, '$.extra: is not in the schema'],
    ['a time that is none', { ...document, time: 'noon' }, '$.time: "noon" is no date-time'],
    [
      'a state that there is not',
      { ...document, sessions: [{ ...status, state: 'asleep' }] },
      '$.sessions[0].state: "asleep" is none of ["connecting","connected","reconnecting","disconnecting"]'
    ],
    [
      'a wrong SPI',
      { ...document, sessions: [{ ...status, ikeSas: [{ ...ike, initiatorSpi: 'xyz' }] }] },
      '$.sessions[0].ikeSas[0].initiatorSpi: "xyz" does not match ^([0-9a-f]{16})?$'
    ]
  ])('finds %s', (_what, wrong, fault) => {
    expect(schemaFaults(schema, wrong)).toEqual([fault])
  })
})
