/**
 * Proposals as people write them: parsing and printing strongSwan's keywords, and the defaults
 * (RFC 7296 section 3.3; what to offer: RFC 8247, RFC 8221).
 *
 * AES transforms carry KEY LENGTH and no others do (RFC 7296 section 3.3.5). AEAD and other ciphers never share
 * a proposal (RFC 5282 section 8).
 * @module
 */
import { ConfigurationError } from '../errors.ts'
import { EsnId, IntegrityId, KeyExchangeId, PrfId, ProtocolId, TransformType } from '../wire/ike-constants.ts'
import type { Proposal, Transform } from '../wire/ike-message.ts'
import { isAeadEncryption } from './cipher-suite.ts'
import { keywordOfTransform, nearestKeyword, sameTransform, transformOfKeyword } from './proposal-keywords.ts'

export * from './proposal-choice.ts'

export type ProposalKind = 'ike' | 'esp'

const { ENCR, PRF, INTEG, KE, ESN } = TransformType
/** The order in which transforms are stored and shown. */
const TYPE_ORDER: readonly number[] = [ENCR, INTEG, PRF, KE, ESN]

const PRF_OF_INTEGRITY: ReadonlyMap<number, number> = new Map([
  [IntegrityId.HMAC_SHA1_96, PrfId.HMAC_SHA1],
  [IntegrityId.HMAC_SHA2_256_128, PrfId.HMAC_SHA2_256],
  [IntegrityId.HMAC_SHA2_384_192, PrfId.HMAC_SHA2_384],
  [IntegrityId.HMAC_SHA2_512_256, PrfId.HMAC_SHA2_512]
])

/**
 * An IKE proposal from keywords joined by `-`, as number 1. A missing PRF is derived from the integrity algorithms.
 *
 * @throws ConfigurationError naming the keyword that is wrong, or what is missing
 */
export function parseIkeProposal(text: string): Proposal {
  const given = parseKeywords(text, 'ike')
  const aead = classifyEncryption(given, text)
  const integrity = given.filter((transform) => transform.type === INTEG)
  const prfs = given.filter((transform) => transform.type === PRF)
  if (!aead && integrity.length === 0) throw missing(text, 'an integrity algorithm', 'sha256')
  if (prfs.length === 0)
    for (const { id } of integrity) {
      const prf = PRF_OF_INTEGRITY.get(id)
      if (prf !== undefined) given.push({ type: PRF, id: prf })
    }
  if (!given.some((transform) => transform.type === PRF))
    throw missing(text, 'a pseudo-random function', 'prfsha256')
  if (!given.some((transform) => transform.type === KE)) throw missing(text, 'a key exchange group', 'x25519')
  const kept = aead ? given.filter((transform) => transform.type !== INTEG) : given
  return proposalOf(ProtocolId.IKE, kept)
}

/**
 * An ESP proposal from keywords joined by `-`, as number 1. Without `esn` or `noesn` it offers NO_ESN, as strongSwan
 * does. Groups are for CREATE_CHILD_SA (PFS); IKE_AUTH leaves them out.
 *
 * @throws ConfigurationError naming the keyword that is wrong, or what is missing
 */
export function parseEspProposal(text: string): Proposal {
  const given = parseKeywords(text, 'esp')
  const aead = classifyEncryption(given, text)
  if (!aead && !given.some((transform) => transform.type === INTEG))
    throw missing(text, 'an integrity algorithm', 'sha256')
  if (!given.some((transform) => transform.type === ESN)) given.push({ type: ESN, id: EsnId.NO_ESN })
  const kept = aead ? given.filter((transform) => transform.type !== INTEG) : given
  return proposalOf(ProtocolId.ESP, kept)
}

/**
 * Several proposals, each text holding one or more separated by commas, numbered from 1 in order.
 *
 * @throws ConfigurationError as the parsers above
 */
export function parseProposals(texts: readonly string[], kind: ProposalKind): Proposal[] {
  const parse = kind === 'ike' ? parseIkeProposal : parseEspProposal
  const single = texts.flatMap((text) => text.split(','))
  return single.map((text, index) => ({ ...parse(text), number: index + 1 }))
}

function parseKeywords(text: string, kind: ProposalKind): Transform[] {
  const transforms: Transform[] = []
  for (const word of text.trim().toLowerCase().split('-')) {
    const transform = transformOfKeyword(word)
    if (transform === undefined) throw unknownKeyword(word, text)
    if (!belongs(transform, kind))
      throw new ConfigurationError(
        'proposal-keyword-misplaced',
        `"${word}" does not belong in an ${kind.toUpperCase()} proposal ("${text.trim()}")`,
        { hint: `Remove "${word}" from it.` }
      )
    if (!transforms.some((other) => sameTransform(other, transform))) transforms.push(transform)
  }
  return transforms
}

