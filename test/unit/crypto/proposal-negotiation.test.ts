import { describe, expect, it } from 'vitest'
import {
  chooseProposal,
  DEFAULT_ESP_PROPOSALS,
  DEFAULT_IKE_PROPOSALS,
  DEFAULT_RESPONDER_ESP_PROPOSALS,
  parseEspProposal,
  parseIkeProposal,
  proposalGroups,
  suiteOf,
  transformOf,
  verifyChosen,
  withoutKeyExchange,
  withSpi
} from '../../../src/crypto/proposal.ts'
import { TransformType } from '../../../src/wire/ike-constants.ts'
import type { Proposal, Transform } from '../../../src/wire/ike-message.ts'

const { ENCR, PRF, INTEG, KE } = TransformType

function plain(proposal: Proposal): string[] {
  return proposal.transforms.map(
    ({ type, id, keyLengthBits }) => `${type}:${id}${keyLengthBits === undefined ? '' : `/${keyLengthBits}`}`
  )
}

const ike = (text: string, number = 1): Proposal => ({ ...parseIkeProposal(text), number })
const esp = (text: string, number = 1): Proposal => ({ ...parseEspProposal(text), number })
const withTransforms = (proposal: Proposal, ...more: Transform[]): Proposal => ({
  ...proposal,
  transforms: [...proposal.transforms, ...more]
})

