/**
 * What the engines need of cryptography. Implementations are chosen by transform number; nothing here does I/O.
 * @module
 */

/** The only source of randomness of an engine; tests and the simulator inject a seeded one. */
export interface RandomSource {
  bytes(length: number): Uint8Array
}

/** A pseudo-random function (RFC 7296 section 2.13; RFC 4868 for HMAC-SHA2). */
export interface Prf {
  readonly id: number
  readonly name: string
  /** Bytes of output, and the preferred key length. */
  readonly outputLength: number
  compute(key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array
}

/** One ephemeral key exchange, our half made. */
export interface KeyExchange {
  readonly group: number
  readonly publicValue: Uint8Array
  /**
   * The shared secret in the form RFC 7296 section 2.14 wants (MODP: padded to the modulus; ECP: x only).
   * @throws CryptoError when the peer's value is of the wrong length, off the curve, or yields zero
   */
  computeSharedSecret(peerPublicValue: Uint8Array): Uint8Array
  /** Overwrites the private value as far as the runtime allows. */
  dispose(): void
}

/** Protects IKE messages in one direction: an AEAD (RFC 5282, 7634), or a cipher and a MAC (RFC 7296 section 3.14). */
export interface IkeCipher {
  readonly ivLength: number
  readonly icvLength: number
  /** The plaintext with its padding must be a multiple of this. */
  readonly blockSize: number
  /** True: `iv` must never repeat (a counter is right); false: it must be unpredictable (CBC). */
  readonly isAead: boolean
  /**
   * @param associated every byte of the message before the IV (IKE header up to and including the SK/SKF payload header)
   * @param plaintext inner payloads with padding and pad length
   * @returns ciphertext followed by the ICV
   */
  seal(associated: Uint8Array, iv: Uint8Array, plaintext: Uint8Array): Uint8Array
  /** @returns the padded plaintext, or undefined if the check fails. Constant-time comparison. */
  open(associated: Uint8Array, iv: Uint8Array, ciphertextAndIcv: Uint8Array): Uint8Array | undefined
  dispose(): void
}

/** Key sizes of a cipher (and MAC) suite in bytes; `encryptionKeyLength` includes the 4-byte salt of AEADs. */
export interface CipherSuite {
  readonly encryptionId: number
  readonly encryptionKeyBits: number
  readonly integrityId: number
  readonly isAead: boolean
  readonly encryptionKeyLength: number
  readonly integrityKeyLength: number
  readonly ivLength: number
  readonly icvLength: number
  readonly blockSize: number
}
