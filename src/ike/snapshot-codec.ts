/**
 * Snapshots as bytes, in two parts: what changes with the SAs themselves, and what every message changes (Message
 * IDs, times). Whoever replicates compares the first part to see whether the other member has to hear of it at once.
 *
 * Keys never become text, which could not be overwritten. Both members run the same version: the format has a number,
 * and another one is refused.
 * @module
 */
import {
  readBlob,
  readFlag,
  readList,
  readOptional,
  readText,
  writeBlob,
  writeFlag,
  writeList,
  writeOptional,
  writeText
} from '../wire/blob.ts'
import type { Endpoint, TransportKind } from '../wire/endpoint.ts'
import { type DecodeResult, decodeResult } from '../wire/errors.ts'
import type { Proposal, TrafficSelector } from '../wire/ike-message.ts'
import { readProposals, writeProposals } from '../wire/ike-proposals.ts'
import { readTrafficSelectors, writeTrafficSelectors } from '../wire/ike-selectors.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import type { MadeByAnswer } from './ike-sa.ts'
import type { IkeKeys } from './keymat.ts'
import {
  type ChildSaSnapshot,
  type IkeSaSnapshot,
  type SessionSnapshot,
  SNAPSHOT_TIMERS,
  type SnapshotDeadline
} from './snapshot.ts'
import type { AssignedConfig, Identity } from './types.ts'

export const SNAPSHOT_VERSION = 2

export interface SnapshotBytes {
  /** SAs, keys, identities, addresses, path. */
  readonly lasting: Uint8Array
  /** Message IDs, the stored answers, IVs, ages, deadlines. */
  readonly passing: Uint8Array
}

const TRANSPORTS: readonly TransportKind[] = ['udp', 'tcp', 'tls']
const KEY_NAMES = ['skD', 'skAi', 'skAr', 'skEi', 'skEr', 'skPi', 'skPr'] as const

export function encodeSnapshot(snapshot: SessionSnapshot): SnapshotBytes {
  const lasting = new Writer(2048)
  lasting.u8(SNAPSHOT_VERSION)
  writeSession(lasting, snapshot)
  writeList(lasting, snapshot.sas, (sa) => writeIkeSa(lasting, sa))
  writeList(lasting, snapshot.children, (child) => writeChild(lasting, child))
  const passing = new Writer(2048)
  passing.u32(snapshot.lastNumber)
  for (const sa of snapshot.sas) writePassing(passing, sa)
  for (const { ageMs } of snapshot.children) passing.u64(BigInt(ageMs))
  writeList(passing, snapshot.deadlines, ({ kind, subject, inMs }) => {
    passing.u8(SNAPSHOT_TIMERS.indexOf(kind))
    passing.u32(subject)
    passing.u64(BigInt(inMs))
  })
  return { lasting: lasting.finish(), passing: passing.finish() }
}

/** Keys and all else are copied: the bytes may be overwritten afterwards. */
export function decodeSnapshot(bytes: SnapshotBytes): DecodeResult<SessionSnapshot> {
  return decodeResult(() => {
    const lasting = new Reader(bytes.lasting, 'snapshot')
    const version = lasting.u8('version')
    if (version !== SNAPSHOT_VERSION) throw lasting.syntaxError(`is of version ${version}`)
    const session = readSession(lasting)
    const sas = readList(lasting, 'ike', () => readIkeSa(lasting))
    const children = readList(lasting, 'child', () => readChild(lasting))
    lasting.expectEnd()
    const passing = new Reader(bytes.passing, 'snapshot.passing')
    const lastNumber = passing.u32('lastNumber')
    const whole = {
      ...session,
      lastNumber,
      sas: sas.map((sa) => ({ ...sa, ...readPassing(passing) })),
      children: children.map((child) => ({ ...child, ageMs: readMs(passing, 'age') })),
      deadlines: readList(passing, 'deadline', () => readDeadline(passing))
    }
    passing.expectEnd()
    if (!whole.sas.some(({ number }) => number === whole.current))
      throw lasting.syntaxError('has no current IKE SA')
    return whole
  })
}

type SessionPart = Omit<SessionSnapshot, 'lastNumber' | 'sas' | 'children' | 'deadlines'>

function writeSession(w: Writer, snapshot: SessionPart): void {
  const { features, path } = snapshot
  const { fragmentation, mobike, messageIdSync, replayCounterSync, childless, signatureHashes } = features
  for (const flag of [fragmentation, mobike, messageIdSync, replayCounterSync, childless]) writeFlag(w, flag)
  writeOptional(w, signatureHashes, (hashes) => writeList(w, hashes, (id) => w.u16(id)))
  w.u8(TRANSPORTS.indexOf(path.transport))
  writeEndpoint(w, path.local)
  writeEndpoint(w, path.remote)
  writeFlag(w, snapshot.natLocal)
  writeFlag(w, snapshot.natRemote)
  writeOptional(w, snapshot.localIdentity, (identity) => writeIdentity(w, identity))
  writeOptional(w, snapshot.remoteIdentity, (identity) => writeIdentity(w, identity))
  writeText(w, snapshot.peerName)
  writeOptional(w, snapshot.assigned, (assigned) => writeAssigned(w, assigned))
  w.u64(snapshot.pendingReplayDelta)
  w.u32(snapshot.current)
}

