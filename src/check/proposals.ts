/**
 * Which IKE suites does the gateway accept? (`check --proposals`)
 *
 * Each question offers what is to be found out about, and a KE payload of a group that nobody has. Where the offer
 * is acceptable the gateway asks for another KE (INVALID_KE_PAYLOAD, RFC 7296 section 1.2) and says which; where it is
 * not it says NO_PROPOSAL_CHOSEN. Neither leaves a half-open IKE SA behind, and neither costs it a key exchange; and algorithms can
 * be asked about that ikestream itself does not speak. For the letter of the RFC the group of the KE payload is offered, too,
 * in a second proposal with a cipher that nobody has.
 *
 * What is found out is pairs: this cipher with that group, with that PRF, with that integrity algorithm.
 * @module
 */
import { isAeadEncryption } from '../crypto/cipher-suite.ts'
import { transformOfKeyword } from '../crypto/proposal-keywords.ts'
import { ProtocolId, TransformType } from '../wire/ike-constants.ts'
import type { Proposal, Transform } from '../wire/ike-message.ts'
import type { InitAsker } from './init-asker.ts'
import type { InitAnswer } from './init-probe.ts'

const { ENCR, KE } = TransformType

/** The last of the range for private use (RFC 7296 section 3.3.2). */
const NOBODYS = 65_535
/** As long as the public value of X25519; nobody looks at it. */
const NOBODYS_PUBLIC_VALUE = new Uint8Array(32)

/** Not spoken here, but worth knowing of an old gateway: strongSwan's keywords, IANA's numbers. */
const LEGACY: Readonly<Record<string, Transform>> = {
  '3des': { type: ENCR, id: 3 },
  modp1024: { type: KE, id: 2 },
  modp1536: { type: KE, id: 5 },
  modp6144: { type: KE, id: 17 },
  modp8192: { type: KE, id: 18 }
}

/** What is asked about, strongest first. */
const CIPHERS: readonly string[] = [
  ...['aes256gcm16', 'aes192gcm16', 'aes128gcm16', 'chacha20poly1305'],
  ...['aes256', 'aes192', 'aes128', '3des']
]
const GROUPS: readonly string[] = [
  ...['x25519', 'x448', 'ecp521', 'ecp384', 'ecp256', 'modp8192', 'modp6144', 'modp4096', 'modp3072'],
  ...['modp2048', 'modp1536', 'modp1024']
]
const PRFS: readonly string[] = ['prfsha512', 'prfsha384', 'prfsha256', 'prfsha1']
const INTEGRITIES: readonly string[] = ['sha512', 'sha384', 'sha256', 'sha1']

export interface AcceptedSuite {
  readonly encryption: string
  /** Empty for ciphers that bring their own (AEAD). */
  readonly integrities: readonly string[]
  readonly prfs: readonly string[]
  readonly groups: readonly string[]
  /** The group that the gateway asked for when all of them were offered; null: none that is known. */
  readonly preferredGroup: string | null
}

export interface ProposalEvidence {
  /** False when the gateway stopped answering, or time was up: what is not listed may be accepted all the same. */
  readonly complete: boolean
  readonly questions: number
  readonly suites: readonly AcceptedSuite[]
  /** The best of them for `--ike-proposal`; null: nothing in common. */
  readonly recommended: string | null
}

export async function findProposals(asker: InitAsker): Promise<ProposalEvidence> {
  const oracle = new Oracle(asker)
  const suites: AcceptedSuite[] = []
  for (const encryption of CIPHERS) {
    const preferred = await oracle.accepts(encryption, {})
    if (preferred === undefined) continue
    suites.push(await explore(oracle, encryption, preferred))
    if (oracle.failed) break
  }
  const recommended = suites.map(recommendation).find((text) => text !== null) ?? null
  return { complete: !oracle.failed, questions: asker.asked, suites, recommended }
}

async function explore(oracle: Oracle, encryption: string, preferred: number): Promise<AcceptedSuite> {
  const accepted = async (candidates: readonly string[], kind: keyof Restriction): Promise<string[]> => {
    const found: string[] = []
    for (const candidate of candidates)
      if ((await oracle.accepts(encryption, { [kind]: candidate })) !== undefined) found.push(candidate)
    return found
  }
  return {
    encryption,
    groups: await accepted(GROUPS, 'group'),
    prfs: await accepted(PRFS, 'prf'),
    integrities: isAead(encryption) ? [] : await accepted(INTEGRITIES, 'integrity'),
    preferredGroup: GROUPS.find((name) => transform(name).id === preferred) ?? null
  }
}

/** In keywords of `--ike-proposal`: what ikestream speaks of it, the gateway's favourite group first. */
function recommendation({
  encryption,
  integrities,
  prfs,
  groups,
  preferredGroup
}: AcceptedSuite): string | null {
  const spoken = (names: readonly string[]): string[] =>
    names.filter((name) => transformOfKeyword(name) !== undefined)
  const [cipher] = spoken([encryption])
  const [group] = spoken(preferredGroup === null ? groups : [preferredGroup, ...groups])
  const [prf] = spoken(prfs)
  const [integrity] = spoken(integrities)
  if (cipher === undefined || group === undefined || prf === undefined) return null
  if (isAead(encryption)) return [cipher, prf, group].join('-')
  return integrity === undefined ? null : [cipher, integrity, prf, group].join('-')
}

interface Restriction {
  readonly group?: string
  readonly prf?: string
  readonly integrity?: string
}

class Oracle {
  /** The gateway does not answer any more, or time is up. */
  failed = false
  readonly #asker: InitAsker

  constructor(asker: InitAsker) {
    this.#asker = asker
  }

  /** @returns the group that the gateway would have; undefined: it does not accept this */
  async accepts(encryption: string, { group, prf, integrity }: Restriction): Promise<number | undefined> {
    if (this.failed) return undefined
    const transforms = [
      transform(encryption),
      ...(isAead(encryption) ? [] : named(integrity, INTEGRITIES)),
      ...named(prf, PRFS),
      ...named(group, GROUPS)
    ]
    const answer = await this.#asker.ask({
      proposals: [proposal(1, transforms), proposal(2, NOBODYS_SUITE)],
      real: false,
      followCookie: true,
      group: NOBODYS,
      publicValue: NOBODYS_PUBLIC_VALUE
    })
    if (answer === undefined) this.failed = true
    return answer === undefined ? undefined : groupOf(answer)
  }
}

function groupOf({ kind, wantedGroup }: InitAnswer): number | undefined {
  return kind === 'invalid-ke-payload' ? (wantedGroup ?? NOBODYS) : undefined
}

const NOBODYS_SUITE: readonly Transform[] = [
  { type: ENCR, id: NOBODYS },
  transform('prfsha256'),
  { type: KE, id: NOBODYS }
]

function named(one: string | undefined, all: readonly string[]): Transform[] {
  return (one === undefined ? all : [one]).map(transform)
}

function transform(keyword: string): Transform {
  const found = transformOfKeyword(keyword) ?? LEGACY[keyword]
  // The lists above name nothing else.
  return found ?? { type: ENCR, id: NOBODYS }
}

function isAead(encryption: string): boolean {
  return isAeadEncryption(transform(encryption).id)
}

function proposal(number: number, transforms: readonly Transform[]): Proposal {
  return { number, protocolId: ProtocolId.IKE, spi: new Uint8Array(0), transforms }
}
