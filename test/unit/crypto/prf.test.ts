import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CryptoError } from '../../../src/crypto/errors.ts'
import { prfById, prfPlus } from '../../../src/crypto/prf.ts'
import { PrfId } from '../../../src/wire/ike-constants.ts'
import vectors from '../../vectors/rfc4868-prf.json' with { type: 'json' }
import sessions from '../../vectors/strongswan-ike-auth.json' with { type: 'json' }
import { hex, unhex } from './support.ts'

function prf(id: number) {
  const found = prfById(id)
  if (found === undefined) throw new Error(`no PRF ${id}`)
  return found
}

describe('PRF_HMAC_SHA2 (RFC 4868 section 2.7.1)', () => {
  it.each(vectors.cases.map((vector, index) => [index + 1, vector] as const))(
    'test case PRF-%i',
    (_, vector) => {
      const [key, data] = [unhex(vector.key), unhex(vector.data)]
      expect(hex(prf(PrfId.HMAC_SHA2_256).compute(key, data))).toBe(vector.sha256)
      expect(hex(prf(PrfId.HMAC_SHA2_384).compute(key, data))).toBe(vector.sha384)
      expect(hex(prf(PrfId.HMAC_SHA2_512).compute(key, data))).toBe(vector.sha512)
    }
  )

  it('gives PRF_HMAC_SHA1 as in RFC 2202 test case 2', () => {
    const output = prf(PrfId.HMAC_SHA1).compute(
      Buffer.from('Jefe'),
      Buffer.from('what do ya want for nothing?')
    )
    expect(hex(output)).toBe('effcdf6ae5eb2fa2d27416d5f184df9c259a7c79')
  })

  it('takes its data in any number of pieces', () => {
    const sha256 = prf(PrfId.HMAC_SHA2_256)
    fc.assert(
      fc.property(fc.uint8Array(), fc.array(fc.uint8Array(), { maxLength: 5 }), (key, parts) => {
        expect(hex(sha256.compute(key, ...parts))).toBe(hex(sha256.compute(key, Buffer.concat(parts))))
      }),
      { seed: 1, numRuns: 50 }
    )
  })

  it('knows no PRF outside its list', () => {
    for (const id of [0, 1, 3, 4, 8, 9]) expect(prfById(id)).toBeUndefined()
  })
})

describe('prf+ (RFC 7296 section 2.13)', () => {
  it('chains blocks with a one-byte counter', () => {
    const sha256 = prf(PrfId.HMAC_SHA2_256)
    const [key, seed] = [unhex('0102'), unhex('a0a1a2')]
    const t1 = sha256.compute(key, seed, Uint8Array.of(1))
    const t2 = sha256.compute(key, t1, seed, Uint8Array.of(2))
    expect(hex(prfPlus(sha256, key, seed, 50))).toBe(hex(Buffer.concat([t1, t2])).slice(0, 100))
  })

  it('gives the prefix of a longer output for every length', () => {
    const sha384 = prf(PrfId.HMAC_SHA2_384)
    const long = hex(prfPlus(sha384, unhex('aa'), unhex('bb'), 500))
    for (let length = 0; length <= 500; length += 7)
      expect(hex(prfPlus(sha384, unhex('aa'), unhex('bb'), length))).toBe(long.slice(0, 2 * length))
  })

  it('produces 255 blocks and refuses more', () => {
    const sha1 = prf(PrfId.HMAC_SHA1)
    expect(prfPlus(sha1, unhex('aa'), unhex('bb'), 255 * 20)).toHaveLength(5100)
    expect(() => prfPlus(sha1, unhex('aa'), unhex('bb'), 255 * 20 + 1)).toThrow(CryptoError)
  })

  it.each(sessions.sessions.map((session) => [session.name, session] as const))(
    'derives the keys that strongSwan derived (%s)',
    (_, session) => {
      const sha256 = prf(PrfId.HMAC_SHA2_256)
      const [request, response] = [unhex(session.messages[0] ?? ''), unhex(session.messages[1] ?? '')]
      const nonces = Buffer.concat([noncePayload(request), noncePayload(response)])
      const skeyseed = sha256.compute(nonces, unhex(session.dhSecret))
      expect(hex(skeyseed)).toBe(session.skeyseed)
      const parts = [session.skd, session.skai ?? '', session.skar ?? '', session.skei, session.sker]
      const keys = [...parts, session.skpi, session.skpr].join('')
      const seed = Buffer.concat([nonces, response.subarray(0, 16)])
      expect(hex(prfPlus(sha256, skeyseed, seed, keys.length / 2))).toBe(keys)
    }
  )
})

/** Body of the Nonce payload (type 40) of an unencrypted message. */
function noncePayload(message: Buffer): Buffer {
  let type = message.readUInt8(16)
  let offset = 28
  while (type !== 40) {
    type = message.readUInt8(offset)
    offset += message.readUInt16BE(offset + 2)
  }
  return message.subarray(offset + 4, offset + message.readUInt16BE(offset + 2))
}