function readSession(r: Reader): SessionPart {
  return {
    features: {
      fragmentation: readFlag(r, 'fragmentation'),
      mobike: readFlag(r, 'mobike'),
      messageIdSync: readFlag(r, 'messageIdSync'),
      replayCounterSync: readFlag(r, 'replayCounterSync'),
      childless: readFlag(r, 'childless'),
      signatureHashes: readOptional(r, 'hashes', () => readList(r, 'hashes', () => r.u16('hash')))
    },
    path: { transport: readTransport(r), local: readEndpoint(r), remote: readEndpoint(r) },
    natLocal: readFlag(r, 'natLocal'),
    natRemote: readFlag(r, 'natRemote'),
    localIdentity: readOptional(r, 'localIdentity', () => readIdentity(r)),
    remoteIdentity: readOptional(r, 'remoteIdentity', () => readIdentity(r)),
    peerName: readText(r, 'peerName'),
    assigned: readOptional(r, 'assigned', () => readAssigned(r)),
    pendingReplayDelta: r.u64('pendingReplayDelta'),
    current: r.u32('current')
  }
}

type IkeSaPart = Omit<IkeSaSnapshot, keyof PassingPart>
type PassingPart = Pick<
  IkeSaSnapshot,
  'nextIv' | 'nextRequestId' | 'expectedRequestId' | 'response' | 'ageMs'
>

function writeIkeSa(w: Writer, sa: IkeSaPart): void {
  w.u32(sa.number)
  for (const flag of [sa.isInitiator, sa.isReplaced, sa.isDeleting, sa.isRekeying]) writeFlag(w, flag)
  w.u64(sa.localSpi)
  w.u64(sa.remoteSpi)
  writeProposal(w, sa.chosen)
  for (const name of KEY_NAMES) writeBlob(w, sa.keys[name])
  writeOptional(w, sa.announcedId, (id) => w.u32(id))
  writeOptional(w, sa.successor, (number) => w.u32(number))
  writeOptional(w, sa.unconfirmed, (made) => writeMade(w, made))
  writeList(w, sa.doubted, (made) => writeMade(w, made))
}

function readIkeSa(r: Reader): IkeSaPart {
  return {
    number: r.u32('number'),
    isInitiator: readFlag(r, 'isInitiator'),
    isReplaced: readFlag(r, 'isReplaced'),
    isDeleting: readFlag(r, 'isDeleting'),
    isRekeying: readFlag(r, 'isRekeying'),
    localSpi: r.u64('localSpi'),
    remoteSpi: r.u64('remoteSpi'),
    chosen: readProposal(r),
    keys: readKeys(r),
    announcedId: readOptional(r, 'announcedId', () => r.u32('announcedId')),
    successor: readOptional(r, 'successor', () => r.u32('successor')),
    unconfirmed: readOptional(r, 'unconfirmed', () => readMade(r)),
    doubted: readList(r, 'doubted', () => readMade(r))
  }
}

function readKeys(r: Reader): IkeKeys {
  return {
    skD: readBlob(r, 'skD'),
    skAi: readBlob(r, 'skAi'),
    skAr: readBlob(r, 'skAr'),
    skEi: readBlob(r, 'skEi'),
    skEr: readBlob(r, 'skEr'),
    skPi: readBlob(r, 'skPi'),
    skPr: readBlob(r, 'skPr')
  }
}

function writePassing(w: Writer, sa: PassingPart): void {
  w.u64(sa.nextIv)
  w.u32(sa.nextRequestId)
  w.u32(sa.expectedRequestId)
  writeList(w, sa.response, (packet) => writeBlob(w, packet))
  w.u64(BigInt(sa.ageMs))
}

function readPassing(r: Reader): PassingPart {
  return {
    nextIv: r.u64('nextIv'),
    nextRequestId: r.u32('nextRequestId'),
    expectedRequestId: r.u32('expectedRequestId'),
    response: readList(r, 'response', () => readBlob(r, 'response')),
    ageMs: readMs(r, 'age')
  }
}

function writeMade(w: Writer, { what, number, isContested }: MadeByAnswer): void {
  writeFlag(w, what === 'ike')
  w.u32(number)
  writeFlag(w, isContested)
}

