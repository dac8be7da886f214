import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  availableBackends,
  createPacketCipher,
  espSuite,
  loadReferenceBackend
} from '../../../src/crypto/packet-cipher.ts'
import { ESP_HEADER_LENGTH, type PacketCipherBackend } from '../../../src/crypto/packet-cipher-types.ts'
import { InboundSa } from '../../../src/esp/inbound-sa.ts'
import { EncryptionId, IntegrityId } from '../../../src/wire/ike-constants.ts'
import { ALL_SUITES, hexBytes, type SuiteIds, saParameters } from '../../support/esp-parameters.ts'

const BACKENDS: readonly PacketCipherBackend[] = ['libcrypto', 'node', 'noble']

it('the reference back end is not there until it is loaded', () => {
  expect(availableBackends()).not.toContain('noble')
  const keys = { encryptionKey: new Uint8Array(20), integrityKey: new Uint8Array(0) }
  const ids = { encryptionId: EncryptionId.AES_GCM_16, encryptionKeyBits: 128, integrityId: 0 }
  expect(() => createPacketCipher({ ...ids, ...keys, esn: false }, 'seal', 'noble')).toThrow('not loaded')
})

/** Header and IV as given, then the plaintext sealed behind them. */
function seal(
  ids: SuiteIds,
  keys: { encryptionKey: Uint8Array; integrityKey: Uint8Array },
  header: Uint8Array,
  plaintext: Uint8Array,
  backend: PacketCipherBackend,
  options: { esn?: boolean; high?: number; split?: number } = {}
): Uint8Array {
  const cipher = createPacketCipher({ ...ids, ...keys, esn: options.esn ?? false }, 'seal', backend)
  const split = Math.min(options.split ?? 0, plaintext.length)
  const packet = new Uint8Array(header.length + plaintext.length + cipher.suite.icvLength)
  packet.set(header)
  packet.set(plaintext.subarray(split), header.length + split)
  const trailer = plaintext.length - split
  expect(cipher.seal(plaintext, 0, split, packet, 0, trailer, options.high ?? 0)).toBe(true)
  cipher.dispose()
  return packet
}

function open(
  ids: SuiteIds,
  keys: { encryptionKey: Uint8Array; integrityKey: Uint8Array },
  packet: Uint8Array,
  backend: PacketCipherBackend,
  options: { esn?: boolean; high?: number } = {}
): Uint8Array | undefined {
  const cipher = createPacketCipher({ ...ids, ...keys, esn: options.esn ?? false }, 'open', backend)
  const copy = Uint8Array.from(packet)
  const authentic = cipher.open(copy, 0, copy.length, options.high ?? 0)
  const { ivLength, icvLength } = cipher.suite
  cipher.dispose()
  return authentic ? copy.slice(ESP_HEADER_LENGTH + ivLength, copy.length - icvLength) : undefined
}

