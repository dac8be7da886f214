import { describe, expect, it } from 'vitest'
import { AuthenticationError, ConfigurationError, ProtocolError } from '../../../src/errors.ts'
import { EapPeer } from '../../../src/ike/eap/peer.ts'
import { EapServer } from '../../../src/ike/eap/server.ts'
import { Secret } from '../../../src/secret.ts'
import { EapType } from '../../../src/wire/ike-constants.ts'
import vectors from '../../vectors/auth.json' with { type: 'json' }
import { converse, fromHex, hexOf, seededRandom, utf8 } from './support.ts'

const recorded = vectors.sessions['eap-mschapv2']

function serverFor(users: Record<string, string>, seed = 'server'): EapServer {
  const table = new Map(Object.entries(users).map(([name, password]) => [name, new Secret(password)]))
  return new EapServer(
    { methods: [EapType.MSCHAPV2], passwordOf: (user) => table.get(user) },
    seededRandom(seed)
  )
}

function peerFor(user: string, password: string, seed = 'peer'): EapPeer {
  return new EapPeer({ user, password: new Secret(password) }, seededRandom(seed))
}

const request = (identifier: number, ...data: number[]) =>
  Uint8Array.of(1, identifier, 0, 4 + data.length, ...data)

describe('EAP-MSCHAPv2 against a recorded strongSwan server', () => {
  const [identityRequest, identity, challenge, response, success, ack, eapSuccess] =
    recorded.eapPackets.map(fromHex)
  if (!identityRequest || !identity || !challenge || !response || !success || !ack || !eapSuccess) {
    throw new Error('the recorded session is incomplete')
  }
  // Header 5, MS-CHAPv2 header 4, value size 1.
  const peerChallenge = response.slice(10, 26)

  it('answers byte for byte as strongSwan did and derives the same MSK', () => {
    const peer = new EapPeer(
      { user: recorded.user, password: new Secret(recorded.password) },
      { bytes: () => peerChallenge }
    )
    expect(peer.receive(identityRequest)).toEqual({ kind: 'reply', packet: identity })
    expect(peer.receive(challenge)).toEqual({ kind: 'reply', packet: response })
    expect(peer.receive(success)).toEqual({ kind: 'reply', packet: ack })
    const end = peer.receive(eapSuccess)
    expect(end.kind).toBe('success')
    expect(end.kind === 'success' && hexOf(end.msk)).toBe(recorded.msk)
  })

  it('does not take the recorded proof for another exchange', () => {
    const peer = peerFor(recorded.user, recorded.password)
    peer.receive(identityRequest)
    peer.receive(challenge)
    const step = peer.receive(success)
    expect(step).toMatchObject({ kind: 'failure', error: { code: 'eap-server-unproven' } })
  })
})

