/**
 * Records of TLS 1.3 in one direction (RFC 8446 sections 5.2 and 7): keys from a traffic secret, and OpenSSL's ciphers called directly.
 *
 * Invariants: a sequence number is used once with a key; content goes from one memory to another in one pass; nothing is
 * allocated for a record.
 * @module
 */
import { createHmac } from 'node:crypto'
import { InternalError } from '../errors.ts'
import { AeadTagParameter, type Evp, type EvpCipherName, evp } from '../native/libcrypto-evp.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'

export const TLS_HEADER_LENGTH = 5
/** Most content of a record (RFC 8446 section 5.1). */
export const TLS_MAX_CONTENT = 16_384
/** Most bytes behind the header: content, its type, padding and tag (section 5.2). */
export const TLS_MAX_CIPHERTEXT = TLS_MAX_CONTENT + 256
const TAG_LENGTH = 16
const NONCE_LENGTH = 12
/** What a record of ours has more than its content: header, type and tag. */
export const TLS_RECORD_OVERHEAD = TLS_HEADER_LENGTH + 1 + TAG_LENGTH

export const TlsContentType = {
  CHANGE_CIPHER_SPEC: 20,
  ALERT: 21,
  HANDSHAKE: 22,
  APPLICATION_DATA: 23
} as const

interface TlsSuite {
  readonly cipher: EvpCipherName
  readonly keyLength: number
  readonly hash: 'sha256' | 'sha384'
}

/** By the names of RFC 8446 appendix B.4. */
const SUITES: Readonly<Record<string, TlsSuite>> = {
  TLS_AES_128_GCM_SHA256: { cipher: 'aes-128-gcm', keyLength: 16, hash: 'sha256' },
  TLS_AES_256_GCM_SHA384: { cipher: 'aes-256-gcm', keyLength: 32, hash: 'sha384' },
  TLS_CHACHA20_POLY1305_SHA256: { cipher: 'chacha20-poly1305', keyLength: 32, hash: 'sha256' }
}

export function isKnownTlsSuite(name: string): boolean {
  return Object.hasOwn(SUITES, name)
}

export class TlsRecordCipher {
  readonly #suite: TlsSuite
  readonly #evp: Evp = evp()
  readonly #sealing: boolean
  /** Nonce (12), header (5) at 16, type at 24, an int for lengths that nobody reads at 28. */
  readonly #scratch = nativeBuffer(32)
  readonly #scratchAddress = addressOf(this.#scratch)
  readonly #tag = new AeadTagParameter(TAG_LENGTH)
  #secret: Uint8Array
  #iv: Uint8Array = new Uint8Array(NONCE_LENGTH)
  #context = 0
  #sequence: number

  /**
   * @param suite a known one
   * @param secret the traffic secret; it is this object's from here on
   * @param sequence number of the next record
   * @throws NativeUnavailableError; InternalError when OpenSSL refuses the algorithm
   */
  constructor(suite: string, secret: Uint8Array, sequence: number, direction: 'seal' | 'open') {
    const known = SUITES[suite]
    if (known === undefined)
      throw new InternalError('tls-suite', `${suite} is no suite of TLS 1.3 known here`)
    this.#suite = known
    this.#sealing = direction === 'seal'
    this.#secret = secret
    this.#sequence = sequence
    this.#useSecret()
  }

  /** Number of the next record under this key. */
  get sequence(): number {
    return this.#sequence
  }

