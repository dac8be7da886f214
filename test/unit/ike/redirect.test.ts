/** RFC 5685: gateways that send their clients to others. */
import { describe, expect, it } from 'vitest'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import { RedirectedError, readRedirect, redirectNotify } from '../../../src/ike/redirect.ts'
import type { InitiatorConfig, ResponderConfig } from '../../../src/ike/types.ts'
import { Secret } from '../../../src/secret.ts'
import { decodeMessage, encodeMessage } from '../../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { findNotify } from '../../../src/wire/ike-helpers.ts'
import { Pair, PSK, pathPair } from '../../support/ike-pair.ts'
import { ManualPeer } from '../../support/manual-peer.ts'
import { toHex } from '../../support/message-factory.ts'

const FOLLOWS: Partial<InitiatorConfig> = { redirect: { from: undefined } }
const ELSEWHERE = '203.0.113.77'

function pairWith(gateway: Partial<ResponderConfig>, client: Partial<InitiatorConfig> = FOLLOWS): Pair {
  return new Pair({ client, gateway, logKeys: true })
}

function redirectionOf(pair: Pair): RedirectedError | undefined {
  const error = pair.client.of('closed')[0]?.error
  return error instanceof RedirectedError ? error : undefined
}

describe('the REDIRECT notify', () => {
  it.each([
    ['198.51.100.1', '0104c6336401'],
    ['2001:db8::1', '021020010db8000000000000000000000001'],
    ['gw2.example.org', `030f${Buffer.from('gw2.example.org').toString('hex')}`]
  ])('names %s as RFC 5685 section 9.2 says', (host, hex) => {
    const { data } = redirectNotify(host)
    expect(toHex(data)).toBe(hex)
    expect(readRedirect(data)).toEqual({ to: host, nonce: new Uint8Array(0) })
    const nonce = new Uint8Array(32).fill(7)
    expect(readRedirect(redirectNotify(host, nonce).data)).toEqual({ to: host, nonce })
  })

  it.each([
    ['nothing', ''],
    ['a length beyond its end', '0105c0000201'],
    ['an address of a wrong length', '0105c000020101'],
    ['another kind of identity', '0404c0000201'],
    ['a name that is none', `0306${Buffer.from('a b\n;c').toString('hex')}`],
    ['a nonce that is too short', '0104c0000201aabbcc']
  ])('is refused with %s', (_what, hex) => {
    expect(readRedirect(Buffer.from(hex, 'hex'))).toBeUndefined()
  })
})

describe('a redirection in IKE_SA_INIT', () => {
  const atInit: Partial<ResponderConfig> = { redirect: { to: ELSEWHERE, at: 'init' } }

  it('ends the attempt there, and leaves no state behind', () => {
    const pair = pairWith(atInit).connect()
    expect(redirectionOf(pair)).toMatchObject({ to: ELSEWHERE, phase: 'init', from: '203.0.113.1' })
    expect(pair.client.of('closed')[0]?.reason).toBe('redirected')
    expect(pair.gateway.session.state).toBe('CREATED')
  })

  it('is told only to those who say that they follow', () => {
    const pair = pairWith(atInit, {}).connect()
    expect(pair.client.session.state).toBe('ESTABLISHED')
  })

  it('is told to those who were redirected before, who say by whom', () => {
    const pair = pairWith(atInit, { redirect: { from: '198.51.100.200' } })
    pair.connect()
    expect(redirectionOf(pair)?.to).toBe(ELSEWHERE)
    const other = pairWith({}, { redirect: { from: '198.51.100.200' } })
    other.client.session.connect(other.now, pathOf(other))
    other.drain()
    const sent = decodeMessage(other.client.sent[0]?.message ?? new Uint8Array(0))
    const from = sent.ok ? findNotify(sent.message.payloads, NotifyType.REDIRECTED_FROM)?.data : undefined
    expect(toHex(from ?? new Uint8Array(0))).toBe('0104c63364c8')
  })

  it('is ignored without the nonce of our request, on UDP and on a stream', () => {
    for (const transport of ['udp', 'tcp'] as const) {
      const pair = pairWith(atInit)
      const path = pathOf(pair, transport)
      pair.client.session.connect(pair.now, path)
      pair.drain()
      const request = decodeMessage(pair.client.sent[0]?.message ?? new Uint8Array(0))
      if (!request.ok) throw request.error
      const header = { ...request.message.header, fromInitiator: false, isResponse: true }
      for (const nonce of [new Uint8Array(0), new Uint8Array(32).fill(1)]) {
        const forged = encodeMessage({ header, payloads: [redirectNotify('198.51.100.66', nonce)] })
        pair.client.session.receive(pair.now, forged, path)
        pair.drain()
        expect(pair.client.of('closed')).toEqual([])
      }
      // The genuine answer is still waited for.
      pair.settle()
      expect(redirectionOf(pair)?.to).toBe(ELSEWHERE)
    }
  })
})

