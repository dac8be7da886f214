import { describe, expect, it } from 'vitest'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { notify } from '../../../src/wire/ike-helpers.ts'
import { Pair } from '../../support/ike-pair.ts'
import { ManualPeer } from '../../support/manual-peer.ts'

const HOUR_MS = 3_600_000
const FOR_EVER = { ikeLifetimeMs: 0, childLifetimeMs: 0 }

/** Both ends with timers that do not get in the way. */
function connected(authLifetimeMs: number): Pair {
  const pair = new Pair()
  const timers = { ...pair.client.config.timers, ...FOR_EVER }
  return new Pair({ client: { timers }, gateway: { timers, authLifetimeMs }, logKeys: true }).connect()
}

function peerOf(pair: Pair): ManualPeer {
  const path = pair.client.of('established')[0]?.path
  if (path === undefined) throw new Error('not established')
  return new ManualPeer(pair.client, path, false)
}

/** When the client asked to be authenticated anew, since it was connected. */
function askedAfterMs(pair: Pair, limitMs: number): number | undefined {
  const startedAt = pair.now
  while (pair.now - startedAt < limitMs) {
    pair.advance(Math.min(1000, limitMs / 1000))
    if (pair.client.of('reauthenticate').length > 0) return pair.now - startedAt
  }
  return undefined
}

describe('a gateway that limits how long an authentication holds (RFC 4478)', () => {
  it.each([HOUR_MS, 600_000, 60_000])(
    'is authenticated to anew some time before that (%i ms)',
    (lifetimeMs) => {
      const afterMs = askedAfterMs(connected(lifetimeMs), lifetimeMs)
      expect(afterMs).toBeGreaterThanOrEqual(lifetimeMs * 0.5)
      expect(afterMs).toBeLessThanOrEqual(lifetimeMs - 5000)
    }
  )

  it.each([0, 1000, 5000])('is not hammered if it asks for more than is reasonable (%i ms)', (lifetimeMs) => {
    const pair = connected(3_000_000)
    const peer = peerOf(pair)
    const data = new Uint8Array(4)
    new DataView(data.buffer).setUint32(0, lifetimeMs / 1000)
    const header = peer.header(ExchangeType.INFORMATIONAL, false, 0)
    peer.say(pair.now, header, [notify(NotifyType.AUTH_LIFETIME, data)])
    expect(askedAfterMs(pair, 60_000)).toBeGreaterThanOrEqual(9_000)
  })

  it('asks again while nothing comes of it, and ends the SA when the time is up', () => {
    const pair = connected(600_000)
    pair.advance(600_000)
    expect(pair.client.of('reauthenticate').length).toBeGreaterThan(2)
    expect(pair.client.of('reauthenticate').length).toBeLessThan(20)
    pair.advance(60_000)
    expect(pair.gateway.of('closed')[0]?.reason).toBe('expired')
    expect(pair.client.of('closed')[0]?.reason).toBe('deleted-by-peer')
  })

  it('is the same to an IKE SA that was rekeyed meanwhile', () => {
    const pair = connected(600_000)
    pair.advance(60_000)
    pair.client.session.rekeyIke(pair.now)
    pair.settle()
    expect(pair.client.of('rekeyed')).toHaveLength(1)
    expect(askedAfterMs(pair, 540_000)).toBeGreaterThan(200_000)
  })

  it('may change its mind, and may be unreadable', () => {
    const pair = connected(HOUR_MS)
    const peer = peerOf(pair)
    peer.say(pair.now, peer.header(ExchangeType.INFORMATIONAL, false, 0), [
      notify(NotifyType.AUTH_LIFETIME, Uint8Array.of(1, 2))
    ])
    peer.say(pair.now, peer.header(ExchangeType.INFORMATIONAL, false, 1), [
      notify(NotifyType.AUTH_LIFETIME, Uint8Array.of(0, 0, 0, 100))
    ])
    expect(askedAfterMs(pair, 200_000)).toBeLessThan(100_000)
  })

  it('says nothing without a limit', () => {
    const pair = new Pair().connect()
    expect(askedAfterMs(pair, 1_000_000)).toBeUndefined()
  })
})
