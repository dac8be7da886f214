/**
 * The symmetric ciphers and HMAC of the OpenSSL that is part of the Node binary, called directly: no object and no
 * allocation per packet. Bindings only; contexts and memory are plain numbers (addresses), 0 is NULL.
 * @module
 */
import { koffi, NativeUnavailableError } from './libc.ts'

/** Commands of `cipherControl` (openssl/evp.h). */
export const EVP_CTRL_AEAD_GET_TAG = 0x10
export const EVP_CTRL_AEAD_SET_TAG = 0x11

export type EvpCipherName =
  | 'aes-128-gcm'
  | 'aes-192-gcm'
  | 'aes-256-gcm'
  | 'chacha20-poly1305'
  | 'aes-128-cbc'
  | 'aes-192-cbc'
  | 'aes-256-cbc'
export type EvpDigestName = 'sha1' | 'sha256' | 'sha384' | 'sha512'

/** Functions return 1 for success, as OpenSSL's do, unless they return an address. */
export interface Evp {
  /** Addresses of static descriptions; 0 where this OpenSSL has none. */
  cipher(name: EvpCipherName): number
  digest(name: EvpDigestName): number
  cipherContextNew(): number
  /** Overwrites and frees. */
  cipherContextFree(context: number): void
  /** Cipher, key or IV that are 0 stay as they are. `encrypt`: 1 or 0. */
  cipherInit(
    context: number,
    cipher: number,
    engine: number,
    key: number,
    iv: number,
    encrypt: number
  ): number
  /** `output` 0: associated data. Writes the number of bytes to `outputLength`, a 32-bit integer. */
  cipherUpdate(context: number, output: number, outputLength: number, input: number, length: number): number
  cipherFinal(context: number, output: number, outputLength: number): number
  cipherControl(context: number, command: number, argument: number, pointer: number): number
  cipherSetPadding(context: number, padding: number): number
  hmacContextNew(): number
  /** Overwrites and frees. */
  hmacContextFree(context: number): void
  /** Key and digest that are 0 stay as they are: starts the next message. */
  hmacInit(context: number, key: number, keyLength: number, digest: number, engine: number): number
  hmacUpdate(context: number, input: number, length: number): number
  hmacFinal(context: number, output: number, outputLength: number): number
}

let loaded: Evp | undefined

/** The EVP functions of this process. @throws NativeUnavailableError when the binary does not export them */
export function evp(): Evp {
  loaded ??= bind()
  return loaded
}

function bind(): Evp {
  try {
    const library = koffi().load(null)
    const declare = (declaration: string) => library.func(declaration)
    const description = (name: string): number => Number(declare(`size_t EVP_${name}()`)())
    return {
      cipher: (name) => description(name.replaceAll('-', '_')),
      digest: description,
      cipherContextNew: declare('size_t EVP_CIPHER_CTX_new()'),
      cipherContextFree: declare('void EVP_CIPHER_CTX_free(size_t)'),
      cipherInit: declare('int EVP_CipherInit_ex(size_t, size_t, size_t, size_t, size_t, int)'),
      cipherUpdate: declare('int EVP_CipherUpdate(size_t, size_t, size_t, size_t, int)'),
      cipherFinal: declare('int EVP_CipherFinal_ex(size_t, size_t, size_t)'),
      cipherControl: declare('int EVP_CIPHER_CTX_ctrl(size_t, int, int, size_t)'),
      cipherSetPadding: declare('int EVP_CIPHER_CTX_set_padding(size_t, int)'),
      hmacContextNew: declare('size_t HMAC_CTX_new()'),
      hmacContextFree: declare('void HMAC_CTX_free(size_t)'),
      hmacInit: declare('int HMAC_Init_ex(size_t, size_t, int, size_t, size_t)'),
      hmacUpdate: declare('int HMAC_Update(size_t, size_t, size_t)'),
      hmacFinal: declare('int HMAC_Final(size_t, size_t, size_t)')
    }
  } catch (cause) {
    throw cause instanceof NativeUnavailableError
      ? cause
      : new NativeUnavailableError('libcrypto of the Node binary', cause)
  }
}