function readMade(r: Reader): MadeByAnswer {
  return {
    what: readFlag(r, 'made') ? 'ike' : 'child',
    number: r.u32('made'),
    isContested: readFlag(r, 'made')
  }
}

type ChildPart = Omit<ChildSaSnapshot, 'ageMs'>

function writeChild(w: Writer, child: ChildPart): void {
  for (const value of [child.number, child.childId, child.owner, child.spiIn, child.spiOut]) w.u32(value)
  const { isInitiator, isReplaced, isDeleting, isRekeying, isSending } = child
  for (const flag of [isInitiator, isReplaced, isDeleting, isRekeying, isSending]) writeFlag(w, flag)
  writeSelectors(w, child.localTs)
  writeSelectors(w, child.remoteTs)
  writeProposal(w, child.chosen)
  writeOptional(w, child.replaces, (number) => w.u32(number))
}

function readChild(r: Reader): ChildPart {
  return {
    number: r.u32('number'),
    childId: r.u32('childId'),
    owner: r.u32('owner'),
    spiIn: r.u32('spiIn'),
    spiOut: r.u32('spiOut'),
    isInitiator: readFlag(r, 'isInitiator'),
    isReplaced: readFlag(r, 'isReplaced'),
    isDeleting: readFlag(r, 'isDeleting'),
    isRekeying: readFlag(r, 'isRekeying'),
    isSending: readFlag(r, 'isSending'),
    localTs: readSelectors(r),
    remoteTs: readSelectors(r),
    chosen: readProposal(r),
    replaces: readOptional(r, 'replaces', () => r.u32('replaces'))
  }
}

function readDeadline(r: Reader): SnapshotDeadline {
  const kind = SNAPSHOT_TIMERS[r.u8('deadline')]
  if (kind === undefined) throw r.syntaxError('is of no known kind', 'deadline')
  return { kind, subject: r.u32('deadline'), inMs: readMs(r, 'deadline') }
}

/** No age or wait is longer than what a number holds exactly. */
function readMs(r: Reader, field: string): number {
  const ms = r.u64(field)
  if (ms > BigInt(Number.MAX_SAFE_INTEGER)) throw r.syntaxError('is longer than anything lasts', field)
  return Number(ms)
}

function writeEndpoint(w: Writer, { address, port }: Endpoint): void {
  writeText(w, address)
  w.u16(port)
}

function readEndpoint(r: Reader): Endpoint {
  return { address: readText(r, 'address'), port: r.u16('port') }
}

function readTransport(r: Reader): TransportKind {
  const transport = TRANSPORTS[r.u8('transport')]
  if (transport === undefined) throw r.syntaxError('is no transport', 'transport')
  return transport
}

function writeIdentity(w: Writer, { idType, data }: Identity): void {
  w.u8(idType)
  writeBlob(w, data)
}

function readIdentity(r: Reader): Identity {
  return { idType: r.u8('idType'), data: readBlob(r, 'identity') }
}

function writeAssigned(w: Writer, { addresses, dns, dnsDomains, subnets }: AssignedConfig): void {
  writeList(w, addresses, ({ address, prefixLength }) => {
    writeText(w, address)
    w.u8(prefixLength)
  })
  for (const texts of [dns, dnsDomains, subnets]) writeList(w, texts, (text) => writeText(w, text))
}

function readAssigned(r: Reader): AssignedConfig {
  const texts = (field: string): string[] => readList(r, field, () => readText(r, field))
  return {
    addresses: readList(r, 'addresses', () => ({
      address: readText(r, 'address'),
      prefixLength: r.u8('prefixLength')
    })),
    dns: texts('dns'),
    dnsDomains: texts('dnsDomains'),
    subnets: texts('subnets')
  }
}

function writeProposal(w: Writer, proposal: Proposal): void {
  const inner = new Writer(64)
  writeProposals(inner, [proposal])
  writeBlob(w, inner.finish())
}

function readProposal(r: Reader): Proposal {
  const bytes = readBlob(r, 'proposal')
  const [proposal, ...others] = readProposals(new Reader(bytes, 'proposal'))
  if (proposal === undefined || others.length > 0) throw r.syntaxError('is not one alone', 'proposal')
  // Nothing that is not understood was ever chosen.
  if (proposal.transforms.some(({ otherAttributes }) => otherAttributes === true))
    throw r.syntaxError('has other attributes than a chosen one', 'proposal')
  return proposal
}

function writeSelectors(w: Writer, selectors: readonly TrafficSelector[]): void {
  const inner = new Writer(64)
  writeTrafficSelectors(inner, selectors)
  writeBlob(w, inner.finish())
}

function readSelectors(r: Reader): TrafficSelector[] {
  return readTrafficSelectors(new Reader(readBlob(r, 'selectors'), 'selectors'))
}
