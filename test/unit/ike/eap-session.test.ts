import { describe, expect, it } from 'vitest'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import type { EapServerConfig, LocalAuth } from '../../../src/ike/auth/types.ts'
import type { ResponderPolicy } from '../../../src/ike/types.ts'
import { Secret } from '../../../src/secret.ts'
import { EapType } from '../../../src/wire/ike-constants.ts'
import { arePaired, Pair, PSK, pathPair } from '../../support/ike-pair.ts'

const server: EapServerConfig = {
  methods: [EapType.MSCHAPV2],
  passwordOf: (user) => (user === 'alice' ? new Secret('wonderland') : undefined)
}

const eap = (password: string): LocalAuth => ({
  method: 'eap',
  credentials: { user: 'alice', password: new Secret(password) }
})

/** The gateway proves itself with `gatewayAuth` and demands EAP. */
function policy(gatewayAuth: LocalAuth, assigned: string[] = []): Partial<ResponderPolicy> {
  return {
    authenticationFor: (_initiator, _responder, kind) =>
      kind === 'eap'
        ? {
            localIdentity: identityFromText('gw.example.org'),
            localAuth: gatewayAuth,
            remoteAuth: { method: 'eap', server }
          }
        : undefined,
    assign: (peer) => {
      assigned.push(peer)
      return { addresses: [{ address: '10.9.0.5', prefixLength: 32 }], dns: [], dnsDomains: [], subnets: [] }
    }
  }
}

describe('EAP inside IKE_AUTH', () => {
  it('authenticates the user, and both ends confirm its key before the Child SA is made', () => {
    const assigned: string[] = []
    const pair = new Pair({
      client: { localAuth: eap('wonderland') },
      policy: policy(PSK, assigned)
    }).connect()
    expect(pair.client.of('closed')).toEqual([])
    expect(pair.client.of('established')).toHaveLength(1)
    expect(pair.gateway.of('established')).toHaveLength(1)
    expect(assigned).toEqual(['alice'])
    const [ours] = pair.client.children.values()
    const [theirs] = pair.gateway.children.values()
    expect(ours && theirs && arePaired(ours, theirs)).toBe(true)
    const requests = pair.client.said().filter((line) => line.startsWith('IKE_AUTH'))
    expect(requests[0]).toMatch(/^IKE_AUTH request 1 \[ IDi IDr CP\(CFG_REQUEST\) SA TSi TSr/)
    expect(requests[0]).not.toContain('AUTH ]')
    expect(requests.at(-1)).toMatch(/\[ AUTH \]$/)
  })

  it('ends with one sentence when the password is wrong', () => {
    const pair = new Pair({ client: { localAuth: eap('looking glass') }, policy: policy(PSK) }).connect()
    expect(pair.client.of('closed')).toMatchObject([
      { reason: 'authentication-failed', error: { exitCode: 77 } }
    ])
    pair.advance(10_000)
    expect(pair.gateway.of('closed')).toMatchObject([{ reason: 'authentication-failed' }])
    expect(pair.gateway.of('established')).toEqual([])
  })

  it('sends nothing of EAP to a gateway that has not proved who it is', () => {
    const impostor: LocalAuth = { method: 'psk', secret: new Secret('a guess') }
    const pair = new Pair({ client: { localAuth: eap('wonderland') }, policy: policy(impostor) }).connect()
    expect(pair.client.of('closed')).toMatchObject([
      { reason: 'authentication-failed', error: { exitCode: 77 } }
    ])
    const said = pair.client.said()
    expect(said.some((line) => line.includes('EAP'))).toBe(false)
    expect(said.at(-1)).toMatch(/^INFORMATIONAL request 2 \[ N\(AUTHENTICATION_FAILED\) \]$/)
    expect(pair.gateway.of('closed')).toMatchObject([{ reason: 'authentication-failed' }])
  })

  it('survives losses in every round', () => {
    const pair = new Pair({ client: { localAuth: eap('wonderland'), haSync: false }, policy: policy(PSK) })
    const path = pathPair()
    pair.addPath(path)
    pair.client.session.connect(pair.now, path.client)
    pair.drain()
    // Every first copy of every message is lost; the second of a request and of a response gets through.
    for (let round = 0; round < 200 && pair.client.of('established').length === 0; round++) {
      for (const from of [pair.client, pair.gateway]) {
        const [output] = from.sent.splice(0)
        if (output !== undefined && round % 3 === 2) pair.deliver(from, output)
      }
      pair.now = pair.client.session.nextTimeout() ?? pair.now
      pair.client.session.timeout(pair.now)
      pair.drain()
    }
    expect(pair.client.of('established')).toHaveLength(1)
    expect(pair.gateway.of('established')).toHaveLength(1)
  })
})
