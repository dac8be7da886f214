import { createCipheriv, createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { TlsContentType, TlsRecordCipher } from '../../../src/crypto/tls-record-cipher.ts'
import { addressOf, nativeBuffer } from '../../../src/native/memory.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')

function seal(cipher: TlsRecordCipher, type: number, content: Uint8Array): Buffer {
  const source = nativeBuffer(content.length)
  source.set(content)
  const record = nativeBuffer(content.length + 64)
  const length = cipher.seal(type, addressOf(source), source.length, record, addressOf(record), 3)
  return record.subarray(3, 3 + length)
}

/** @returns content and type, or undefined */
function open(cipher: TlsRecordCipher, record: Uint8Array): Buffer | undefined {
  const source = nativeBuffer(record.length)
  source.set(record)
  const content = nativeBuffer(record.length)
  const length = cipher.open(addressOf(source), source.length, addressOf(content))
  return length < 0 ? undefined : content.subarray(0, length)
}

/** RFC 8446 sections 5.2 and 7, once more and slowly. */
function twin(
  algorithm: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305',
  hash: string,
  secret: Buffer,
  sequence: bigint,
  type: number,
  content: Uint8Array
): Buffer {
  const expand = (label: string, length: number) => {
    const name = `tls13 ${label}`
    const info = Buffer.concat([
      Buffer.from([0, length, name.length]),
      Buffer.from(name),
      Buffer.from([0, 1])
    ])
    return createHmac(hash, secret).update(info).digest().subarray(0, length)
  }
  const nonce = Buffer.from(expand('iv', 12))
  const number = Buffer.alloc(12)
  number.writeBigUInt64BE(sequence, 4)
  for (let index = 0; index < 12; index++) nonce[index] = (nonce[index] ?? 0) ^ (number[index] ?? 0)
  const header = Buffer.from([23, 3, 3, (content.length + 17) >> 8, (content.length + 17) & 0xff])
  const key = expand('key', algorithm === 'aes-128-gcm' ? 16 : 32)
  const cipher = createCipheriv(algorithm as 'aes-128-gcm', key, nonce, { authTagLength: 16 })
  cipher.setAAD(header)
  const sealed = Buffer.concat([cipher.update(content), cipher.update(Buffer.of(type)), cipher.final()])
  return Buffer.concat([header, sealed, cipher.getAuthTag()])
}

const SUITES = [
  ['TLS_AES_128_GCM_SHA256', 'aes-128-gcm', 'sha256', 32],
  ['TLS_AES_256_GCM_SHA384', 'aes-256-gcm', 'sha384', 48],
  ['TLS_CHACHA20_POLY1305_SHA256', 'chacha20-poly1305', 'sha256', 32]
] as const

describe('records of TLS 1.3', () => {
  test('are those of RFC 8448 section 3', () => {
    const secret = hex('9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5')
    const cipher = new TlsRecordCipher('TLS_AES_128_GCM_SHA256', secret, 0, 'seal')
    const content = Uint8Array.from({ length: 50 }, (_, index) => index)
    expect(seal(cipher, TlsContentType.APPLICATION_DATA, content)).toEqual(
      hex(`17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19
        a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4`)
    )
  })

  test.each(SUITES)(
    '%s: are what a twin makes, at any number, and open again',
    (suite, algorithm, hash, length) => {
      const secret = Buffer.alloc(length, 7)
      for (const sequence of [0, 1, 255, 2 ** 32 - 1, 2 ** 32 + 5]) {
        const sealing = new TlsRecordCipher(suite, Buffer.from(secret), sequence, 'seal')
        const opening = new TlsRecordCipher(suite, Buffer.from(secret), sequence, 'open')
        for (const [step, size] of [0, 1, 1400, 16_384].entries()) {
          const content = Buffer.alloc(size, step + 1)
          const record = seal(sealing, 23, content)
          expect(record).toEqual(twin(algorithm, hash, secret, BigInt(sequence) + BigInt(step), 23, content))
          expect(open(opening, record)).toEqual(Buffer.concat([content, Buffer.of(23)]))
        }
        sealing.dispose()
        opening.dispose()
      }
    }
  )

  test('are refused when a bit is wrong, when they come twice, and once keys have changed at one end only', () => {
    const secret = Buffer.alloc(32, 9)
    const make = (direction: 'seal' | 'open') =>
      new TlsRecordCipher('TLS_AES_128_GCM_SHA256', Buffer.from(secret), 0, direction)
    const record = seal(make('seal'), 23, Buffer.from('hello'))
    for (const at of [3, 5, record.length - 1]) {
      const damaged = Buffer.from(record)
      damaged[at] = (damaged[at] ?? 0) ^ 1
      expect(open(make('open'), damaged)).toBeUndefined()
    }
    const opening = make('open')
    expect(open(opening, record)?.toString('latin1', 0, 5)).toBe('hello')
    expect(open(opening, record)).toBeUndefined()
    expect(open(make('open'), record.subarray(0, 21))).toBeUndefined()
    const [changed, unchanged, sealing] = [make('open'), make('open'), make('seal')]
    sealing.update()
    changed.update()
    const next = seal(sealing, 23, Buffer.from('after'))
    expect(open(unchanged, next)).toBeUndefined()
    expect(open(changed, next)?.toString('latin1', 0, 5)).toBe('after')
  })

  test('are neither made nor opened once a cipher was disposed of, or in the other direction', () => {
    const secret = () => Buffer.alloc(32, 9)
    const sealing = new TlsRecordCipher('TLS_AES_128_GCM_SHA256', secret(), 0, 'seal')
    const record = Buffer.from(seal(sealing, 23, Buffer.from('hello')))
    expect(open(sealing, record)).toBeUndefined()
    sealing.dispose()
    expect(seal(sealing, 23, Buffer.from('hello'))).toHaveLength(0)
    expect(() => new TlsRecordCipher('TLS_AES_128_CCM_SHA256', secret(), 0, 'seal')).toThrow('no suite')
  })
})
