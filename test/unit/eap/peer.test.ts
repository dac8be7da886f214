import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EapPeer, type EapPeerOptions } from '../../../src/ike/eap/peer.ts'
import { EapServer } from '../../../src/ike/eap/server.ts'
import { Secret } from '../../../src/secret.ts'
import { EapType } from '../../../src/wire/ike-constants.ts'
import vectors from '../../vectors/auth.json' with { type: 'json' }
import { fromHex, seededRandom, utf8 } from './support.ts'

const SEED = 20_260_101

function passwordPeer(options?: EapPeerOptions): EapPeer {
  return new EapPeer({ user: 'alice', password: new Secret('s3cret-marker') }, seededRandom('peer'), options)
}

const request = (identifier: number, ...data: number[]) =>
  Uint8Array.of(1, identifier, 0, 4 + data.length, ...data)
const identityRequest = (identifier: number) => request(identifier, 1)

describe('the EAP peer', () => {
  it('gives its identity each time it is asked before a method', () => {
    const peer = passwordPeer()
    expect(peer.receive(identityRequest(1))).toEqual({
      kind: 'reply',
      packet: Uint8Array.of(2, 1, 0, 10, 1, ...utf8('alice'))
    })
    expect(peer.receive(identityRequest(2)).kind).toBe('reply')
  })

  it('goes straight into a method when the identity is skipped', () => {
    const peer = passwordPeer()
    expect(peer.receive(request(1, 6, ...utf8('Password:'))).kind).toBe('reply')
    expect(peer.method).toBe(EapType.GTC)
    expect(peer.mskRequired).toBe(false)
  })

  it('acknowledges a notification and keeps its text', () => {
    const peer = passwordPeer()
    const step = peer.receive(request(9, 2, ...utf8('Maintenance\ttonight')))
    expect(step).toEqual({ kind: 'reply', packet: Uint8Array.of(2, 9, 0, 5, 2) })
    expect(peer.notifications).toEqual(['Maintenance tonight'])
  })

  it.each([
    ['a password', passwordPeer(), [26, 6, 4]],
    ['a password where only mutual methods will do', passwordPeer({ mutualOnly: true }), [26]],
    ['nothing', new EapPeer({ user: 'alice' }, seededRandom('p')), [0]],
    [
      'a certificate',
      new EapPeer(
        {
          user: 'alice',
          tls: { certificateChain: '', privateKey: new Secret(''), trustAnchors: [] }
        },
        seededRandom('p')
      ),
      [13]
    ]
  ])('refuses an unknown method and names those that it can do with %s', (_what, peer, wanted) => {
    expect(peer.receive(request(3, EapType.TTLS, 0x20))).toEqual({
      kind: 'reply',
      packet: Uint8Array.of(2, 3, 0, 5 + wanted.length, 3, ...wanted)
    })
  })

  it('explains a failure after its Nak', () => {
    const peer = passwordPeer()
    peer.receive(request(3, EapType.TLS, 0x20))
    const step = peer.receive(Uint8Array.of(4, 3, 0, 4))
    expect(step).toMatchObject({ kind: 'failure', error: { code: 'eap-no-common-method' } })
    expect(step.kind === 'failure' && step.error.message).toContain('EAP-TLS')
  })

  it('answers a repeated request with the same bytes', () => {
    const peer = passwordPeer()
    const challenge = request(7, 26, 1, 7, 0, 22, 16, ...new Array<number>(16).fill(5), 120)
    const first = peer.receive(challenge)
    expect(first.kind).toBe('reply')
    expect(peer.receive(Uint8Array.from(challenge))).toEqual(first)
  })

  it('refuses a change of method in the middle of one', () => {
    const peer = passwordPeer()
    peer.receive(request(1, 6))
    expect(peer.receive(request(2, 4, 16, ...new Array<number>(16).fill(1)))).toMatchObject({
      kind: 'failure',
      error: { code: 'eap-protocol' }
    })
  })

  it('succeeds without a key after EAP-GTC', () => {
    const peer = passwordPeer()
    expect(peer.receive(request(1, 6))).toEqual({
      kind: 'reply',
      packet: Uint8Array.of(2, 1, 0, 18, 6, ...utf8('s3cret-marker'))
    })
    expect(peer.receive(Uint8Array.of(3, 1, 0, 4))).toEqual({ kind: 'success', msk: undefined })
  })

  it('answers the MD5 challenge of a recorded strongSwan session, and succeeds without a key', () => {
    const recorded = vectors.sessions['eap-md5']
    const packets = recorded.eapPackets.map(fromHex)
    const peer = new EapPeer(
      { user: recorded.user, password: new Secret(recorded.password) },
      seededRandom('p')
    )
    for (let index = 0; index + 1 < packets.length; index += 2) {
      expect(peer.receive(packets[index] ?? new Uint8Array(0))).toEqual({
        kind: 'reply',
        packet: packets[index + 1]
      })
    }
    expect(peer.receive(packets[packets.length - 1] ?? new Uint8Array(0))).toEqual({
      kind: 'success',
      msk: undefined
    })
  })

  it('ends after too many requests', () => {
    const peer = passwordPeer()
    let answered = 0
    while (peer.receive(request(answered & 0xff, 2, answered & 0xff, answered >> 8)).kind === 'reply')
      answered++
    expect(answered).toBe(256)
    expect(peer.notifications.length).toBeLessThanOrEqual(8)
  })

  it('stays ended', () => {
    const peer = passwordPeer()
    peer.receive(Uint8Array.of(4, 1, 0, 4))
    expect(peer.receive(identityRequest(1)).kind).toBe('failure')
    expect(peer.continue().kind).toBe('failure')
  })

  it('ignores bytes after the length of the packet', () => {
    expect(passwordPeer().receive(Uint8Array.of(...identityRequest(1), 9, 9)).kind).toBe('reply')
  })
})