  /** The next generation of keys (RFC 8446 section 7.2). */
  update(): void {
    const { hash } = this.#suite
    const next = expandLabel(hash, this.#secret, 'traffic upd', this.#secret.length)
    this.#secret.fill(0)
    this.#secret = next
    this.#sequence = 0
    this.#useSecret()
  }

  /** Writes a record with this content at `record[at]`. @returns its length, or -1: OpenSSL failed */
  seal(
    type: number,
    contentAddress: number,
    contentLength: number,
    record: Buffer,
    recordAddress: number,
    at: number
  ): number {
    if (this.#context === 0 || !this.#sealing) return -1
    const sealedLength = contentLength + 1 + TAG_LENGTH
    record[at] = TlsContentType.APPLICATION_DATA
    record[at + 1] = record[at + 2] = 3
    record[at + 3] = sealedLength >>> 8
    record[at + 4] = sealedLength
    this.#scratch[24] = type
    const header = recordAddress + at
    const body = header + TLS_HEADER_LENGTH
    const behind = body + contentLength
    const functions = this.#evp
    const unread = this.#scratchAddress + 28
    this.#tag.pointTo(behind + 1)
    const sealed =
      this.#begin(header, 0) &&
      functions.cipherUpdate(this.#context, body, unread, contentAddress, contentLength) === 1 &&
      functions.cipherUpdate(this.#context, behind, unread, this.#scratchAddress + 24, 1) === 1 &&
      functions.cipherFinal(this.#context, behind + 1, unread) === 1 &&
      functions.cipherGetParameters(this.#context, this.#tag.address) === 1
    return sealed ? TLS_HEADER_LENGTH + sealedLength : -1
  }

  /**
   * Decrypts a whole record to another place.
   * @param recordLength with its header
   * @returns bytes written: content, its type, padding; -1: it is not authentic
   */
  open(recordAddress: number, recordLength: number, toAddress: number): number {
    const length = recordLength - TLS_HEADER_LENGTH - TAG_LENGTH
    if (this.#context === 0 || this.#sealing || length < 1) return -1
    const functions = this.#evp
    const unread = this.#scratchAddress + 28
    const from = recordAddress + TLS_HEADER_LENGTH
    this.#tag.pointTo(from + length)
    const opened =
      this.#begin(recordAddress, this.#tag.address) &&
      functions.cipherUpdate(this.#context, toAddress, unread, from, length) === 1 &&
      functions.cipherFinal(this.#context, toAddress + length, unread) === 1
    return opened ? length : -1
  }

  dispose(): void {
    if (this.#context !== 0) this.#evp.cipherContextFree(this.#context)
    this.#context = 0
    this.#secret.fill(0)
    this.#iv.fill(0)
    this.#scratch.fill(0)
  }

  /** Nonce of the next record, which counts as used; perhaps the tag to expect; the header as associated data. */
  #begin(headerAddress: number, parameters: number): boolean {
    const high = Math.floor(this.#sequence / 0x1_0000_0000)
    for (let index = 0; index < 4; index++) {
      const shift = 24 - 8 * index
      this.#scratch[index] = this.#iv[index] ?? 0
      this.#scratch[4 + index] = (this.#iv[4 + index] ?? 0) ^ (high >>> shift)
      this.#scratch[8 + index] = (this.#iv[8 + index] ?? 0) ^ (this.#sequence >>> shift)
    }
    this.#sequence++
    const encrypt = this.#sealing ? 1 : 0
    const unread = this.#scratchAddress + 28
    return (
      this.#evp.cipherInit(this.#context, 0, 0, this.#scratchAddress, encrypt, parameters) === 1 &&
      this.#evp.cipherUpdate(this.#context, 0, unread, headerAddress, TLS_HEADER_LENGTH) === 1
    )
  }

  #useSecret(): void {
    const { cipher, hash, keyLength } = this.#suite
    this.#iv.fill(0)
    this.#iv = expandLabel(hash, this.#secret, 'iv', NONCE_LENGTH)
    const key = nativeBuffer(keyLength)
    key.set(expandLabel(hash, this.#secret, 'key', keyLength))
    if (this.#context !== 0) this.#evp.cipherContextFree(this.#context)
    this.#context = this.#evp.cipherContextNew()
    const algorithm = this.#evp.cipher(cipher)
    const encrypt = this.#sealing ? 1 : 0
    const ready =
      this.#context !== 0 &&
      algorithm !== 0 &&
      this.#evp.cipherInit(this.#context, algorithm, addressOf(key), 0, encrypt, 0) === 1
    key.fill(0)
    if (!ready) throw new InternalError('tls-cipher', `OpenSSL has no ${cipher}`)
  }
}

/** HKDF-Expand-Label with an empty context (RFC 8446 section 7.1), for at most one block of the hash. */
function expandLabel(hash: string, secret: Uint8Array, label: string, length: number): Uint8Array {
  const name = Buffer.from(`tls13 ${label}`, 'latin1')
  const info = Buffer.concat([Buffer.of(length >>> 8, length, name.length), name, Buffer.of(0, 1)])
  return createHmac(hash, secret).update(info).digest().subarray(0, length)
}