describe('a redirection in IKE_AUTH', () => {
  const atAuth: Partial<ResponderConfig> = { redirect: { to: 'gw2.example.org', at: 'auth' } }

  it('counts once the gateway has proved who it is, and the IKE SA is deleted', () => {
    const pair = pairWith(atAuth).connect()
    expect(redirectionOf(pair)).toMatchObject({ to: 'gw2.example.org', phase: 'auth' })
    expect(pair.gateway.of('closed')[0]?.reason).toBe('redirected')
    expect(pair.gateway.of('established')).toEqual([])
    expect(pair.client.of('child-up')).toEqual([])
    expect(pair.client.said().some((line) => line.includes('INFORMATIONAL request'))).toBe(true)
  })

  it('is worth nothing from a gateway that cannot prove who it is', () => {
    const wrong = { method: 'psk', secret: new Secret('another') } as const
    const pair = new Pair({
      client: FOLLOWS,
      gateway: atAuth,
      policy: {
        authenticationFor: () => ({
          localIdentity: identityFromText('gw.example.org'),
          localAuth: wrong,
          remoteAuth: PSK
        })
      }
    }).connect()
    expect(redirectionOf(pair)).toBeUndefined()
    expect(pair.client.of('closed')[0]?.reason).toBe('authentication-failed')
  })
})

describe('a redirection in the middle of a session', () => {
  it('is told to whoever drives it, and changes nothing by itself', () => {
    const pair = pairWith({}).connect()
    expect(pair.gateway.session.redirect(pair.now, ELSEWHERE)).toBe(true)
    pair.settle()
    expect(pair.client.of('redirect')).toEqual([{ type: 'redirect', to: ELSEWHERE }])
    expect(pair.client.session.state).toBe('ESTABLISHED')
    expect(pair.gateway.session.state).toBe('ESTABLISHED')
  })

  it('is not sent to a client that does not follow', () => {
    const pair = pairWith({}, {}).connect()
    expect(pair.gateway.session.redirect(pair.now, ELSEWHERE)).toBe(false)
    pair.settle()
    expect(pair.client.of('redirect')).toEqual([])
  })

  it.each([
    ['with a nonce, which has no place there', FOLLOWS, new Uint8Array(32)],
    ['by a client that was told not to follow', {}, new Uint8Array(0)]
  ])('is ignored %s', (_what, client, nonce) => {
    const pair = pairWith({}, client).connect()
    const path = pair.client.of('established')[0]?.path ?? never()
    const peer = new ManualPeer(pair.client, path, false)
    peer.say(pair.now, peer.header(ExchangeType.INFORMATIONAL, false, 0), [redirectNotify(ELSEWHERE, nonce)])
    expect(peer.hear().header.isResponse).toBe(true)
    expect(pair.client.of('redirect')).toEqual([])
  })
})

function pathOf(pair: Pair, transport: 'udp' | 'tcp' = 'udp') {
  const paths = pathPair(transport)
  pair.addPath(paths)
  return paths.client
}

function never(): never {
  throw new Error('not reached')
}
