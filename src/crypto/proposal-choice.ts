/**
 * Negotiation of proposals: the responder's choice and the initiator's check of it (RFC 7296 sections 2.7, 3.3.6).
 *
 * A chosen proposal has exactly one transform of each type, all of them offered together in one proposal, and bears
 * that proposal's number. A transform type left out means its NONE (for ESN: NO_ESN).
 * @module
 */
import { EsnId, IntegrityId, KeyExchangeId, ProtocolId, TransformType } from '../wire/ike-constants.ts'
import type { Proposal, Transform } from '../wire/ike-message.ts'
import { cipherSuite, isAeadEncryption } from './cipher-suite.ts'
import { sameTransform } from './proposal-keywords.ts'
import type { CipherSuite } from './types.ts'

const { ENCR, PRF, INTEG, KE, ESN } = TransformType

const TYPES_OF: Readonly<Record<'ike' | 'esp', readonly number[]>> = {
  ike: [ENCR, PRF, INTEG, KE],
  esp: [ENCR, INTEG, KE, ESN]
}

/** What leaving a transform type out stands for; types without an entry must be there. */
const ABSENT_ID: ReadonlyMap<number, number> = new Map<number, number>([
  [INTEG, IntegrityId.NONE],
  [KE, KeyExchangeId.NONE],
  [ESN, EsnId.NO_ESN]
])

export interface ChoiceOptions {
  /** Group of the KE payload at hand: taken when both sides allow it, which saves an INVALID_KE_PAYLOAD. */
  readonly preferredGroup?: number | undefined
}

/**
 * The responder's choice: configured proposals in order of preference, against what the peer offered.
 *
 * @returns the chosen proposal with the peer's number and SPI and one transform a type; undefined: NO_PROPOSAL_CHOSEN
 */
export function chooseProposal(
  offered: readonly Proposal[],
  configured: readonly Proposal[],
  kind: 'ike' | 'esp',
  options: ChoiceOptions = {}
): Proposal | undefined {
  for (const own of configured)
    for (const offer of offered) {
      const transforms = intersect(offer, own, kind, options.preferredGroup)
      if (transforms !== undefined)
        return { number: offer.number, protocolId: offer.protocolId, spi: offer.spi, transforms }
    }
  return undefined
}

function intersect(
  offer: Proposal,
  own: Proposal,
  kind: 'ike' | 'esp',
  preferredGroup: number | undefined
): Transform[] | undefined {
  const types = TYPES_OF[kind]
  const protocol = kind === 'ike' ? ProtocolId.IKE : ProtocolId.ESP
  if (offer.protocolId !== protocol || own.protocolId !== protocol) return undefined
  // A type that is not understood rules the whole proposal out (section 3.3.6).
  if (offer.transforms.some(({ type }) => !types.includes(type))) return undefined
  const encryption = pick(offer, own, ENCR, undefined)
  if (encryption === undefined) return undefined
  const aead = isAeadEncryption(encryption.id)
  const chosen: Transform[] = [encryption]
  for (const type of types.slice(1)) {
    const transform =
      type === INTEG && aead
        ? pickAeadIntegrity(offer)
        : pick(offer, own, type, type === KE ? preferredGroup : undefined)
    if (transform === undefined) return undefined
    if (type === INTEG && !aead && transform.id === IntegrityId.NONE) return undefined
    if (kind === 'ike' && type === KE && transform.id === KeyExchangeId.NONE) return undefined
    // What the offer left out stays out of the answer.
    if (offer.transforms.some((other) => other.type === type)) chosen.push(transform)
  }
  return chosen
}

/** AEADs go without a MAC: nothing offered, or NONE among what was offered (RFC 5282 section 8). */
function pickAeadIntegrity(offer: Proposal): Transform | undefined {
  return candidates(offer, INTEG).find(({ id }) => id === IntegrityId.NONE)
}

