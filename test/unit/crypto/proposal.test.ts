import { describe, expect, it } from 'vitest'
import {
  DEFAULT_ESP_PROPOSALS,
  DEFAULT_IKE_PROPOSALS,
  DEFAULT_RESPONDER_ESP_PROPOSALS,
  formatChosenSuite,
  formatProposal,
  parseEspProposal,
  parseIkeProposal,
  parseProposals,
  proposalGroups
} from '../../../src/crypto/proposal.ts'
import { ConfigurationError } from '../../../src/errors.ts'
import { TransformType } from '../../../src/wire/ike-constants.ts'
import type { Proposal } from '../../../src/wire/ike-message.ts'

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