describe.each(BACKENDS)('packet cipher, back end %s', (backend) => {
  beforeAll(loadReferenceBackend)

  it('seals the ESP packet of RFC 7634 appendix A', () => {
    const keys = {
      encryptionKey: hexBytes('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3'),
      integrityKey: new Uint8Array(0)
    }
    const ids = { encryptionId: EncryptionId.CHACHA20_POLY1305, encryptionKeyBits: 0, integrityId: 0 }
    const plaintext = hexBytes(`45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
      0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627
      28292a2b2c2d2e2f303132333435363701020204`)
    const header = hexBytes('01020304 00000005 1011121314151617')
    const packet = hexBytes(`01020304000000051011121314151617
      24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
      14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
      cbec163fac469b502773f6fb94e664da9165b82829f641e0
      76aaa8266b7fb0f7b11b369907e1ad43`)
    expect(seal(ids, keys, header, plaintext, backend, { split: 84 })).toEqual(packet)
    expect(open(ids, keys, packet, backend)).toEqual(plaintext)
  })

  it('encrypts the ESP packet of RFC 3602 section 4, case 5', () => {
    const ids = {
      encryptionId: EncryptionId.AES_CBC,
      encryptionKeyBits: 128,
      integrityId: IntegrityId.HMAC_SHA2_256_128
    }
    const keys = {
      encryptionKey: hexBytes('90d382b410eeba7ad938c46cec1a82bf'),
      integrityKey: new Uint8Array(32)
    }
    const header = hexBytes('00004321 00000001 e96e8c08ab465763fd098d45dd3ff893')
    const plaintext = hexBytes(`08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617
      18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637
      0102030405060708090a0b0c0d0e0e01`)
    const ciphertext = hexBytes(`f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856
      a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a
      a269add047ad2d5913ac19b7cfbad4a6`)
    const packet = seal(ids, keys, header, plaintext, backend, { split: 64 })
    expect(packet.subarray(24, 24 + 80)).toEqual(ciphertext)
    expect(open(ids, keys, packet, backend)).toEqual(plaintext)
  })

  it('does nothing after it was disposed of, nor in the other direction', () => {
    for (const [, ids] of ALL_SUITES) {
      const parameters = saParameters(ids)
      const packet = new Uint8Array(128)
      for (const direction of ['seal', 'open'] as const) {
        const cipher = createPacketCipher(parameters, direction, backend)
        if (direction === 'open') expect(cipher.seal(packet, 0, 0, packet, 0, 32, 0)).toBe(false)
        else expect(cipher.open(packet, 0, 128, 0)).toBe(false)
        cipher.dispose()
        cipher.dispose()
        expect(cipher.seal(packet, 0, 0, packet, 0, 32, 0)).toBe(false)
        expect(cipher.open(packet, 0, 128, 0)).toBe(false)
      }
    }
  })

  it('opens what strongSwan sent, packet for packet', () => {
    const vectors = JSON.parse(
      readFileSync(new URL('../../vectors/strongswan-esp.json', import.meta.url), 'utf8')
    ) as StrongSwanVectors
    for (const { sas, packets, ...ids } of vectors.suites) {
      const inbound = new Map(
        sas.map((sa) => {
          const encryptionKey = hexBytes(sa.encryptionKey)
          const integrityKey = hexBytes(sa.integrityKey)
          const parameters = { ...ids, spi: sa.spi, esn: false, encryptionKey, integrityKey }
          return [sa.spi, new InboundSa(parameters, 64, backend)] as const
        })
      )
      for (const packet of packets) {
        const sa = inbound.get(packet.spi)
        const bytes = hexBytes(packet.esp)
        const length = sa?.open(bytes, 0, bytes.length) ?? 0
        const at = sa?.innerOffset ?? 0
        expect(Buffer.from(bytes.subarray(at, at + length)).toString('hex')).toBe(packet.inner)
      }
      expect(packets.length).toBeGreaterThan(4)
    }
  })
})

interface StrongSwanVectors {
  readonly suites: readonly (SuiteIds & {
    readonly name: string
    readonly sas: readonly {
      readonly spi: number
      readonly encryptionKey: string
      readonly integrityKey: string
    }[]
    readonly packets: readonly { readonly spi: number; readonly esp: string; readonly inner: string }[]
  })[]
}

describe('packet cipher back ends', () => {
  beforeAll(loadReferenceBackend)

  it('are all there on a machine that runs these tests', () => {
    expect(availableBackends()).toEqual(BACKENDS)
  })

  it.each(ALL_SUITES)('agree on random packets with %s, and none takes a changed one', (_name, ids) => {
    const { blockSize, ivLength } = espSuite(ids)
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: ESP_HEADER_LENGTH + ivLength, maxLength: ESP_HEADER_LENGTH + ivLength }),
        fc.uint8Array({ minLength: 1, maxLength: 400 }),
        fc.nat(400),
        fc.boolean(),
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.nat(),
        (header, raw, split, esn, high, flip) => {
          const keys = saParameters(ids)
          const plaintext = new Uint8Array(Math.ceil(raw.length / blockSize) * blockSize)
          plaintext.set(raw)
          const sealed = BACKENDS.map((backend) =>
            seal(ids, keys, header, plaintext, backend, { esn, high, split })
          )
          expect(sealed[1]).toEqual(sealed[0])
          expect(sealed[2]).toEqual(sealed[0])
          const packet = sealed[0] ?? new Uint8Array(0)
          const changed = Uint8Array.from(packet)
          const at = flip % packet.length
          changed[at] = (changed[at] ?? 0) ^ (1 << (flip % 8))
          for (const backend of BACKENDS) {
            expect(open(ids, keys, packet, backend, { esn, high })).toEqual(plaintext)
            expect(open(ids, keys, changed, backend, { esn, high })).toBeUndefined()
            if (esn) expect(open(ids, keys, packet, backend, { esn, high: high ^ 1 })).toBeUndefined()
          }
        }
      ),
      { numRuns: 40, seed: 20260 }
    )
  })

  it('refuse keys that do not fit and suites that do not exist', () => {
    const good = saParameters({
      encryptionId: EncryptionId.AES_GCM_16,
      encryptionKeyBits: 128,
      integrityId: 0
    })
    expect(() => createPacketCipher({ ...good, encryptionKey: new Uint8Array(16) }, 'seal')).toThrow(
      'does not have the length'
    )
    expect(() => createPacketCipher({ ...good, encryptionId: 3 }, 'seal')).toThrow('no ESP suite')
  })
})