describe('hostile packets', () => {
  const anyPacket = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    // Well-formed headers reach further in.
    fc
      .tuple(
        fc.constantFrom(1, 2, 3, 4),
        fc.nat(255),
        fc.constantFrom(1, 2, 3, 4, 6, 13, 26, 254),
        fc.uint8Array({ maxLength: 80 })
      )
      .map(([code, identifier, type, data]) =>
        Uint8Array.of(code, identifier, 0, 5 + data.length, type, ...data)
      ),
    fc
      .tuple(fc.nat(255), fc.constantFrom(1, 2, 3, 4, 7), fc.uint8Array({ maxLength: 80 }))
      .map(([identifier, opCode, data]) =>
        Uint8Array.of(1, identifier, 0, 6 + data.length, 26, opCode, ...data)
      )
  )

  it('never make the peer throw, succeed by themselves, or put the password into an error', () => {
    fc.assert(
      fc.property(fc.array(anyPacket, { maxLength: 6 }), (packets) => {
        const peer = passwordPeer({ mutualOnly: true })
        for (const packet of packets) {
          const step = peer.receive(packet)
          expect(step.kind).not.toBe('success')
          if (step.kind === 'failure') {
            expect(`${step.error.message} ${step.error.hint}`).not.toContain('s3cret-marker')
          }
        }
      }),
      { numRuns: 500, seed: SEED }
    )
  })

  it('never make the server throw or succeed', () => {
    fc.assert(
      fc.property(fc.array(anyPacket, { maxLength: 6 }), (packets) => {
        const server = new EapServer(
          { methods: [EapType.MSCHAPV2], passwordOf: () => new Secret('s3cret-marker') },
          seededRandom('server')
        )
        let outstanding: Uint8Array = server.start()
        for (const packet of packets) {
          // Half of them carry the right identifier, to get past the first check.
          const aimed = Uint8Array.from(packet)
          if (aimed.length > 1 && (aimed[0] ?? 0) % 2 === 0) aimed[1] = outstanding[1] ?? 0
          const step = server.receive(aimed)
          expect(step.kind).not.toBe('success')
          if (step.kind === 'reply') outstanding = step.packet
          if (step.kind === 'failure') {
            expect(`${step.error.message} ${step.error.hint}`).not.toContain('s3cret-marker')
          }
        }
      }),
      { numRuns: 500, seed: SEED }
    )
  })
})
