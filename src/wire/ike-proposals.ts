/**
 * The Security Association payload: proposals, transforms, attributes (RFC 7296 section 3.3).
 *
 *     Proposal:  Last (0|2) | reserved | Length (2) | Number | Protocol | SPI Size | Transforms | SPI | transforms
 *     Transform: Last (0|3) | reserved | Length (2) | Type | reserved | ID (2) | attributes
 *     Attribute: 1 + Type (15 bits) | Value (2)     or     0 + Type (15 bits) | Length (2) | Value
 * @module
 */
import { AttributeType } from './ike-constants.ts'
import type { Proposal, Transform } from './ike-message.ts'
import type { Reader } from './reader.ts'
import type { Writer } from './writer.ts'

export const MAX_PROPOSALS = 64
export const MAX_ATTRIBUTES_PER_TRANSFORM = 16

const LAST = 0
const MORE_PROPOSALS = 2
const MORE_TRANSFORMS = 3
const SUBSTRUCTURE_HEADER_LENGTH = 4
/** The AF bit: the attribute's value stands in place of its length. */
const SHORT_ATTRIBUTE = 0x8000

export function readProposals(r: Reader): Proposal[] {
  const proposals: Proposal[] = []
  for (let more = true; more; ) {
    if (proposals.length === MAX_PROPOSALS) throw r.syntaxError(`more than ${MAX_PROPOSALS} proposals`)
    const name = `proposal[${proposals.length}]`
    const marker = readMarker(r, name, MORE_PROPOSALS)
    proposals.push(readProposal(openSubstructure(r, name)))
    more = marker === MORE_PROPOSALS
  }
  r.expectEnd()
  return proposals
}

export function writeProposals(w: Writer, proposals: readonly Proposal[]): void {
  proposals.forEach((proposal, index) => {
    const start = w.length
    w.u8(index === proposals.length - 1 ? LAST : MORE_PROPOSALS)
    w.zeros(3)
    w.u8(proposal.number)
    w.u8(proposal.protocolId)
    w.u8(proposal.spi.length)
    w.u8(proposal.transforms.length)
    w.bytes(proposal.spi)
    writeTransforms(w, proposal.transforms)
    w.patchU16(start + 2, w.length - start)
  })
}

function readProposal(r: Reader): Proposal {
  const number = r.u8('number')
  const protocolId = r.u8('protocolId')
  const spiSize = r.u8('spiSize')
  const transformCount = r.u8('transformCount')
  const spi = r.take(spiSize, 'spi')
  const transforms: Transform[] = []
  while (transforms.length < transformCount) {
    const name = `transform[${transforms.length}]`
    const marker = readMarker(r, name, MORE_TRANSFORMS)
    const isLast = transforms.length === transformCount - 1
    if ((marker === LAST) !== isLast) throw r.syntaxError('contradicts the number of transforms', name)
    transforms.push(readTransform(openSubstructure(r, name)))
  }
  r.expectEnd()
  return { number, protocolId, spi, transforms }
}

function readTransform(r: Reader): Transform {
  const type = r.u8('type')
  r.skip(1, 'reserved')
  const id = r.u16('id')
  let keyLengthBits: number | undefined
  let otherAttributes = false
  for (let count = 0; r.remaining > 0; count++) {
    if (count === MAX_ATTRIBUTES_PER_TRANSFORM) {
      throw r.syntaxError(`more than ${MAX_ATTRIBUTES_PER_TRANSFORM} attributes`)
    }
    const head = r.u16('attribute')
    const value = r.u16('attribute')
    if (head === (SHORT_ATTRIBUTE | AttributeType.KEY_LENGTH) && keyLengthBits === undefined) {
      keyLengthBits = value
      continue
    }
    // A second KEY LENGTH, or one in the long form, is as little understood as an unknown attribute.
    otherAttributes = true
    if ((head & SHORT_ATTRIBUTE) === 0) r.skip(value, 'attribute')
  }
  return {
    type,
    id,
    ...(keyLengthBits === undefined ? {} : { keyLengthBits }),
    ...(otherAttributes ? { otherAttributes } : {})
  }
}

function writeTransforms(w: Writer, transforms: readonly Transform[]): void {
  transforms.forEach((transform, index) => {
    const start = w.length
    w.u8(index === transforms.length - 1 ? LAST : MORE_TRANSFORMS)
    w.zeros(3)
    w.u8(transform.type)
    w.u8(0)
    w.u16(transform.id)
    if (transform.keyLengthBits !== undefined) {
      w.u16(SHORT_ATTRIBUTE | AttributeType.KEY_LENGTH)
      w.u16(transform.keyLengthBits)
    }
    w.patchU16(start + 2, w.length - start)
  })
}

function readMarker(r: Reader, name: string, more: number): number {
  const marker = r.u8(name)
  if (marker !== LAST && marker !== more) throw r.syntaxError(`is marked ${marker}, not 0 or ${more}`, name)
  return marker
}

/** Reads the rest of a substructure's header, after the marker, and opens its contents. */
function openSubstructure(r: Reader, name: string): Reader {
  r.skip(1, name)
  const length = r.u16(name)
  if (length < SUBSTRUCTURE_HEADER_LENGTH) throw r.syntaxError(`has length ${length}`, name)
  return r.sub(length - SUBSTRUCTURE_HEADER_LENGTH, name)
}
