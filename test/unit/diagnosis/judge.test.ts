import { describe, expect, it } from 'vitest'
import { type CheckDocument, checkDocument } from '../../../src/check/document.ts'
import type { Evidence, IcmpEvidence } from '../../../src/diagnosis/evidence.ts'
import { judge } from '../../../src/diagnosis/judge.ts'
import type { Verdict } from '../../../src/diagnosis/verdict.ts'
import {
  dns,
  evidence,
  failedStream,
  GATEWAY,
  GATEWAY6,
  NO_ROUTE,
  portalApi,
  probe,
  ROUTED,
  SILENT,
  stream,
  tls,
  udp
} from '../../support/evidence.ts'
import { schemaFaults, shippedSchema } from '../../support/json-schema.ts'

/** A network, what is to be said of it, and how a script sees it. */
interface Case {
  readonly network: string
  readonly evidence: Partial<Evidence>
  readonly code: Verdict['code']
  readonly exitCode: number
  readonly says: string | RegExp
  readonly hint?: RegExp | null
  readonly portal?: Verdict['portal']['state']
  readonly findings?: readonly string[]
}

const DROPPED = [udp(SILENT, SILENT)]
const DEAD = [failedStream('tcp', 'timeout'), failedStream('tls', 'timeout')]
const REJECTED = { ...SILENT, outcome: 'rejected', reason: 'port-unreachable' } as const
const prohibited: IcmpEvidence = {
  family: 4,
  type: 3,
  code: 13,
  name: 'administratively-prohibited',
  from: '10.0.0.1'
}
const PROXY = 'http://proxy:3128'
const viaProxy = { via: PROXY, address: 'vpn.example.com' }
const NOT_TRUSTED = tls({
  authorized: false,
  problem: 'SELF_SIGNED_CERT_IN_CHAIN',
  issuer: 'O=Nosy Inc, CN=Nosy Root'
})
const silentTls = (changes: Parameters<typeof stream>[1] = {}) =>
  stream('tls', {
    outcome: 'silent',
    reason: 'closed-by-peer',
    message: 'The peer closed the connection',
    prefixAccepted: false,
    answer: null,
    rtt: null,
    ...changes
  })

