import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type InitAnswer,
  type InitOutcome,
  InitProbe,
  type InitQuestion,
  isItself,
  isSeenAt,
  REFUSABLE_OFFER
} from '../../../src/check/init-probe.ts'
import { natEvidence } from '../../../src/check/nat.ts'
import { DEFAULT_IKE_PROPOSALS, parseProposals } from '../../../src/crypto/proposal.ts'
import { natDetectionHash } from '../../../src/ike/tasks/natd.ts'
import { encodeMessage } from '../../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { notify } from '../../../src/wire/ike-helpers.ts'
import { InitGateway } from '../../support/init-gateway.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const OWN = { address: '10.0.0.2', port: 40_000 }
const GATEWAY = { address: '203.0.113.7', port: 4500 }

function question(changes: Partial<InitQuestion> = {}): InitQuestion {
  return { proposals: DEFAULT_IKE_PROPOSALS, real: true, remote: GATEWAY, ...changes }
}

/** Asks until there is nothing more to be asked. */
function ask(probe: InitProbe, gateway: InitGateway): InitAnswer {
  for (let round = 0; round < 5; round++) {
    const [bytes] = gateway.answer(probe.message)
    const outcome: InitOutcome = bytes === undefined ? { type: 'ignored' } : probe.receive(bytes)
    if (outcome.type === 'answer') return outcome.answer
    expect(outcome.type).toBe('again')
  }
  throw new Error('no end to the questions')
}

describe('an IKE_SA_INIT that only asks', () => {
  it('is answered as a session would be, and leaves one half-open SA, however often it is repeated', () => {
    const gateway = new InitGateway(OWN, GATEWAY)
    const probe = new InitProbe(question(), new SeededRandom(1))
    const first = ask(probe, gateway)
    expect(first).toMatchObject({
      kind: 'accepted',
      suite: 'aes256gcm16-prfsha256-x25519',
      offerWasReal: true,
      fragmentation: true
    })
    expect(ask(probe, gateway)).toEqual(first)
    expect(gateway.responder.halfOpen).toBe(1)
  })

  it('leaves nothing where it offers what nobody accepts', () => {
    const gateway = new InitGateway(OWN, GATEWAY)
    const probe = new InitProbe(question({ proposals: REFUSABLE_OFFER, real: false }), new SeededRandom(2))
    expect(ask(probe, gateway)).toMatchObject({
      kind: 'no-proposal-chosen',
      notify: 'NO_PROPOSAL_CHOSEN',
      offerWasReal: false,
      suite: null
    })
    expect(gateway.responder.halfOpen).toBe(0)
  })

  it('brings a cookie back where the real answer is wanted, and not where any will do', () => {
    const gateway = new InitGateway(OWN, GATEWAY, { cookies: 'always' })
    expect(ask(new InitProbe(question(), new SeededRandom(3)), gateway).kind).toBe('accepted')
    const any = new InitProbe(question({ proposals: REFUSABLE_OFFER, real: false }), new SeededRandom(4))
    expect(ask(any, gateway).kind).toBe('cookie')
    const followed = question({ proposals: REFUSABLE_OFFER, real: false, followCookie: true })
    expect(ask(new InitProbe(followed, new SeededRandom(5)), gateway).kind).toBe('no-proposal-chosen')
  })

  it('uses the group that the gateway wants', () => {
    const gateway = new InitGateway(OWN, GATEWAY, {
      ikeProposals: parseProposals(['aes256-sha256-modp2048'], 'ike')
    })
    expect(ask(new InitProbe(question(), new SeededRandom(6)), gateway)).toMatchObject({
      kind: 'accepted',
      suite: 'aes256-sha256-prfsha256-modp2048'
    })
  })

  it('says that a gateway takes nothing of a real offer', () => {
    const gateway = new InitGateway(OWN, GATEWAY, {
      ikeProposals: parseProposals(['aes128-sha1-modp4096'], 'ike')
    })
    const offer = parseProposals(['aes256gcm16-prfsha256-x25519'], 'ike')
    expect(ask(new InitProbe(question({ proposals: offer }), new SeededRandom(7)), gateway)).toMatchObject({
      kind: 'no-proposal-chosen',
      offerWasReal: true
    })
  })

  it('is exactly as long as it is wanted', () => {
    for (const lengthBytes of [600, 1240, 1468, 1469, 1940]) {
      const padded = question({ proposals: REFUSABLE_OFFER, real: false, lengthBytes })
      const probe = new InitProbe(padded, new SeededRandom(8))
      expect(probe.message).toHaveLength(lengthBytes)
      expect(ask(probe, new InitGateway(OWN, GATEWAY)).kind).toBe('no-proposal-chosen')
    }
  })

  it('knows a gateway that speaks another version', () => {
    const probe = new InitProbe(question(), new SeededRandom(9))
    const header = {
      spiI: probe.spiI,
      spiR: 0n,
      majorVersion: 1,
      minorVersion: 0,
      exchangeType: ExchangeType.IKE_SA_INIT,
      fromInitiator: false,
      isResponse: true,
      messageId: 0
    }
    const old = encodeMessage({ header, payloads: [] })
    expect(probe.receive(old)).toMatchObject({ type: 'answer', answer: { kind: 'other-version' } })
    const told = encodeMessage({
      header: { ...header, majorVersion: 2 },
      payloads: [notify(NotifyType.INVALID_MAJOR_VERSION)]
    })
    expect(probe.receive(told)).toMatchObject({ type: 'answer', answer: { kind: 'other-version' } })
  })

  it('has nothing to do with other messages, however much they look like answers', () => {
    const probe = new InitProbe(question(), new SeededRandom(10))
    const [genuine = new Uint8Array(0)] = new InitGateway(OWN, GATEWAY).answer(probe.message)
    expect(probe.receive(probe.message)).toEqual({ type: 'ignored' })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(), fc.nat({ max: 255 }), (rubbish, at, value) => {
        expect(probe.receive(rubbish)).toEqual({ type: 'ignored' })
        const bent = Uint8Array.from(genuine)
        bent[at % bent.length] = value
        const outcome = new InitProbe(question(), new SeededRandom(10)).receive(bent)
        expect(['answer', 'again', 'ignored']).toContain(outcome.type)
      })
    )
  })
})

