import { describe, expect, it } from 'vitest'
import type { Depth } from '../../../src/check/depth.ts'
import { type CheckDocument, checkDocument } from '../../../src/check/document.ts'
import { checkLines } from '../../../src/cli/check-table.ts'
import { stateOf, watchChecks } from '../../../src/cli/check-watch.ts'
import type { Evidence } from '../../../src/diagnosis/evidence.ts'
import { judge } from '../../../src/diagnosis/judge.ts'
import {
  ACCEPTED,
  dns,
  evidence,
  failedStream,
  probe,
  SILENT,
  stream,
  tls,
  udp
} from '../../support/evidence.ts'
import { schemaFaults, shippedSchema } from '../../support/json-schema.ts'

const NO_DEPTH: Depth = { proposals: null, authentication: null, bandwidth: null }
const AUTHENTICATED: NonNullable<Depth['authentication']> = {
  outcome: 'authenticated',
  code: null,
  message: null,
  hint: null,
  exitCode: 0,
  elapsedMs: 120,
  transport: 'udp',
  via: null,
  gatewayId: 'vpn.example.com',
  localId: 'alice',
  virtualIps: ['10.99.0.2'],
  dns: ['10.99.0.53'],
  remoteTs: ['0.0.0.0/0'],
  ikeSuite: 'aes256gcm16-prfsha256-x25519',
  espSuite: 'aes256gcm16',
  esp: {
    outcome: 'passes',
    host: '10.99.0.53',
    answersEcho: true,
    rtt: { minMs: 13, medianMs: 13.2, samples: 5 }
  }
}

function document(changes: Partial<Evidence> = {}, depth: Depth = NO_DEPTH): CheckDocument {
  const given = evidence(changes)
  return checkDocument(given, judge(given), depth, { time: new Date(0), durationMs: 1234.5 })
}

const text = (given: CheckDocument): string[] => checkLines(given, (mark) => `<${mark}>`)