const CASES: readonly Case[] = [
  {
    network: 'open',
    evidence: {},
    code: 'reachable',
    exitCode: 0,
    says: 'UDP works, 12 ms; connect will use it',
    hint: null,
    portal: 'open',
    findings: []
  },
  {
    network: 'a very near gateway',
    evidence: { udp: [udp({}, { rtt: { minMs: 0.42, medianMs: 1, samples: 3 } })] },
    code: 'reachable',
    exitCode: 0,
    says: 'UDP works, 0.4 ms; connect will use it'
  },
  {
    network: 'UDP dropped',
    evidence: { udp: DROPPED },
    code: 'reachable',
    exitCode: 0,
    says: 'UDP is blocked on this network; TCP 4500 works, 38 ms; connect will use it'
  },
  {
    network: 'UDP prohibited by a router',
    evidence: { udp: [udp({ ...REJECTED, icmp: prohibited }, { ...REJECTED, icmp: prohibited })] },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP is refused by 10\.0\.0\.1 \(administratively prohibited\); TCP 4500 works/
  },
  {
    network: 'a gateway without UDP',
    evidence: {
      udp: [
        udp(
          { ...REJECTED, icmp: { ...prohibited, code: 3, name: 'port-unreachable', from: GATEWAY } },
          REJECTED
        )
      ]
    },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP is refused by the gateway itself \(port unreachable\); TCP 4500 works/
  },
  {
    network: 'only port 500',
    evidence: { udp: [udp({}, SILENT)] },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP 4500 is blocked, only 500 passes; TCP 4500 works/,
    findings: ['udp-4500-blocked']
  },
  {
    network: 'only port 4500 of UDP, and no stream',
    evidence: { udp: [udp(SILENT)], streams: DEAD },
    code: 'udp-incomplete',
    exitCode: 69,
    says: 'UDP 500 is blocked, only 4500 passes; TCP 4500 is blocked; TLS 443 is blocked',
    hint: /--udp-port 4500/,
    findings: ['udp-500-blocked']
  },
  {
    network: 'one address that works of two',
    evidence: {
      dns: dns({
        addresses: [
          { address: GATEWAY6, family: 6, scope: 'public' },
          { address: GATEWAY, family: 4, scope: 'public' }
        ]
      }),
      udp: [udp(SILENT, SILENT, { address: GATEWAY6, family: 6 }), udp()],
      streams: [failedStream('tcp', 'timeout', { address: GATEWAY6 }), stream('tcp')]
    },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP works/,
    findings: ['ipv6-broken']
  },
  {
    network: 'UDP and TCP 4500 blocked',
    evidence: { udp: DROPPED, streams: [failedStream('tcp', 'connection-refused'), stream('tls')] },
    code: 'reachable',
    exitCode: 0,
    says: 'UDP is blocked on this network; TCP 4500 is refused; TLS 443 works, 38 ms; connect will use it'
  },
  {
    network: 'only TCP was asked for',
    evidence: { order: ['tcp'], udp: [], streams: [stream('tcp')] },
    code: 'reachable',
    exitCode: 0,
    says: 'TCP 4500 works, 38 ms; connect will use it'
  },
  {
    network: 'TLS intercepted, and IKE passes all the same',
    evidence: {
      order: ['tls'],
      udp: [],
      streams: [stream('tls', { tls: { ...NOT_TRUSTED, anchorsGiven: true } })]
    },
    code: 'reachable',
    exitCode: 0,
    says: /^TLS 443 works/,
    findings: ['tls-intercepted']
  },
  {
    network: 'a gateway with a certificate of its own making',
    evidence: { order: ['tls'], udp: [], streams: [stream('tls', { tls: NOT_TRUSTED })] },
    code: 'reachable',
    exitCode: 0,
    says: /^TLS 443 works/,
    findings: ['tls-untrusted']
  },
  {
    network: 'TLS intercepted',
    evidence: {
      udp: DROPPED,
      streams: [failedStream('tcp', 'timeout'), silentTls({ tls: NOT_TRUSTED })]
    },
    code: 'no-ike',
    exitCode: 69,
    says: 'UDP is blocked on this network; TCP 4500 is blocked; TLS 443 is intercepted by Nosy Inc (Nosy Root)',
    hint: /reads along/,
    findings: ['tls-intercepted']
  },
  {
    network: 'a web server where the gateway should be',
    evidence: {
      udp: [udp(REJECTED, REJECTED)],
      streams: [failedStream('tcp', 'connection-refused'), silentTls()]
    },
    code: 'no-ike',
    exitCode: 69,
    says: 'UDP is refused; TCP 4500 is refused; TLS 443 opens, but nobody speaks IKE there',
    hint: /relay/
  },
  {
    network: 'an expired certificate is no interception',
    evidence: {
      udp: DROPPED,
      streams: [silentTls({ tls: { ...NOT_TRUSTED, problem: 'CERT_HAS_EXPIRED' } })]
    },
    code: 'no-ike',
    exitCode: 69,
    says: /TLS 443 opens, but nobody speaks IKE there/,
    findings: ['tls-untrusted']
  },
  {
    network: 'a gateway that takes none of our suites',
    evidence: {
      udp: [udp({}, { answer: { ...(udp().ike.answer ?? never()), offerWasReal: true } })]
    },
    code: 'reachable',
    exitCode: 0,
    says: 'UDP works, 12 ms; but the gateway accepts none of the suites that connect would offer',
    findings: ['no-proposal-chosen']
  },
  {
    network: 'a captive portal',
    evidence: {
      udp: DROPPED,
      streams: DEAD,
      portal: {
        api: null,
        probe: probe('portal-redirect', { portalUrl: 'http://hotel.example/login', status: 302 })
      }
    },
    code: 'captive-portal',
    exitCode: 80,
    says: 'A captive portal is in the way at http://hotel.example/login: nothing passes before somebody has logged in there',
    hint: /Open http:\/\/hotel\.example\/login in a browser/,
    portal: 'portal'
  },
  {
    network: 'a captive portal that lets the gateway through',
    evidence: {
      portal: { api: null, probe: probe('portal-page', { status: 200 }) }
    },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP works/,
    portal: 'portal',
    findings: ['captive-portal']
  },
  {
    network: 'a captive portal that says so itself',
    evidence: { udp: DROPPED, streams: DEAD, portal: { api: portalApi(), probe: probe('silent') } },
    code: 'captive-portal',
    exitCode: 80,
    says: /https:\/\/portal\.example\/login/,
    portal: 'portal'
  },
  {
    network: 'a captive portal that hides names, too',
    evidence: {
      dns: dns({ outcome: 'not-found', addresses: [], message: 'no such name' }),
      udp: [],
      streams: [],
      portal: { api: null, probe: probe('login-required', { status: 511 }) }
    },
    code: 'captive-portal',
    exitCode: 80,
    says: /http:\/\/probe\.example/
  },
  {
    network: 'a session at a portal that ends soon',
    evidence: {
      portal: { api: portalApi({ captive: false, secondsRemaining: 300 }), probe: probe('expected') }
    },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP works/,
    portal: 'open',
    findings: ['captive-portal-session']
  },
  {
    network: 'a web that answers oddly',
    evidence: {
      udp: DROPPED,
      streams: DEAD,
      portal: { api: null, probe: probe('unexpected', { status: 403 }) }
    },
    code: 'gateway-silent',
    exitCode: 69,
    says: /over no transport/,
    hint: /portal to log in to/,
    portal: 'suspected',
    findings: ['captive-portal-suspected']
  },
  {
    network: 'nothing but names',
    evidence: { udp: DROPPED, streams: DEAD, portal: { api: null, probe: probe('silent') } },
    code: 'walled',
    exitCode: 69,
    says: /lets almost nothing out/,
    hint: /--proxy/,
    portal: 'walled'
  },
  {
    network: 'an open Internet and a dead gateway',
    evidence: { udp: DROPPED, streams: DEAD },
    code: 'gateway-silent',
    exitCode: 69,
    says: 'The gateway answers over no transport: UDP is blocked on this network; TCP 4500 is blocked; TLS 443 is blocked',
    hint: /Internet is reachable/
  },
  {
    network: 'nobody asked about portals',
    evidence: { udp: DROPPED, streams: DEAD, portal: null, dns: null },
    code: 'gateway-silent',
    exitCode: 69,
    says: /over no transport/,
    portal: 'unknown'
  },
  {
    network: 'a host that refuses everything',
    evidence: {
      udp: [udp(REJECTED, REJECTED)],
      streams: [failedStream('tcp', 'connection-refused'), failedStream('tls', 'connection-refused')]
    },
    code: 'refused',
    exitCode: 69,
    says: 'The host vpn.example.com refuses everything: UDP is refused; TCP 4500 is refused; TLS 443 is refused',
    hint: /not running/
  },
  {
    network: 'no network',
    evidence: {
      network: { ipv4: NO_ROUTE, ipv6: NO_ROUTE },
      dns: dns({ outcome: 'failed', addresses: [], knownName: null, randomName: null }),
      udp: [],
      streams: [],
      portal: { api: null, probe: probe('unreachable') }
    },
    code: 'offline',
    exitCode: 69,
    says: /no network is connected/,
    portal: 'offline'
  },
  {
    network: 'every rung says that there is no route (connect does not look at routes)',
    evidence: {
      network: null,
      dns: null,
      udp: [
        udp(
          { ...SILENT, outcome: 'failed', reason: 'network-unreachable' },
          { ...SILENT, outcome: 'skipped' }
        )
      ],
      streams: [failedStream('tcp', 'network-unreachable')],
      portal: null
    },
    code: 'offline',
    exitCode: 69,
    says: /no network is connected/
  },
  {
    network: 'IPv6 only, and a gateway without',
    evidence: {
      network: { ipv4: NO_ROUTE, ipv6: ROUTED },
      dns: dns({ nat64: true }),
      udp: [
        udp({ ...SILENT, outcome: 'failed', reason: 'network-unreachable' }, { ...SILENT, outcome: 'failed' })
      ],
      streams: [failedStream('tcp', 'network-unreachable'), failedStream('tls', 'network-unreachable')]
    },
    code: 'no-route',
    exitCode: 69,
    says: 'The gateway has IPv4 addresses only, and this machine has IPv6 only',
    hint: /NAT64/,
    findings: ['nat64']
  },
  {
    network: 'a name that does not exist',
    evidence: { dns: dns({ outcome: 'not-found', addresses: [] }), udp: [], streams: [] },
    code: 'name-not-found',
    exitCode: 68,
    says: 'The name vpn.example.com does not exist',
    hint: /spelling/
  },
  {
    network: 'a silent name server',
    evidence: {
      dns: dns({ outcome: 'timeout', addresses: [], knownName: null, randomName: null }),
      udp: [],
      streams: []
    },
    code: 'name-lookup-failed',
    exitCode: 68,
    says: /no name server answers/
  },
  {
    network: 'a name that only the proxy knows',
    evidence: {
      proxy: PROXY,
      dns: dns({ outcome: 'not-found', addresses: [] }),
      udp: [],
      streams: [stream('tcp', viaProxy)]
    },
    code: 'reachable',
    exitCode: 0,
    says: 'TCP 4500 through http://proxy:3128 works, 38 ms; connect will use it'
  },
  {
    network: 'a name server with one answer for everything',
    evidence: {
      dns: dns({
        addresses: [{ address: '10.0.0.1', family: 4, scope: 'private' }],
        randomName: { name: 'x.example.com', outcome: 'resolved', addresses: ['10.0.0.1'] },
        knownName: { name: 'ipv4only.arpa', outcome: 'resolved', addresses: ['10.0.0.1'] }
      }),
      udp: DROPPED,
      streams: DEAD
    },
    code: 'gateway-silent',
    exitCode: 69,
    says: /over no transport/,
    findings: ['dns-hijacked', 'private-address']
  },
  {
    network: 'a name server that invents addresses for missing names',
    evidence: {
      dns: dns({ randomName: { name: 'x.example.com', outcome: 'resolved', addresses: ['198.51.100.9'] } })
    },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP works/,
    findings: ['dns-rewrites']
  },
  {
    network: 'only a proxy leads out',
    evidence: {
      proxy: PROXY,
      udp: DROPPED,
      streams: [stream('tcp', viaProxy), stream('tls', viaProxy), ...DEAD]
    },
    code: 'reachable',
    exitCode: 0,
    says: 'UDP is blocked on this network; TCP 4500 through http://proxy:3128 works, 38 ms; connect will use it'
  },
  {
    network: 'a proxy that refuses',
    evidence: {
      proxy: PROXY,
      udp: DROPPED,
      streams: [
        failedStream('tcp', 'proxy-auth-required', {
          ...viaProxy,
          message: 'The proxy wants credentials (407)'
        }),
        failedStream('tls', 'proxy-auth-required', viaProxy),
        ...DEAD
      ]
    },
    code: 'proxy-problem',
    exitCode: 69,
    says: /the proxy does not lead to the gateway: The proxy wants credentials \(407\)$/,
    hint: /HTTPS_PROXY/,
    findings: ['proxy-auth-required', 'proxy-auth-required']
  },
  {
    network: 'a proxy in the way of what would work',
    evidence: {
      proxy: PROXY,
      udp: DROPPED,
      streams: [failedStream('tcp', 'proxy-unreachable', viaProxy), stream('tcp')]
    },
    code: 'only-without-proxy',
    exitCode: 69,
    says: 'Nothing works through the proxy http://proxy:3128, but TCP 4500 works without it',
    hint: /--no-proxy/
  },
  {
    network: 'a second proxy that would work',
    evidence: {
      proxy: PROXY,
      udp: DROPPED,
      streams: [
        failedStream('tcp', 'proxy-refused', viaProxy),
        stream('tcp', { ...viaProxy, via: 'socks5://other:1080' })
      ]
    },
    code: 'only-through-proxy',
    exitCode: 69,
    says: /TCP 4500 through socks5:\/\/other:1080 works/,
    hint: /--proxy socks5:\/\/other:1080/
  },
  {
    network: 'time was up',
    evidence: { udp: DROPPED, streams: DEAD, portal: null, complete: false },
    code: 'unfinished',
    exitCode: 75,
    says: /time was up/i,
    hint: /--timeout/
  },
  {
    network: 'fragments lost',
    evidence: {
      udp: [
        udp(
          {},
          {},
          {
            large: {
              port: 4500,
              linkMtu: 1500,
              probes: [],
              pathMtu: 1500,
              announcedMtu: null,
              fragments: 'lost'
            }
          }
        )
      ]
    },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP works/,
    findings: ['fragments-lost']
  },
  {
    network: 'a path MTU that nobody tells of, behind a NAT that varies',
    evidence: {
      udp: [
        udp(
          {},
          {},
          {
            large: {
              port: 4500,
              linkMtu: 1500,
              probes: [],
              pathMtu: 1340,
              announcedMtu: null,
              fragments: 'unknown'
            },
            nat: {
              present: true,
              gatewayBehindNat: false,
              localAddress: '10.0.0.2',
              localPort: 40_000,
              publicAddress: '198.51.100.1',
              mappedPorts: [
                { gatewayPort: 500, port: 1 },
                { gatewayPort: 4500, port: 2 }
              ],
              portPreserved: false,
              mappingVaries: true
            }
          }
        )
      ]
    },
    code: 'reachable',
    exitCode: 0,
    says: /^UDP works/,
    findings: ['path-mtu-black-hole', 'nat-varies']
  }
]