describe('EAP-MSCHAPv2 between our own ends', () => {
  it.each([
    ['a plain password', 'alice', 'correct horse'],
    ['a password beyond ASCII', 'bob', 'pässwörd ✓ 日本'],
    ['an empty password', 'carol', '']
  ])('succeeds with %s and gives both ends one MSK', async (_what, user, password) => {
    const server = serverFor({ [user]: password })
    const outcome = await converse(peerFor(user, password), server)
    expect(outcome.server.kind).toBe('success')
    expect(outcome.peer.kind).toBe('success')
    if (outcome.peer.kind !== 'success' || outcome.server.kind !== 'success') return
    expect(outcome.peer.msk).toHaveLength(64)
    expect(hexOf(outcome.peer.msk)).toBe(hexOf(outcome.server.msk))
    expect(server.identity).toBe(user)
  })

  it('finds a user who writes a domain in front of the name', async () => {
    const server = serverFor({ alice: 'secret' })
    const outcome = await converse(peerFor('CORP\\alice', 'secret'), server)
    expect(outcome.server.kind).toBe('success')
    expect(outcome.peer.kind).toBe('success')
  })

  it('tells both ends of a wrong password', async () => {
    const outcome = await converse(
      peerFor('alice', 'wrong-Secret-17'),
      serverFor({ alice: 'right-Secret-42' })
    )
    expect(outcome.peer).toMatchObject({ kind: 'failure', error: { code: 'eap-wrong-credentials' } })
    expect(outcome.server).toMatchObject({ kind: 'failure', error: { code: 'eap-wrong-credentials' } })
    for (const step of [outcome.peer, outcome.server]) {
      if (step.kind !== 'failure') continue
      expect(step.error).toBeInstanceOf(AuthenticationError)
      expect(`${step.error.message} ${step.error.hint}`).not.toMatch(/wrong-Secret-17|right-Secret-42/)
    }
  })

  it('answers an unknown user in the same words as a wrong password', async () => {
    const shapes = []
    for (const users of [{ alice: 'right' }, { mallory: 'right' }]) {
      const outcome = await converse(peerFor('alice', 'wrong'), serverFor(users))
      expect(outcome.server.kind).toBe('failure')
      // Challenges come from the seed, so whole packets can be compared.
      shapes.push(outcome.packets.map(hexOf))
    }
    expect(shapes[0]).toEqual(shapes[1])
  })

  it('lets a wrong password be corrected once', () => {
    const server = serverFor({ alice: 'right' })
    const first = peerFor('alice', 'wrong')
    const replyTo = (peer: EapPeer, packet: Uint8Array) => {
      const step = peer.receive(packet)
      if (step.kind !== 'reply') throw new Error(`the peer ended with ${step.kind}`)
      return step.packet
    }
    const requestAfter = (packet: Uint8Array) => {
      const step = server.receive(packet)
      if (step.kind !== 'reply') throw new Error(`the server ended with ${step.kind}`)
      return step.packet
    }
    const challenge = requestAfter(replyTo(first, server.start()))
    const failure = requestAfter(replyTo(first, challenge))
    const message = new TextDecoder().decode(failure.subarray(9))
    expect(message).toMatch(/^E=691 R=1 C=[0-9A-F]{32} V=3 M=/)
    const newChallenge = fromHex(/C=([0-9A-F]{32})/.exec(message)?.[1] ?? '')

    // A fresh peer takes up the challenge of the failure, as a user who types again would.
    const second = peerFor('alice', 'right')
    const asChallenge = Uint8Array.of(1, failure[1] ?? 0, 0, 27, 26, 1, 9, 0, 22, 16, ...newChallenge, 120)
    const success = requestAfter(replyTo(second, asChallenge))
    const end = server.receive(replyTo(second, success))
    expect(end.kind).toBe('success')
  })

  it('allows no third attempt', () => {
    const server = serverFor({ alice: 'right' })
    const peer = peerFor('alice', 'wrong')
    let packet: Uint8Array = server.start()
    const step = (input: Uint8Array) => {
      const answer = peer.receive(input)
      if (answer.kind !== 'reply') throw new Error(answer.kind)
      return answer.packet
    }
    packet = step(packet)
    const challenge = server.receive(packet)
    if (challenge.kind !== 'reply') throw new Error(challenge.kind)
    const response = step(challenge.packet)
    const again = (identifier: number) => {
      const copy = Uint8Array.from(response)
      copy[1] = identifier
      return server.receive(copy)
    }
    const first = again(challenge.packet[1] ?? 0)
    expect(first.kind).toBe('reply')
    const second = again(first.kind === 'reply' ? (first.packet[1] ?? 0) : 0)
    expect(second.kind === 'reply' && new TextDecoder().decode(second.packet)).toContain('R=0')
    const third = again(second.kind === 'reply' ? (second.packet[1] ?? 0) : 0)
    expect(third).toMatchObject({ kind: 'failure', error: { code: 'eap-malformed' } })
  })
})

