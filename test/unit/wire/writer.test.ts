import { describe, expect, it } from 'vitest'
import { InternalError } from '../../../src/errors.ts'
import { Reader } from '../../../src/wire/reader.ts'
import { Writer } from '../../../src/wire/writer.ts'

describe('Writer', () => {
  it('loses no byte when it grows, whatever is written at that moment', () => {
    for (let before = 0; before <= 20; before++) {
      const w = new Writer(16)
      w.bytes(new Uint8Array(before).fill(0xee))
      w.u8(0x01)
      w.u16(0x0203)
      w.u32(0x04050607)
      w.u64(0x08090a0b0c0d0e0fn)
      w.bytes(Uint8Array.of(0x10))
      w.zeros(1)
      const written = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0]
      expect([...w.finish()]).toEqual([...new Array<number>(before).fill(0xee), ...written])
    }
  })

  it('patches lengths that were written before', () => {
    const w = new Writer()
    w.u32(0)
    w.u16(0)
    w.patchU32(0, 0xfffefdfc)
    w.patchU16(4, 0x1234)
    expect([...w.finish()]).toEqual([0xff, 0xfe, 0xfd, 0xfc, 0x12, 0x34])
  })

  it.each([
    ['u8', (w: Writer) => w.u8(256)],
    ['u16', (w: Writer) => w.u16(-1)],
    ['u16 of a fraction', (w: Writer) => w.u16(1.5)],
    ['u32', (w: Writer) => w.u32(2 ** 32)],
    ['u64', (w: Writer) => w.u64(1n << 64n)],
    ['a patch', (w: Writer) => w.patchU16(0, 65536)]
  ])('raises an internal error when %s does not hold the value', (_, write) => {
    const w = new Writer()
    w.u32(0)
    expect(() => write(w)).toThrow(InternalError)
  })
})

describe('Reader', () => {
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9)

  it('reads big-endian fields one after another', () => {
    const r = new Reader(Uint8Array.of(0xff, 0xfe, 0xfd, 0xff, 0xff, 0xff, 0xfe, ...bytes), 'x')
    expect([r.u8('a'), r.u16('b'), r.u32('c'), r.u64('d')]).toEqual([
      0xff,
      0xfefd,
      0xfffffffe,
      0x0102030405060708n
    ])
    expect(r.remaining).toBe(1)
  })

  it('moves nothing when a read would pass the end', () => {
    const r = new Reader(bytes, 'x', 0, 3)
    expect(() => r.u32('field')).toThrow('x.field: needs 4 bytes, 3 left (at byte 0)')
    expect(() => r.u64('field')).toThrow('needs 8 bytes')
    expect(() => r.take(4, 'field')).toThrow('needs 4 bytes')
    expect(r.position).toBe(0)
    expect([...r.rest()]).toEqual([1, 2, 3])
  })

  it('keeps a sub-reader inside its part', () => {
    const r = new Reader(bytes, 'x')
    const part = r.sub(2, 'part[0]')
    expect(part.u16('y')).toBe(0x0102)
    expect(() => part.u8('z')).toThrow('x.part[0].z: needs 1 bytes, 0 left (at byte 2)')
    expect(r.u8('next')).toBe(3)
    expect(() => r.expectEnd()).toThrow('x: 6 trailing bytes (at byte 3)')
  })
})