function never(): never {
  throw new Error('the factory always has an answer')
}

describe('the judge', () => {
  const schema = shippedSchema('check.schema.json')

  it.each(CASES)('says of $network: $code, exit code $exitCode', (one) => {
    const given = evidence(one.evidence)
    const verdict = judge(given)
    expect(verdict).toMatchObject({ code: one.code, exitCode: one.exitCode, works: one.exitCode === 0 })
    if (typeof one.says === 'string') expect(verdict.sentence).toBe(one.says)
    else expect(verdict.sentence).toMatch(one.says)
    expect(verdict.sentence).not.toMatch(/undefined|null|\.$/)
    if (one.hint === null) expect(verdict.hint).toBeNull()
    else if (one.hint !== undefined) expect(verdict.hint).toMatch(one.hint)
    if (one.portal !== undefined) expect(verdict.portal.state).toBe(one.portal)
    if (one.findings !== undefined) expect(verdict.findings.map(({ code }) => code)).toEqual(one.findings)
    expect(schemaFaults(schema, document(given, verdict))).toEqual([])
  })

  it('says what is to be done wherever nothing works', () => {
    for (const one of CASES) {
      const { works, hint } = judge(evidence(one.evidence))
      if (!works) expect(hint, one.network).toMatch(/\S/)
    }
  })

  it('is sure of nothing without evidence', () => {
    const verdict = judge(
      evidence({ network: null, dns: null, udp: [], streams: [], portal: null, order: ['udp'] })
    )
    expect(verdict).toMatchObject({ works: false, exitCode: 69, dns: 'unknown', best: null })
    expect(verdict.portal.state).toBe('unknown')
  })

  function document(given: Evidence, verdict: Verdict): CheckDocument {
    const nothing = { proposals: null, authentication: null, bandwidth: null }
    return checkDocument(given, verdict, nothing, { time: new Date(0), durationMs: 12.5 })
  }
})
