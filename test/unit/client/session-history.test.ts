import { describe, expect, it } from 'vitest'
import type { ClientEvent } from '../../../src/client/events.ts'
import { SessionHistory } from '../../../src/client/session-history.ts'

function rung(
  transport: 'udp' | 'tcp' | 'tls',
  outcome: 'trying' | 'answered' | 'failed',
  address = '203.0.113.1'
) {
  const event = { event: 'rung', transport, via: null, address, outcome } as const
  return { ...event, reason: outcome === 'failed' ? 'timeout' : null, message: null, elapsedMs: 5 } as const
}
const connected: ClientEvent = {
  ...{
    event: 'connected',
    transport: 'tls',
    via: null,
    gateway: '203.0.113.1',
    gatewayId: 'gw',
    virtualIps: []
  },
  ...{ dns: [], interface: 'ike0', mtu: 1400, remoteTs: [], ikeSuite: '', espSuite: '', cluster: false },
  ...{ outerTls: null, elapsedMs: 1 }
}
const reconnecting: ClientEvent = {
  ...{ event: 'reconnecting', reason: 'timeout', bytesIn: 0, bytesOut: 0, durationMs: 0 }
}
function change(outageMs: number): ClientEvent {
  return { event: 'path-changed', from: 'udp', to: 'tls', reason: 'peer-silent', outageMs }
}

describe('what a session remembers of itself', () => {
  it('is the last word on each rung, in the order in which they were said', () => {
    const history = new SessionHistory(() => 0)
    for (const event of [rung('udp', 'trying'), rung('tcp', 'trying'), rung('udp', 'failed')])
      history.note(event)
    history.note(rung('tcp', 'answered', '203.0.113.2'))
    expect(history.rungs.map(({ transport, address, outcome }) => [transport, address, outcome])).toEqual([
      ['tcp', '203.0.113.1', 'trying'],
      ['udp', '203.0.113.1', 'failed'],
      ['tcp', '203.0.113.2', 'answered']
    ])
  })

  it('begins anew with each climb after the first', () => {
    const history = new SessionHistory(() => 0)
    history.note(rung('udp', 'failed'))
    history.note(connected)
    history.note(reconnecting)
    expect(history).toMatchObject({ rungs: [], reconnects: 1, phase: 'reconnecting' })
  })

  it('says in which phase it is, and since when', () => {
    let now = 1000
    const history = new SessionHistory(() => now)
    expect(history).toMatchObject({ phase: 'connecting', startedAtMs: 1000, connectedAtMs: undefined })
    now = 2000
    history.note(connected)
    expect(history).toMatchObject({ phase: 'connected', connectedAtMs: 2000 })
    history.note(reconnecting)
    now = 3000
    history.note(change(20))
    expect(history).toMatchObject({ phase: 'connected', connectedAtMs: 2000 })
    expect(history.pathChanges).toEqual([
      { atMs: 3000, from: 'udp', to: 'tls', reason: 'peer-silent', outageMs: 20 }
    ])
  })

  it('is bounded', () => {
    const history = new SessionHistory(() => 0)
    for (let count = 0; count < 100; count++) {
      history.note(change(count))
      history.note(rung('udp', 'failed', `203.0.113.${count}`))
    }
    expect(history.pathChanges).toHaveLength(16)
    expect(history.pathChanges.at(-1)?.outageMs).toBe(99)
    expect(history.rungs).toHaveLength(32)
    expect(history.rungs.at(-1)?.address).toBe('203.0.113.99')
  })
})
