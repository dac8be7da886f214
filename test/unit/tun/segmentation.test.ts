import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Segmenter } from '../../../src/tun/segmentation.ts'
import { VNET_HEADER_LENGTH } from '../../../src/tun/vnet-header.ts'
import { be } from '../../support/message-factory.ts'
import { slowChecksum } from '../../support/packet-factory.ts'
import { type SegmentFields, segment, segmentsOf, superFrame, upperAt } from '../../support/tcp-segments.ts'

/** The packets of a frame that stands somewhere in a bigger buffer. */
function cut(frame: Uint8Array): Uint8Array[] | undefined {
  const buffer = new Uint8Array(frame.length + 20)
  buffer.set(frame, 7)
  const segmenter = new Segmenter()
  if (!segmenter.load(buffer, 7, frame.length)) return undefined
  const packets: Uint8Array[] = []
  while (segmenter.next()) packets.push(buffer.slice(segmenter.offset, segmenter.offset + segmenter.length))
  expect(segmenter.next()).toBe(false)
  return packets
}

const octets = (length: fc.Arbitrary<number>) =>
  length.chain((size) => fc.array(fc.integer({ min: 0, max: 255 }), { minLength: size, maxLength: size }))
const words = (max: number) => fc.nat(max).map((count) => count * 4)

const superPackets: fc.Arbitrary<SegmentFields> = fc.record({
  family: fc.constantFrom(4 as const, 6 as const),
  upper: fc.constantFrom('tcp' as const, 'tcp' as const, 'udp' as const),
  sourcePort: fc.integer({ min: 1, max: 65535 }),
  sequence: fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constant(0xffff_ff00)),
  acknowledgement: fc.integer({ min: 0, max: 0xffff_ffff }),
  flags: fc.integer({ min: 0, max: 255 }),
  window: fc.integer({ min: 0, max: 65535 }),
  options: octets(words(10)),
  ipOptions: octets(words(3)),
  extensionUnits: fc.constantFrom(0, 0, 0, 1, 3),
  identification: fc.oneof(fc.integer({ min: 0, max: 65535 }), fc.constant(65533)),
  tos: fc.integer({ min: 0, max: 255 }),
  payload: octets(fc.integer({ min: 1, max: 700 }))
})

/** A packet whose checksum field has the sum of the pseudo-header only, and the frame that says so. */
function unfinished(fields: SegmentFields): { readonly frame: Uint8Array; readonly partial: Uint8Array } {
  const partial = Uint8Array.from(segment(fields))
  const at = upperAt(fields)
  const field = fields.upper === 'udp' ? 6 : 16
  const addresses = fields.family === 4 ? partial.subarray(12, 20) : partial.subarray(8, 40)
  const protocol = fields.upper === 'udp' ? 17 : 6
  const sum = 0xffff - slowChecksum([...addresses, ...be(partial.length - at, 4), 0, 0, 0, protocol])
  partial.set(be(sum, 2), at + field)
  return { frame: Uint8Array.from([1, 0, 0, 0, 0, 0, at, 0, field, 0, ...partial]), partial }
}

describe('segmentation', () => {
  it('cuts super-packets as the naive twin does', () => {
    fc.assert(
      fc.property(superPackets, fc.integer({ min: 1, max: 800 }), (fields, size) => {
        expect(cut(superFrame(fields, size))).toEqual(segmentsOf(fields, size))
      }),
      { numRuns: 400, seed: 3390 }
    )
  })

  it('finishes the checksum of a single packet, and leaves a finished packet alone', () => {
    for (const upper of ['tcp', 'udp'] as const)
      for (const family of [4, 6] as const) {
        const fields: SegmentFields = { family, upper, payload: [1, 2, 3, 4, 5] }
        const { frame, partial } = unfinished(fields)
        expect(cut(frame)).toEqual([segment(fields)])
        expect(cut(Uint8Array.from([...new Uint8Array(VNET_HEADER_LENGTH), ...partial]))).toEqual([partial])
      }
  })

  it('gives a UDP packet whose checksum comes out as zero all ones', () => {
    const plain: SegmentFields = { family: 4, upper: 'udp', payload: [0, 0] }
    // Adding its checksum to what is summed up leaves nothing to complement.
    const fields = { ...plain, payload: [...segment(plain).subarray(26, 28)] }
    for (const frame of [unfinished(fields).frame, superFrame(fields, 100)]) {
      const [packet] = cut(frame) ?? []
      expect(packet?.subarray(26, 28)).toEqual(Uint8Array.of(255, 255))
    }
  })

  it('refuses headers that contradict the packet, and never reaches beyond the frame', () => {
    const good = superFrame({ family: 4, payload: new Array<number>(100).fill(1) }, 10)
    const change = (at: number, value: number) => {
      const frame = Uint8Array.from(good)
      frame[at] = value
      return cut(frame)
    }
    expect(change(4, 0)).toBeUndefined()
    expect(change(1, 4)).toBeUndefined()
    expect(change(1, 3)).toBeUndefined()
    expect(change(6, 19)).toBeUndefined()
    expect(change(6, 140)).toBeUndefined()
    expect(change(VNET_HEADER_LENGTH + 32, 0x40)).toBeUndefined()
    expect(change(VNET_HEADER_LENGTH, 0x65)).toBeUndefined()
    expect(cut(good.subarray(0, 25))).toBeUndefined()
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 160 }), fc.boolean(), (bytes, isSuper) => {
        const frame = isSuper ? Uint8Array.from([...good.subarray(0, 12), ...bytes]) : bytes
        const buffer = new Uint8Array(frame.length + 8).fill(0xee)
        buffer.set(frame, 4)
        const segmenter = new Segmenter()
        if (segmenter.load(buffer, 4, frame.length))
          while (segmenter.next()) {
            expect(segmenter.offset).toBeGreaterThanOrEqual(4 + VNET_HEADER_LENGTH)
            expect(segmenter.offset + segmenter.length).toBeLessThanOrEqual(4 + frame.length)
          }
        expect([...buffer.subarray(0, 4), ...buffer.subarray(4 + frame.length)]).toEqual(
          new Array(8).fill(0xee)
        )
      }),
      { numRuns: 500, seed: 7 }
    )
  })
})