describe('choice of a responder', () => {
  it('takes one transform of each type, by its own preference, with the number and SPI of the offer', () => {
    const offered = [
      ike('aes128-aes256-sha256-sha512-modp2048-x25519', 3),
      withSpi(
        ike('aes128gcm16-aes256gcm16-prfsha512-prfsha256-modp2048-x25519', 7),
        Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
      )
    ]
    const chosen = chooseProposal(offered, DEFAULT_IKE_PROPOSALS, 'ike')
    expect(chosen?.number).toBe(7)
    expect(chosen?.spi).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
    expect(chosen && plain(chosen)).toEqual(['1:20/256', '2:5', '4:31'])
    expect(chosen && verifyChosen([chosen], offered)).toMatchObject({ ok: true })
  })

  it('prefers the group of the KE payload at hand', () => {
    const offered = [ike('aes256gcm16-prfsha256-ecp384-x25519')]
    const group = (preferredGroup?: number) =>
      transformOf(
        chooseProposal(offered, DEFAULT_IKE_PROPOSALS, 'ike', { preferredGroup }) ?? ike('aes-sha1-ecp521'),
        KE
      )?.id
    expect(group()).toBe(31)
    expect(group(20)).toBe(20)
    expect(group(14)).toBe(31)
  })

  it('finds nothing where nothing is common', () => {
    const choose = (offer: Proposal) => chooseProposal([offer], [ike('aes256gcm16-prfsha256-x25519')], 'ike')
    expect(choose(ike('aes128gcm16-prfsha256-x25519'))).toBeUndefined()
    expect(choose(ike('aes256gcm16-prfsha384-x25519'))).toBeUndefined()
    expect(choose(ike('aes256gcm16-prfsha256-ecp256'))).toBeUndefined()
    expect(choose(ike('aes256-sha256-x25519'))).toBeUndefined()
    expect(chooseProposal([], DEFAULT_IKE_PROPOSALS, 'ike')).toBeUndefined()
  })

  it('does not choose AES without its KEY LENGTH', () => {
    const offer: Proposal = {
      ...ike('aes256gcm16-prfsha256-x25519'),
      transforms: [
        { type: ENCR, id: 20 },
        { type: PRF, id: 5 },
        { type: KE, id: 31 }
      ]
    }
    expect(chooseProposal([offer], DEFAULT_IKE_PROPOSALS, 'ike')).toBeUndefined()
  })

  it('never chooses a proposal with an unknown transform type, but another one beside it', () => {
    const odd = withTransforms(ike('aes256gcm16-prfsha256-x25519', 1), { type: 6, id: 36 })
    expect(chooseProposal([odd], DEFAULT_IKE_PROPOSALS, 'ike')).toBeUndefined()
    const offered = [odd, ike('aes256gcm16-prfsha256-x25519', 2)]
    expect(chooseProposal(offered, DEFAULT_IKE_PROPOSALS, 'ike')?.number).toBe(2)
  })

  it('passes over transforms with an unknown attribute', () => {
    const offer: Proposal = {
      ...ike('aes256gcm16-prfsha256-x25519'),
      transforms: [
        { type: ENCR, id: 20, keyLengthBits: 256, otherAttributes: true },
        { type: PRF, id: 5 },
        { type: KE, id: 31 }
      ]
    }
    expect(chooseProposal([offer], DEFAULT_IKE_PROPOSALS, 'ike')).toBeUndefined()
    const better = withTransforms(offer, { type: ENCR, id: 20, keyLengthBits: 128 })
    const chosen = chooseProposal([better], DEFAULT_IKE_PROPOSALS, 'ike')
    expect(chosen && plain(chosen)).toEqual(['1:20/128', '2:5', '4:31'])
  })

  it('does not mistake protocols', () => {
    expect(chooseProposal([esp('aes256gcm16')], DEFAULT_ESP_PROPOSALS, 'ike')).toBeUndefined()
    expect(
      chooseProposal([{ ...esp('aes256gcm16'), protocolId: 2 }], DEFAULT_ESP_PROPOSALS, 'esp')
    ).toBeUndefined()
  })

  it('answers an AEAD without integrity, or with the NONE that was offered', () => {
    const none = withTransforms(esp('aes256gcm16'), { type: INTEG, id: 0 })
    const chosen = chooseProposal([none], DEFAULT_ESP_PROPOSALS, 'esp')
    expect(chosen && plain(chosen)).toEqual(['1:20/256', '3:0', '5:0'])
    const mac = withTransforms(esp('aes256gcm16'), { type: INTEG, id: 12 })
    expect(chooseProposal([mac], DEFAULT_ESP_PROPOSALS, 'esp')).toBeUndefined()
  })

  it('never chooses CBC without integrity', () => {
    const bare: Proposal = {
      ...esp('aes128-sha256'),
      transforms: [{ type: ENCR, id: 12, keyLengthBits: 128 }]
    }
    const none = withTransforms(bare, { type: INTEG, id: 0 })
    const careless = [none]
    expect(chooseProposal([bare], careless, 'esp')).toBeUndefined()
    expect(chooseProposal([none], careless, 'esp')).toBeUndefined()
  })

  it('takes missing ESN for NO_ESN and leaves it out of the answer', () => {
    const offer: Proposal = {
      ...esp('aes256gcm16'),
      transforms: [{ type: ENCR, id: 20, keyLengthBits: 256 }]
    }
    const chosen = chooseProposal([offer], DEFAULT_ESP_PROPOSALS, 'esp')
    expect(chosen && plain(chosen)).toEqual(['1:20/256'])
    expect(chooseProposal([offer], [esp('aes256gcm16-esn')], 'esp')).toBeUndefined()
  })

  it.each([
    ['aes256gcm16', 'aes256gcm16', ['1:20/256', '5:0']],
    ['aes256gcm16-x25519', 'aes256gcm16', undefined],
    ['aes256gcm16', 'aes256gcm16-x25519', undefined],
    ['aes256gcm16-x25519-modpnone', 'aes256gcm16', ['1:20/256', '4:0', '5:0']],
    ['aes256gcm16', 'aes256gcm16-x25519-modpnone', ['1:20/256', '5:0']],
    ['aes256gcm16-ecp256-x25519', 'aes256gcm16-x25519-modpnone', ['1:20/256', '4:31', '5:0']]
  ])('PFS: offered %s, configured %s gives %j', (offered, configured, expected) => {
    const chosen = chooseProposal([esp(offered)], [esp(configured)], 'esp')
    expect(chosen && plain(chosen)).toEqual(expected)
  })

  it('lets the default responder accept every initiator default, with PFS or without', () => {
    for (const text of [
      'aes128gcm16',
      'aes256-sha512-esn',
      'chacha20poly1305-x448',
      'aes192-sha384-modp4096-noesn'
    ])
      expect(chooseProposal([esp(text)], DEFAULT_RESPONDER_ESP_PROPOSALS, 'esp')).toBeDefined()
  })
})