describe('what IKE proves about a NAT', () => {
  const OUTER = '198.51.100.9'

  /** What a gateway says that sees us at `seenAs`. */
  function sighting(seenAs: typeof OWN, remote = GATEWAY, itself = remote) {
    const probe = new InitProbe(question({ remote }), new SeededRandom(remote.port))
    return { answer: ask(probe, new InitGateway(seenAs, itself)), spiI: probe.spiI, local: OWN, remote }
  }

  it('is that there is none where the gateway sees us as we are', () => {
    expect(natEvidence([sighting(OWN)], undefined)).toMatchObject({
      present: false,
      portPreserved: true,
      mappingVaries: false,
      localAddress: OWN.address,
      localPort: OWN.port
    })
  })

  it('is no more than that there is one without the public address', () => {
    expect(natEvidence([sighting({ address: OUTER, port: 40_000 })], undefined)).toMatchObject({
      present: true,
      publicAddress: null,
      mappedPorts: [],
      portPreserved: null,
      mappingVaries: null
    })
  })

  it('is the mapped port where the public address is known', () => {
    expect(natEvidence([sighting({ address: OUTER, port: 61_234 })], OUTER)).toMatchObject({
      present: true,
      publicAddress: OUTER,
      mappedPorts: [{ gatewayPort: 4500, port: 61_234 }],
      portPreserved: false,
      mappingVaries: null
    })
    expect(natEvidence([sighting({ address: OUTER, port: OWN.port })], OUTER)?.portPreserved).toBe(true)
  })

  it('is nothing where that address is a wrong one', () => {
    expect(natEvidence([sighting({ address: OUTER, port: 61_234 })], '198.51.100.10')).toMatchObject({
      present: true,
      publicAddress: null,
      mappedPorts: [],
      portPreserved: null
    })
  })

  it('is whether the mapping depends on the destination, from two of them', () => {
    const other = { address: GATEWAY.address, port: 500 }
    const [same, differs] = [1000, 2000].map((port) =>
      natEvidence(
        [sighting({ address: OUTER, port: 1000 }), sighting({ address: OUTER, port }, other)],
        OUTER
      )
    )
    expect(same?.mappingVaries).toBe(false)
    expect(differs?.mappingVaries).toBe(true)
  })

  it('knows a gateway that says it is elsewhere', () => {
    const { answer, spiI } = sighting(OWN)
    const claimed = natDetectionHash(spiI, answer.spiR, { address: '192.168.0.1', port: 4500 })
    const behind = { ...answer, itself: [claimed] }
    expect(isItself(behind, spiI, GATEWAY)).toBe(false)
    expect(isSeenAt(behind, spiI, OWN)).toBe(true)
    expect(
      natEvidence([{ answer: behind, spiI, local: OWN, remote: GATEWAY }], undefined)?.gatewayBehindNat
    ).toBe(true)
  })

  it('is nothing without an answer that holds hashes', () => {
    const { answer, ...rest } = sighting(OWN)
    expect(natEvidence([{ ...rest, answer: { ...answer, seenAs: undefined } }], undefined)).toBeNull()
    expect(natEvidence([], undefined)).toBeNull()
  })
})
