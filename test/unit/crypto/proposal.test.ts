import { describe, expect, it } from 'vitest'
import {
  chooseProposal,
  DEFAULT_ESP_PROPOSALS,
  DEFAULT_IKE_PROPOSALS,
  DEFAULT_RESPONDER_ESP_PROPOSALS,
  formatChosenSuite,
  formatProposal,
  parseEspProposal,
  parseIkeProposal,
  parseProposals,
  proposalGroups,
  suiteOf,
  transformOf,
  verifyChosen,
  withoutKeyExchange,
  withSpi
} from '../../../src/crypto/proposal.ts'
import { ConfigurationError } from '../../../src/errors.ts'
import { TransformType } from '../../../src/wire/ike-constants.ts'
import type { Proposal, Transform } from '../../../src/wire/ike-message.ts'

const { ENCR, PRF, INTEG, KE, ESN } = TransformType

function plain(proposal: Proposal): string[] {
  return proposal.transforms.map(
    ({ type, id, keyLengthBits }) => `${type}:${id}${keyLengthBits === undefined ? '' : `/${keyLengthBits}`}`
  )
}

function errorOf(action: () => unknown): ConfigurationError {
  try {
    action()
  } catch (error) {
    if (error instanceof ConfigurationError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('keywords', () => {
  it.each([
    ['aes128gcm16', '1:20/128'],
    ['aes128gcm', '1:20/128'],
    ['aes128gcm128', '1:20/128'],
    ['aes192gcm16', '1:20/192'],
    ['aes256gcm16', '1:20/256'],
    ['aes256gcm', '1:20/256'],
    ['chacha20poly1305', '1:28']
  ])('AEAD %s is %s', (keyword, transform) => {
    expect(plain(parseIkeProposal(`${keyword}-prfsha256-x25519`))).toEqual([transform, '2:5', '4:31'])
    expect(plain(parseEspProposal(keyword))).toEqual([transform, '5:0'])
  })

  it.each([
    ['aes', '1:12/128'],
    ['aes128', '1:12/128'],
    ['aes192', '1:12/192'],
    ['aes256', '1:12/256']
  ])('cipher %s is %s', (keyword, transform) => {
    expect(plain(parseEspProposal(`${keyword}-sha256`))).toEqual([transform, '3:12', '5:0'])
  })

  it.each([
    ['sha1', '3:2', '2:2'],
    ['sha', '3:2', '2:2'],
    ['sha256', '3:12', '2:5'],
    ['sha2_256', '3:12', '2:5'],
    ['sha384', '3:13', '2:6'],
    ['sha512', '3:14', '2:7']
  ])('integrity %s is %s and implies the PRF %s', (keyword, integrity, prf) => {
    expect(plain(parseIkeProposal(`aes128-${keyword}-modp2048`))).toEqual([
      '1:12/128',
      integrity,
      prf,
      '4:14'
    ])
  })

  it.each([
    ['prfsha1', '2:2'],
    ['prfsha256', '2:5'],
    ['prfsha384', '2:6'],
    ['prfsha512', '2:7']
  ])('PRF %s is %s and keeps others from being implied', (keyword, prf) => {
    expect(plain(parseIkeProposal(`aes128-sha256-${keyword}-modp2048`))).toEqual([
      '1:12/128',
      '3:12',
      prf,
      '4:14'
    ])
  })

  it.each([
    ['x25519', 31],
    ['curve25519', 31],
    ['x448', 32],
    ['curve448', 32],
    ['ecp256', 19],
    ['ecp384', 20],
    ['ecp521', 21],
    ['modp2048', 14],
    ['modp3072', 15],
    ['modp4096', 16]
  ])('group %s is %i', (keyword, id) => {
    expect(proposalGroups([parseIkeProposal(`aes128-sha256-${keyword}`)])).toEqual([id])
  })

  it('takes several of each kind, in any order and case, each once', () => {
    expect(plain(parseIkeProposal(' X25519-SHA256-aes256-sha512-ecp256-AES128-aes256 '))).toEqual([
      '1:12/256',
      '1:12/128',
      '3:12',
      '3:14',
      '2:5',
      '2:7',
      '4:31',
      '4:19'
    ])
    expect(plain(parseEspProposal('esn-aes128gcm16-noesn-x25519'))).toEqual([
      '1:20/128',
      '4:31',
      '5:1',
      '5:0'
    ])
  })

  it('turns the integrity algorithm of an AEAD proposal into its PRF, as strongSwan does', () => {
    expect(plain(parseIkeProposal('aes128gcm16-sha256-x25519'))).toEqual(['1:20/128', '2:5', '4:31'])
    expect(plain(parseEspProposal('aes128gcm16-sha256'))).toEqual(['1:20/128', '5:0'])
  })

  it.each([
    ['aes256gcm-prfsha256-x25591', 'proposal-keyword-unknown', 'Did you mean "x25519"?'],
    ['aes256-sha265-x25519', 'proposal-keyword-unknown', 'Did you mean "sha256"?'],
    ['aes256-sha256-modp2084', 'proposal-keyword-unknown', 'Did you mean "modp2048"?'],
    ['chacha20-prfsha256-x25519', 'proposal-keyword-unknown', 'Did you mean "chacha20poly1305"?'],
    ['camellia256-sha256-x25519', 'proposal-keyword-unknown', 'See the list of keywords in the manual.'],
    ['3des-sha256-modp2048', 'proposal-keyword-unknown', 'Did you mean "aes"?'],
    ['', 'proposal-keyword-unknown', 'See the list of keywords in the manual.'],
    ['aes128--sha256-modp2048', 'proposal-keyword-unknown', undefined],
    ['aes128gcm16-x25519', 'proposal-incomplete', 'Add one, for example "prfsha256".'],
    ['aes128-sha256', 'proposal-incomplete', 'Add one, for example "x25519".'],
    ['aes128-x25519', 'proposal-incomplete', 'Add one, for example "sha256".'],
    ['sha256-x25519', 'proposal-incomplete', 'Add one, for example "aes256gcm16".'],
    ['aes128-aes128gcm16-sha256-x25519', 'proposal-mixed', undefined],
    ['aes128-sha256-x25519-esn', 'proposal-keyword-misplaced', 'Remove "esn" from it.'],
    ['aes128-sha256-modpnone', 'proposal-keyword-misplaced', undefined]
  ])('IKE proposal "%s" is refused: %s', (text, code, hint) => {
    const error = errorOf(() => parseIkeProposal(text))
    expect(error.code).toBe(code)
    if (hint !== undefined) expect(error.hint).toBe(hint)
  })

  it.each([
    ['aes128', 'proposal-incomplete'],
    ['aes128-sha256-prfsha256', 'proposal-keyword-misplaced'],
    ['aes128gcm16-aes128-sha256', 'proposal-mixed'],
    ['noesn', 'proposal-incomplete']
  ])('ESP proposal "%s" is refused: %s', (text, code) => {
    expect(errorOf(() => parseEspProposal(text)).code).toBe(code)
  })

  it('numbers several proposals, joined by commas or apart', () => {
    const parsed = parseProposals(['aes128gcm16,aes256gcm16', 'aes128-sha256'], 'esp')
    expect(parsed.map(({ number }) => number)).toEqual([1, 2, 3])
  })

  it('formats to what parses to the same again', () => {
    for (const proposal of DEFAULT_IKE_PROPOSALS)
      expect(plain(parseIkeProposal(formatProposal(proposal, 'ike')))).toEqual(plain(proposal))
    for (const proposal of [...DEFAULT_ESP_PROPOSALS, ...DEFAULT_RESPONDER_ESP_PROPOSALS])
      expect(plain(parseEspProposal(formatProposal(proposal, 'esp')))).toEqual(plain(proposal))
  })

  it('shows what it has no keyword for by number', () => {
    const odd: Proposal = {
      number: 1,
      protocolId: 1,
      spi: new Uint8Array(0),
      transforms: [
        { type: ENCR, id: 20, keyLengthBits: 512 },
        { type: KE, id: 36 },
        { type: 6, id: 37 }
      ]
    }
    expect(formatProposal(odd, 'ike')).toBe('1:20/512-4:36-6:37')
  })

  it('shows a chosen suite without what goes without saying', () => {
    expect(formatChosenSuite(parseEspProposal('aes128gcm16-noesn-modpnone'), 'esp')).toBe('aes128gcm16')
    expect(formatChosenSuite(parseEspProposal('aes128-sha256-esn-x25519'), 'esp')).toBe(
      'aes128-sha256-x25519-esn'
    )
    expect(formatChosenSuite(parseIkeProposal('aes256gcm16-prfsha384-ecp384'), 'ike')).toBe(
      'aes256gcm16-prfsha384-ecp384'
    )
  })
})

describe('default proposals', () => {
  it('give AES a KEY LENGTH and nothing else one', () => {
    for (const { transforms } of [...DEFAULT_IKE_PROPOSALS, ...DEFAULT_ESP_PROPOSALS])
      for (const { type, id, keyLengthBits } of transforms)
        expect(keyLengthBits !== undefined).toBe(type === ENCR && id !== 28)
  })

  it('keep AEADs apart and first, without integrity, and never offer SHA-1', () => {
    const [aead, cbc] = DEFAULT_IKE_PROPOSALS
    expect(aead && plain(aead)).toEqual([
      ...['1:20/256', '1:20/128', '1:28', '2:5', '2:6', '2:7'],
      ...['4:31', '4:19', '4:20', '4:21', '4:32', '4:15', '4:16', '4:14']
    ])
    expect(cbc?.transforms.filter(({ type }) => type === INTEG)).toHaveLength(3)
    for (const { transforms } of [...DEFAULT_IKE_PROPOSALS, ...DEFAULT_ESP_PROPOSALS])
      for (const { type, id } of transforms) expect((type === PRF || type === INTEG) && id === 2).toBe(false)
  })

  it('offer ESP with and without ESN and no groups', () => {
    for (const proposal of DEFAULT_ESP_PROPOSALS) {
      expect(proposal.transforms.filter(({ type }) => type === ESN).map(({ id }) => id)).toEqual([0, 1])
      expect(proposalGroups([proposal])).toEqual([])
    }
  })
})

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
