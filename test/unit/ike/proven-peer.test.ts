import { describe, expect, it } from 'vitest'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import { Secret } from '../../../src/secret.ts'
import { EapType } from '../../../src/wire/ike-constants.ts'
import { Pair, PSK } from '../../support/ike-pair.ts'

describe('who a responder takes its peer for', () => {
  it('is the EAP user that was proved, whatever IDi claims', () => {
    const pair = new Pair({
      client: {
        localIdentity: identityFromText('alice@example.org'),
        localAuth: {
          method: 'eap',
          credentials: { user: 'mallory', password: new Secret('her own password') }
        }
      },
      policy: {
        authenticationFor: () => ({
          localIdentity: identityFromText('gw.example.org'),
          localAuth: PSK,
          remoteAuth: {
            method: 'eap',
            server: {
              methods: [EapType.MSCHAPV2],
              passwordOf: (user) => (user === 'mallory' ? new Secret('her own password') : undefined)
            }
          }
        })
      }
    }).connect()
    expect(pair.gateway.session.provenPeer).toBe('mallory')
    expect(pair.gateway.of('established')[0]?.info.remoteIdentity).toBe('mallory')
    expect(pair.client.of('established')[0]?.info.remoteIdentity).toBe('gw.example.org')
  })

  it('is nobody before the end of IKE_AUTH', () => {
    const pair = new Pair()
    expect(pair.gateway.session.provenPeer).toBe('')
  })
})