function belongs(transform: Transform, kind: ProposalKind): boolean {
  if (kind === 'esp') return transform.type !== PRF
  return transform.type !== ESN && !(transform.type === KE && transform.id === KeyExchangeId.NONE)
}

/** @returns whether the proposal's ciphers are AEADs */
function classifyEncryption(transforms: readonly Transform[], text: string): boolean {
  const ciphers = transforms.filter((transform) => transform.type === ENCR)
  if (ciphers.length === 0) throw missing(text, 'an encryption algorithm', 'aes256gcm16')
  const aeads = ciphers.filter(({ id }) => isAeadEncryption(id))
  if (aeads.length !== 0 && aeads.length !== ciphers.length)
    throw new ConfigurationError(
      'proposal-mixed',
      `the proposal "${text.trim()}" mixes combined-mode ciphers with others`,
      { hint: 'Write two proposals, one for the AEADs and one for AES-CBC.' }
    )
  return aeads.length !== 0
}

function proposalOf(protocolId: number, transforms: readonly Transform[]): Proposal {
  return { number: 1, protocolId, spi: new Uint8Array(0), transforms: inTypeOrder(transforms) }
}

function inTypeOrder(transforms: readonly Transform[]): Transform[] {
  return TYPE_ORDER.flatMap((type) => transforms.filter((transform) => transform.type === type))
}

function unknownKeyword(word: string, text: string): ConfigurationError {
  const nearest = nearestKeyword(word)
  return new ConfigurationError(
    'proposal-keyword-unknown',
    `"${word}" in the proposal "${text.trim()}" is not an algorithm that ikestream knows`,
    { hint: nearest === undefined ? 'See the list of keywords in the manual.' : `Did you mean "${nearest}"?` }
  )
}

function missing(text: string, what: string, example: string): ConfigurationError {
  return new ConfigurationError('proposal-incomplete', `the proposal "${text.trim()}" lacks ${what}`, {
    hint: `Add one, for example "${example}".`
  })
}

/** A proposal in keywords; what has none, or does not belong to `kind`, shows as `type:id`. */
export function formatProposal(proposal: Proposal, kind: ProposalKind): string {
  const order = TYPE_ORDER.filter((type) => type !== (kind === 'ike' ? ESN : PRF))
  // NONE says the same as no integrity transform at all, and has no keyword.
  const told = proposal.transforms.filter(({ type, id }) => type !== INTEG || id !== IntegrityId.NONE)
  const known = order.flatMap((type) => told.filter((transform) => transform.type === type))
  const alien = told.filter(({ type }) => !order.includes(type))
  return [...known.map(keywordOfTransform), ...alien.map(({ type, id }) => `${type}:${id}`)].join('-')
}

/** A negotiated suite for people and for JSON: as `formatProposal`, but silent about NO_ESN and no PFS. */
export function formatChosenSuite(chosen: Proposal, kind: ProposalKind): string {
  const told = chosen.transforms.filter(
    ({ type, id }) => !(type === ESN && id === EsnId.NO_ESN) && !(type === KE && id === KeyExchangeId.NONE)
  )
  return formatProposal({ ...chosen, transforms: told }, kind)
}

const GROUPS = 'x25519-ecp256-ecp384-ecp521-x448-modp3072-modp4096-modp2048'
const AEADS = 'aes256gcm16-aes128gcm16-chacha20poly1305'
const CBCS = 'aes256-aes192-aes128-sha256-sha384-sha512'

/** Offered when the user names none: AEADs first, then AES-CBC with HMAC-SHA2. */
export const DEFAULT_IKE_PROPOSALS: readonly Proposal[] = parseProposals(
  [`${AEADS}-prfsha256-prfsha384-prfsha512-${GROUPS}`, `${CBCS}-prfsha256-prfsha384-prfsha512-${GROUPS}`],
  'ike'
)

/**
 * Offered when the user names none. Without groups, as strongSwan's own default: a gateway whose ESP proposal has none
 * would refuse a rekeying that asks for them, hours after connecting.
 */
export const DEFAULT_ESP_PROPOSALS: readonly Proposal[] = parseProposals(
  [`${AEADS}-noesn-esn`, `${CBCS}-noesn-esn`],
  'esp'
)

/** Accepted by a responder that was told nothing else: the same ciphers, with PFS as the initiator likes. */
export const DEFAULT_RESPONDER_ESP_PROPOSALS: readonly Proposal[] = parseProposals(
  [`${AEADS}-${GROUPS}-modpnone-esn-noesn`, `${CBCS}-${GROUPS}-modpnone-esn-noesn`],
  'esp'
)
