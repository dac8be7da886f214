import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  der,
  derBoolean,
  derInteger,
  derNamedBits,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  readDer,
  readDerAll,
  readDerSequence
} from '../../../src/crypto/der.ts'
import { hex, unhex } from './support.ts'

describe('writing DER', () => {
  it.each([
    [derInteger(0), '020100'],
    [derInteger(127), '02017f'],
    [derInteger(128), '02020080'],
    [derInteger(256), '02020100'],
    [derInteger(Uint8Array.of(0, 0, 0xff)), '020200ff'],
    [derBoolean(true), '0101ff'],
    [derNull(), '0500'],
    [derOid('1.2.840.113549.1.1.11'), '06092a864886f70d01010b'],
    [derOid('2.5.29.37.0'), '0604551d2500'],
    [derOid('2.999.3'), '0603883703'],
    [derNamedBits([0]), '03020780'],
    [derNamedBits([5, 6]), '03020106'],
    [derNamedBits([8]), '030307' + '0080'],
    [derNamedBits([]), '030100'],
    [derTime(Date.UTC(2049, 11, 31, 23, 59, 59)), hex(der(0x17, Buffer.from('491231235959Z')))],
    [derTime(Date.UTC(2050, 0, 1)), hex(der(0x18, Buffer.from('20500101000000Z')))],
    [derSet(derInteger(2), derInteger(1)), '3106020101020102'],
    [derSequence(), '3000']
  ])('gives %o the encoding %s', (encoding, expected) => {
    expect(hex(encoding)).toBe(expected)
  })

  it('uses the shortest form of length', () => {
    expect(hex(derOctetString(new Uint8Array(127))).slice(0, 4)).toBe('047f')
    expect(hex(derOctetString(new Uint8Array(128))).slice(0, 6)).toBe('048180')
    expect(hex(derOctetString(new Uint8Array(256))).slice(0, 8)).toBe('04820100')
  })
})

describe('reading DER', () => {
  it('reads what was written', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }), (parts) => {
        const elements = readDerSequence(derSequence(...parts.map(derOctetString)))
        expect(elements?.map(({ contents }) => hex(contents))).toEqual(parts.map(hex))
      }),
      { seed: 690, numRuns: 60 }
    )
  })

  it.each([
    ['nothing', ''],
    ['a tag alone', '30'],
    ['contents past the end', '300201'],
    ['an indefinite length', '30800000'],
    ['a length that is too long for what it says', '308101aa'],
    ['a length with leading zeros', '308200810000'],
    ['a high tag number', '1f8101'],
    ['a length of five bytes', '30850000000001aa']
  ])('answers undefined to %s', (_, input) => {
    expect(readDer(unhex(input))).toBeUndefined()
    expect(readDerSequence(unhex(input))).toBeUndefined()
  })

  it('does not overlook bytes after a sequence', () => {
    expect(readDerSequence(unhex('30000500'))).toBeUndefined()
    expect(readDerAll(unhex('30000500'))).toHaveLength(2)
    expect(readDerAll(unhex('300005'))).toBeUndefined()
  })

  it('never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(50), (bytes, offset) => {
        readDer(bytes, offset)
        readDerAll(bytes)
        readDerSequence(bytes)
      }),
      { seed: 690, numRuns: 500 }
    )
  })
})
