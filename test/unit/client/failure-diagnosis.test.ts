import { describe, expect, it } from 'vitest'
import type { RungEvent } from '../../../src/client/events.ts'
import { explainFailure, LadderEvidence, wantsExplanation } from '../../../src/client/failure-diagnosis.ts'
import type { PortalEvidence } from '../../../src/diagnosis/evidence.ts'
import {
  AuthenticationError,
  type IkestreamError,
  ResolveError,
  TemporaryError,
  UnreachableError
} from '../../../src/errors.ts'
import { probe } from '../../support/evidence.ts'

const OPTIONS = {
  server: 'vpn.example.com',
  order: ['udp', 'tcp', 'tls'],
  ports: { ike: 500, natT: 4500, tcp: 4500, tls: 443 },
  tls: { name: undefined, verify: false, ca: [] },
  proxy: { kind: 'none' },
  portal: { enabled: true, url: 'http://probe.example/', api: undefined }
} as const

const UNREACHABLE = new UnreachableError(
  'gateway-unreachable',
  'The gateway cannot be reached. UDP: x; TCP: y.',
  {
    hint: 'Check the address.'
  }
)

function rung(
  transport: RungEvent['transport'],
  reason: string | null,
  changes: Partial<RungEvent> = {}
): RungEvent {
  return {
    event: 'rung',
    transport,
    via: null,
    address: '203.0.113.7',
    outcome: reason === null ? 'answered' : 'failed',
    reason,
    message: reason,
    elapsedMs: 1,
    ...changes
  }
}

function ladder(...rungs: readonly RungEvent[]): LadderEvidence {
  const evidence = new LadderEvidence()
  for (const one of rungs) evidence.note(one)
  return evidence
}

function explain(
  evidence: LadderEvidence,
  portal: PortalEvidence | null = { api: null, probe: probe('expected') },
  error: IkestreamError = UNREACHABLE
): Promise<IkestreamError> {
  return explainFailure(error, evidence, OPTIONS, () => Promise.resolve(portal))
}

const SILENT = [rung('udp', 'timeout'), rung('tcp', 'timeout'), rung('tls', 'timeout')]

describe('why a session could not come up', () => {
  it('is a captive portal, with its address, where one answers the web probe', async () => {
    const portal = { api: null, probe: probe('portal-redirect', { portalUrl: 'http://hotel.example/' }) }
    const error = await explain(ladder(...SILENT), portal)
    expect(error).toMatchObject({ code: 'captive-portal', exitCode: 69, cause: UNREACHABLE })
    expect(error.message).toMatch(/captive portal is in the way at http:\/\/hotel\.example\//)
    expect(error.hint).toMatch(/log in/)
  })

  it('is a portal that hides names, too', async () => {
    const portal = { api: null, probe: probe('login-required', { status: 511 }) }
    const missing = new ResolveError('name-not-found', 'The name does not exist')
    expect(await explain(ladder(), portal, missing)).toMatchObject({ code: 'captive-portal' })
    expect(await explain(ladder(), { api: null, probe: probe('silent') }, missing)).toBe(missing)
  })

  it('keeps the sentence about each rung, and says what to do', async () => {
    const error = await explain(ladder(...SILENT))
    expect(error).toMatchObject({ code: 'gateway-unreachable', message: UNREACHABLE.message, exitCode: 69 })
    expect(error.hint).toMatch(/Internet is reachable/)
  })

  it.each([
    [
      'a web server instead of a gateway',
      [rung('udp', 'port-unreachable'), rung('tcp', 'connection-refused'), rung('tls', 'closed-by-peer')],
      /ikestream relay/
    ],
    [
      'nobody there',
      [rung('udp', 'port-unreachable'), rung('tcp', 'connection-refused'), rung('tls', 'connection-refused')],
      /not running/
    ],
    ['no network', SILENT.map((one) => ({ ...one, reason: 'network-unreachable' })), /Connect to a network/],
    [
      'only port 500',
      [rung('udp', 'ike-auth-silent'), rung('tcp', 'timeout'), rung('tls', 'timeout')],
      /needs UDP 4500/
    ],
    [
      'a proxy without credentials',
      ['tcp', 'tls'].map((kind) => rung(kind as 'tcp', 'proxy-auth-required', { via: 'http://proxy:3128' })),
      /HTTPS_PROXY/
    ]
  ] as const)('gives advice that fits %s', async (_what, rungs, hint) => {
    expect((await explain(ladder(...rungs))).hint).toMatch(hint)
  })

  it('has the last word on each rung', async () => {
    const error = await explain(ladder(rung('tcp', 'timeout'), rung('tcp', 'connection-refused')))
    expect(error.hint).toMatch(/not running/)
  })

  it('leaves alone what explains itself', () => {
    const silent = ladder(rung('udp', 'timeout'))
    const answered = ladder(rung('udp', null))
    const slow = new TemporaryError('timeout', 'too slow')
    expect(wantsExplanation(new AuthenticationError('authentication-failed', 'no'), silent)).toBe(false)
    expect(wantsExplanation(new Error('a bug'), silent)).toBe(false)
    expect(wantsExplanation(slow, answered)).toBe(false)
    expect(wantsExplanation(slow, silent)).toBe(true)
    expect(wantsExplanation(UNREACHABLE, answered)).toBe(true)
  })
})
