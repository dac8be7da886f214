import { describe, expect, it } from 'vitest'
import type { PortalEvent } from '../../../src/client/events.ts'
import { LadderEvidence } from '../../../src/client/failure-diagnosis.ts'
import type { TransportOptions } from '../../../src/client/options.ts'
import { PortalWatch } from '../../../src/client/portal-watch.ts'
import type { PortalEvidence } from '../../../src/diagnosis/evidence.ts'
import { AuthenticationError, UnreachableError } from '../../../src/errors.ts'

const UNREACHABLE = new UnreachableError('gateway-unreachable', 'The gateway cannot be reached.')
const OPTIONS = {
  server: 'vpn.example.com',
  order: ['udp', 'tcp', 'tls'],
  ports: { ike: 500, natT: 4500, tcp: 4500, tls: 443 }
} as unknown as TransportOptions

function redirectTo(portalUrl: string): PortalEvidence {
  const probe = { url: 'http://web.test/', outcome: 'portal-redirect', portalUrl, status: 302 }
  return { api: null, probe: { ...probe, address: null, elapsedMs: 1, message: null } } as PortalEvidence
}
const OPEN = {
  api: null,
  probe: { ...redirectTo('x').probe, outcome: 'expected', portalUrl: null }
} as PortalEvidence

function site() {
  const told: PortalEvent[] = []
  let answer: PortalEvidence | null = null
  let wanted = true
  let asked = 0
  const ask = async () => {
    asked++
    return answer
  }
  const watch = new PortalWatch(OPTIONS, new LadderEvidence(), ask, (event) => told.push(event))
  return {
    urls: () => told.map(({ url }) => url),
    told,
    asked: () => asked,
    end: () => {
      wanted = false
    },
    look: (next: PortalEvidence | null, error: unknown = UNREACHABLE) => {
      answer = next
      return watch.look(error, () => wanted)
    }
  }
}

describe('a session that keeps trying', () => {
  it('tells of a captive portal once, and again when its address changes', async () => {
    const { look, urls, told } = site()
    await look(redirectTo('http://portal.test/login'))
    await look(redirectTo('http://portal.test/login'))
    await look(redirectTo('http://other.test/'))
    expect(urls()).toEqual(['http://portal.test/login', 'http://other.test/'])
    expect(told[0]?.message).toContain('http://portal.test/login')
    expect(told[0]?.hint).toMatch(/log in/)
  })

  it('tells of it again when it is back', async () => {
    const { look, urls } = site()
    await look(redirectTo('http://portal.test/'))
    await look(OPEN)
    await look(redirectTo('http://portal.test/'))
    expect(urls()).toEqual(['http://portal.test/', 'http://portal.test/'])
  })

  it('says nothing where there is none, and asks nobody about errors that explain themselves', async () => {
    const { look, urls, asked } = site()
    await look(OPEN)
    await look(null)
    expect([urls(), asked()]).toEqual([[], 2])
    await look(redirectTo('http://portal.test/'), new AuthenticationError('authentication-failed', 'No.'))
    expect([urls(), asked()]).toEqual([[], 2])
  })

  it('asks one question at a time, and keeps what comes too late to itself', async () => {
    const { look, urls, asked, end } = site()
    const first = look(redirectTo('http://portal.test/'))
    const second = look(redirectTo('http://portal.test/'))
    end()
    await Promise.all([first, second])
    expect([asked(), urls()]).toEqual([1, []])
    await look(redirectTo('http://portal.test/'))
    expect(asked()).toBe(1)
  })
})