describe('what a check looks like to people', () => {
  it('is a sentence, then a table', () => {
    expect(text(document())).toEqual([
      'UDP works, 12 ms; connect will use it.',
      '',
      '  Name      <ok> 203.0.113.7, 8.0 ms',
      '  IPv4      <ok> 10.0.0.2, private',
      '  IPv6      <info> none',
      '  UDP 500   <ok> 203.0.113.7, IKE answers, 12 ms (median 14 ms)',
      '  UDP 4500  <ok> 203.0.113.7, IKE answers, 12 ms (median 14 ms)',
      '  TCP 4500  <ok> 203.0.113.7, IKE answers, 38 ms (median 40 ms)',
      "  TLS 443   <ok> 203.0.113.7, IKE answers, 38 ms (median 40 ms), certificate from Let's Encrypt (R11)",
      '  Portal    <ok> none, the web answers'
    ])
  })

  it('says what to do, and what else was found', () => {
    const given = document({
      dns: dns({ randomName: { name: 'x', outcome: 'resolved', addresses: ['198.51.100.9'] } }),
      udp: [udp(SILENT, SILENT)],
      streams: [
        failedStream('tcp', 'connection-refused'),
        failedStream('tls', 'proxy-refused', { via: 'http://proxy:3128', message: 'The proxy says 403' })
      ],
      portal: { api: null, probe: probe('portal-page', { status: 200, portalUrl: 'http://hotel.example/' }) }
    })
    expect(text(given)).toEqual([
      'A captive portal is in the way at http://hotel.example/: nothing passes before somebody has logged in there.',
      'Open http://hotel.example/ in a browser, log in, and try again.',
      '',
      '  Name      <ok> 203.0.113.7, 8.0 ms, the name server invents addresses for missing names',
      '  IPv4      <ok> 10.0.0.2, private',
      '  IPv6      <info> none',
      '  UDP 500   <bad> 203.0.113.7, no answer',
      '  UDP 4500  <bad> 203.0.113.7, no answer',
      '  TCP 4500  <bad> 203.0.113.7, refused',
      '  TLS 443   <bad> through http://proxy:3128, The proxy says 403',
      '  Portal    <bad> log in at http://hotel.example/',
      '',
      "<warn> This network's name server invents addresses for names that do not exist."
    ])
  })

  it('shows what was looked at on demand', () => {
    const depth: Depth = {
      proposals: {
        complete: true,
        questions: 90,
        suites: [
          {
            encryption: 'aes256',
            integrities: ['sha256'],
            prfs: ['prfsha256'],
            groups: ['modp2048'],
            preferredGroup: 'modp2048'
          }
        ],
        recommended: 'aes256-sha256-prfsha256-modp2048'
      },
      authentication: AUTHENTICATED,
      bandwidth: {
        host: '10.99.0.53',
        mbitPerSecond: 87.5,
        durationMs: 3000,
        packetBytes: 1200,
        sent: 30_000,
        received: 29_900,
        lossPercent: 0.3,
        loadedRtt: { minMs: 13, medianMs: 41, samples: 100 }
      }
    }
    const given = document({}, depth)
    expect(text(given).slice(-5)).toEqual([
      '  Suites     <ok> --ike-proposal aes256-sha256-prfsha256-modp2048',
      '  Suite      <info> aes256, sha256, prfsha256, modp2048',
      '  Login      <ok> vpn.example.com, 10.99.0.2, aes256gcm16-prfsha256-x25519, 120 ms',
      '  ESP        <ok> aes256gcm16, 10.99.0.53 answers, 13 ms',
      '  Bandwidth  <info> 87.5 Mbit/s to 10.99.0.53 and back, 0.3 % lost, 41 ms under load'
    ])
    expect(schemaFaults(shippedSchema('check.schema.json'), given)).toEqual([])
  })

  it('does not call it a success when nobody is let in', () => {
    const failed = {
      ...AUTHENTICATED,
      outcome: 'failed',
      code: 'authentication-failed',
      message: 'The gateway rejected our authentication.',
      hint: 'Check the password.',
      exitCode: 77,
      esp: null
    } as const
    expect(document({}, { ...NO_DEPTH, authentication: failed }).verdict).toMatchObject({
      works: true,
      exitCode: 77,
      hint: 'Check the password.',
      sentence: 'UDP works, 12 ms; connect will use it; but: The gateway rejected our authentication'
    })
  })
})

describe('what changes between two checks', () => {
  it.each([
    ['another answer time', { udp: [udp({}, { rtt: { minMs: 99, medianMs: 99, samples: 1 } })] }, true],
    ['more transmissions', { udp: [udp({ transmissions: 2 })] }, true],
    ['another kind of answer', { udp: [udp({ answer: ACCEPTED })] }, true],
    ['UDP that is lost', { udp: [udp(SILENT, SILENT)] }, false],
    ['a portal', { portal: { api: null, probe: probe('portal-redirect') } }, false],
    [
      'another certificate that matters',
      {
        streams: [
          stream('tcp'),
          stream('tls', { tls: tls({ authorized: false, problem: 'CERT_HAS_EXPIRED' }) })
        ]
      },
      false
    ],
    ['another address of the gateway', { dns: dns({ addresses: [] }) }, false]
  ] as const)('is told: %s', (_what, changes, isSame) => {
    expect(stateOf(document(changes)) === stateOf(document())).toBe(isSame)
  })

  it('is all that is shown, until it is to end', async () => {
    const abort = new AbortController()
    const runs = [document(), document(), document({ udp: [udp(SILENT, SILENT)] }), document()]
    const shown: boolean[] = []
    const run = (): Promise<CheckDocument> => {
      const next = runs.shift()
      if (runs.length === 0) abort.abort()
      return Promise.resolve(next ?? document())
    }
    await watchChecks(run, (_document, isFirst) => void shown.push(isFirst), 1, abort.signal)
    expect(shown).toEqual([true, false])
  })
})