describe("an initiator's check of the answer", () => {
  const offered = [
    ike('aes256gcm16-aes128gcm16-prfsha256-prfsha384-x25519-ecp256', 1),
    ike('aes128-sha256-x25519', 2)
  ]
  const answer = ike('aes128gcm16-prfsha384-ecp256', 1)
  const reasonFor = (chosen: readonly Proposal[], offer: readonly Proposal[] = offered) => {
    const verdict = verifyChosen(chosen, offer)
    return verdict.ok ? 'ok' : verdict.reason
  }

  it('accepts what was offered', () => {
    expect(verifyChosen([answer], offered)).toEqual({ ok: true, proposal: answer })
    expect(suiteOf(answer)?.encryptionKeyLength).toBe(20)
  })

  it.each([
    ['no proposal', [], /0 proposals/],
    ['two proposals', [answer, answer], /2 proposals/],
    ['a number that was not offered', [{ ...answer, number: 3 }], /proposal 3/],
    ['another protocol', [{ ...answer, protocolId: 3 }], /proposal 1/],
    ['a transform of another proposal', [ike('aes128-sha256-x25519', 1)], /transform 1:12/],
    ['a weaker key', [ike('aes192gcm16-prfsha256-x25519', 1)], /transform 1:20/],
    ['a group that was not offered', [ike('aes128gcm16-prfsha256-ecp521', 1)], /transform 4:21/],
    ['two groups', [ike('aes128gcm16-prfsha256-x25519-ecp256', 1)], /two transforms of type 4/],
    ['an unknown type', [withTransforms(answer, { type: 6, id: 1 })], /transform 6:1/],
    ['no group', [withoutKeyExchange(answer)], /no transform of type 4/],
    [
      'an unknown attribute',
      [{ ...answer, transforms: answer.transforms.map((t) => ({ ...t, otherAttributes: true })) }],
      /not offered/
    ]
  ])('refuses %s', (_, chosen, reason) => {
    expect(reasonFor(chosen)).toMatch(reason)
  })

  it('accepts NONE for an integrity transform that was not offered', () => {
    expect(reasonFor([withTransforms(answer, { type: INTEG, id: 0 })])).toBe('ok')
    expect(reasonFor([withTransforms(answer, { type: INTEG, id: 12 })])).toMatch(/transform 3:12/)
  })

  it('accepts the absence of what may be absent', () => {
    const esps = [esp('aes256gcm16-x25519-modpnone-esn-noesn')]
    expect(reasonFor([withoutKeyExchange(esp('aes256gcm16-noesn'))], esps)).toBe('ok')
    expect(
      reasonFor([{ ...esp('aes256gcm16'), transforms: [{ type: ENCR, id: 20, keyLengthBits: 256 }] }], esps)
    ).toBe('ok')
    expect(reasonFor([esp('aes256gcm16')], [esp('aes256gcm16-esn')])).toMatch(/5:0/)
    expect(
      reasonFor(
        [{ ...esp('aes256gcm16'), transforms: [{ type: ENCR, id: 20, keyLengthBits: 256 }] }],
        [esp('aes256gcm16-esn')]
      )
    ).toMatch(/no transform of type 5/)
  })
})

describe('helpers', () => {
  it('lists groups once and in order', () => {
    expect(
      proposalGroups([ike('aes128-sha256-ecp384-x25519'), ike('aes256-sha256-x25519-modp3072')])
    ).toEqual([20, 31, 15])
    expect(proposalGroups([esp('aes256gcm16-modpnone')])).toEqual([])
  })
})