describe('the peer during EAP-MSCHAPv2', () => {
  const challenge = request(7, 26, 1, 7, 0, 22, 16, ...new Array<number>(16).fill(5), 120)

  function challenged(): EapPeer {
    const peer = peerFor('alice', 'hunter2-unique')
    expect(peer.receive(challenge).kind).toBe('reply')
    return peer
  }

  it.each([
    ['at once', () => peerFor('alice', 'hunter2-unique')],
    ['after the challenge', challenged]
  ])('refuses an EAP-Success that comes %s', (_when, make) => {
    const step = make().receive(Uint8Array.of(3, 7, 0, 4))
    expect(step).toMatchObject({ kind: 'failure', error: { code: 'eap-early-success' } })
  })

  it('refuses a server that cannot prove to know the password', () => {
    const step = challenged().receive(request(8, 26, 3, 7, 0, 46, ...utf8(`S=${'0'.repeat(40)}`)))
    expect(step).toMatchObject({ kind: 'failure', error: { code: 'eap-server-unproven' } })
  })

  it('refuses a success before any challenge', () => {
    const step = peerFor('alice', 'x').receive(request(8, 26, 3, 7, 0, 46, ...utf8(`S=${'0'.repeat(40)}`)))
    expect(step).toMatchObject({ kind: 'failure', error: { code: 'eap-malformed' } })
  })

  it.each([
    ['E=691 R=0 C=00112233445566778899AABBCCDDEEFF V=3 M=Go away', 'eap-wrong-credentials', 'Go away'],
    ['E=648 R=0 V=3', 'eap-password-expired', 'must be changed'],
    ['E=646 R=0', 'eap-logon-hours', 'time of day'],
    ['E=647 R=0', 'eap-account-disabled', 'disabled'],
    ['E=649 R=0', 'eap-not-permitted', 'not allowed'],
    ['E=691 R=0 M=bad\u0000\u001b[31m\nnews', 'eap-wrong-credentials', 'bad [31m news'],
    ['nonsense', 'eap-wrong-credentials', 'error 0']
  ])('turns the failure %j into %s', (message, code, words) => {
    const peer = challenged()
    const body = utf8(message)
    const ack = peer.receive(request(8, 26, 4, 7, 0, 4 + body.length, ...body))
    expect(ack).toEqual({ kind: 'reply', packet: Uint8Array.of(2, 8, 0, 6, 26, 4) })
    expect(peer.refusal?.code).toBe(code)
    const end = peer.receive(Uint8Array.of(4, 8, 0, 4))
    expect(end).toMatchObject({ kind: 'failure', error: { code } })
    expect(end.kind === 'failure' && end.error.message).toContain(words)
    expect(JSON.stringify(end.kind === 'failure' && [end.error.message, end.error.hint])).not.toContain(
      'hunter2'
    )
  })

  it('says that a password must be changed when the server asks for a new one', () => {
    const step = challenged().receive(request(8, 26, 7, 7, 0, 4))
    expect(step).toMatchObject({ kind: 'failure', error: { code: 'eap-password-expired' } })
  })

  it('refuses a second challenge', () => {
    const second = Uint8Array.from(challenge)
    second[1] = 8
    expect(challenged().receive(second)).toMatchObject({ kind: 'failure', error: { code: 'eap-malformed' } })
  })
})

describe('the server', () => {
  it('refuses to be set up without a method that can run', () => {
    const make = (methods: number[]) =>
      new EapServer({ methods, passwordOf: () => undefined }, seededRandom('x'))
    expect(() => make([])).toThrow(ConfigurationError)
    expect(() => make([EapType.TTLS])).toThrow(ConfigurationError)
    expect(() => make([EapType.TLS])).toThrow(ConfigurationError)
  })

  it('ends with EAP-Failure when the peer wants another method', () => {
    const server = serverFor({})
    const start = server.start()
    const first = server.receive(Uint8Array.of(2, start[1] ?? 0, 0, 6, 1, 97))
    if (first.kind !== 'reply') throw new Error(first.kind)
    const end = server.receive(Uint8Array.of(2, first.packet[1] ?? 0, 0, 6, 3, 13))
    expect(end).toMatchObject({ kind: 'failure', error: { code: 'eap-no-common-method' } })
    expect(end.kind === 'failure' && end.packet).toEqual(Uint8Array.of(4, first.packet[1] ?? 0, 0, 4))
  })

  it('repeats its request when a response is repeated', () => {
    const server = serverFor({})
    const start = server.start()
    const identity = Uint8Array.of(2, start[1] ?? 0, 0, 6, 1, 97)
    const first = server.receive(identity)
    expect(server.receive(identity)).toEqual(first)
  })

  it('refuses a response to another request', () => {
    const server = serverFor({})
    const start = server.start()
    const step = server.receive(Uint8Array.of(2, ((start[1] ?? 0) + 3) & 0xff, 0, 6, 1, 97))
    expect(step.kind).toBe('failure')
    expect(step.kind === 'failure' && step.error).toBeInstanceOf(ProtocolError)
  })

  it('accepts no acknowledgement of a success that it has not sent', () => {
    const server = serverFor({ a: 'x' })
    const start = server.start()
    const challenge = server.receive(Uint8Array.of(2, start[1] ?? 0, 0, 6, 1, 97))
    if (challenge.kind !== 'reply') throw new Error(challenge.kind)
    const step = server.receive(Uint8Array.of(2, challenge.packet[1] ?? 0, 0, 6, 26, 3))
    expect(step).toMatchObject({ kind: 'failure', error: { code: 'eap-malformed' } })
  })
})