function pick(
  offer: Proposal,
  own: Proposal,
  type: number,
  preferredId: number | undefined
): Transform | undefined {
  const theirs = candidates(offer, type)
  const common = candidates(own, type).filter((mine) => theirs.some((their) => sameTransform(mine, their)))
  return common.find(({ id }) => id === preferredId) ?? common[0]
}

function candidates(proposal: Proposal, type: number): Transform[] {
  const present = proposal.transforms.filter((transform) => transform.type === type)
  if (present.length > 0) return present
  const absentId = ABSENT_ID.get(type)
  return absentId === undefined ? [] : [{ type, id: absentId }]
}

export type VerifiedChoice =
  | { readonly ok: true; readonly proposal: Proposal }
  /** One sentence for the log. */
  | { readonly ok: false; readonly reason: string }

/** The initiator's check that the peer's answer is one single proposal out of those that were offered (section 2.7). */
export function verifyChosen(chosen: readonly Proposal[], offered: readonly Proposal[]): VerifiedChoice {
  const [proposal] = chosen
  if (proposal === undefined || chosen.length !== 1)
    return { ok: false, reason: `the peer answered with ${chosen.length} proposals instead of one` }
  const offer = offered.find(
    ({ number, protocolId }) => number === proposal.number && protocolId === proposal.protocolId
  )
  if (offer === undefined)
    return { ok: false, reason: `the peer chose proposal ${proposal.number}, which was not offered` }
  const seen = new Set<number>()
  for (const transform of proposal.transforms) {
    const { type } = transform
    if (seen.has(type)) return { ok: false, reason: `the peer chose two transforms of type ${type}` }
    seen.add(type)
    const isNone = type !== ENCR && type !== ESN && ABSENT_ID.get(type) === transform.id
    const wasOffered = offer.transforms.some((other) => sameTransform(other, transform))
    const leftOut = !offer.transforms.some((other) => other.type === type)
    if (!wasOffered && !(isNone && leftOut))
      return { ok: false, reason: `the peer chose transform ${type}:${transform.id}, which was not offered` }
  }
  for (const { type } of offer.transforms) {
    if (seen.has(type)) continue
    const allowed = offer.transforms.some((other) => other.type === type && other.id === ABSENT_ID.get(type))
    if (!allowed) return { ok: false, reason: `the peer chose no transform of type ${type}` }
  }
  if (suiteOf(proposal) === undefined)
    return { ok: false, reason: 'the peer chose a combination of transforms that makes no suite' }
  return { ok: true, proposal }
}

/** The single transform of a type in a chosen proposal. */
export function transformOf(chosen: Proposal, type: number): Transform | undefined {
  return chosen.transforms.find((transform) => transform.type === type)
}

/** Cipher and MAC of a chosen proposal; undefined when they make no suite that is spoken here. */
export function suiteOf(chosen: Proposal): CipherSuite | undefined {
  const encryption = transformOf(chosen, ENCR)
  if (encryption === undefined) return undefined
  const integrity = transformOf(chosen, INTEG)?.id ?? IntegrityId.NONE
  return cipherSuite(encryption.id, encryption.keyLengthBits, integrity)
}

/** The key exchange groups of these proposals, each once, in order; NONE left out. */
export function proposalGroups(proposals: readonly Proposal[]): number[] {
  const groups = proposals.flatMap(({ transforms }) =>
    transforms.filter(({ type, id }) => type === KE && id !== KeyExchangeId.NONE).map(({ id }) => id)
  )
  return [...new Set(groups)]
}

/** The proposal without key exchange transforms: for IKE_AUTH, whose Child SA has no exchange of its own (section 1.2). */
export function withoutKeyExchange(proposal: Proposal): Proposal {
  return { ...proposal, transforms: proposal.transforms.filter(({ type }) => type !== KE) }
}

/** The proposal with an SPI: 4 bytes for ESP, 8 for the rekeying of an IKE SA. */
export function withSpi(proposal: Proposal, spi: Uint8Array): Proposal {
  return { ...proposal, spi }
}
