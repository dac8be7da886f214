/**
 * The symmetric ciphers and HMAC of the OpenSSL that is part of the Node binary, called directly: no object and no
 * allocation per packet. Bindings only; contexts and memory are plain numbers (addresses), 0 is NULL.
 * @module
 */
import { koffi, NativeUnavailableError } from './libc.ts'
import { addressOf, nativeBuffer, setPointer, wordsOf } from './memory.ts'

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
  /** Cipher, key or IV that are 0 stay as they are. `encrypt`: 1 or 0. `parameters`: an array of OSSL_PARAM, or 0. */
  cipherInit(
    context: number,
    cipher: number,
    key: number,
    iv: number,
    encrypt: number,
    parameters: number
  ): number
  /** `output` 0: associated data. Writes the number of bytes to `outputLength`, a 32-bit integer. */
  cipherUpdate(context: number, output: number, outputLength: number, input: number, length: number): number
  cipherFinal(context: number, output: number, outputLength: number): number
  cipherGetParameters(context: number, parameters: number): number
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
      cipherInit: declare('int EVP_CipherInit_ex2(size_t, size_t, size_t, size_t, int, size_t)'),
      cipherUpdate: declare('int EVP_CipherUpdate(size_t, size_t, size_t, size_t, int)'),
      cipherFinal: declare('int EVP_CipherFinal_ex(size_t, size_t, size_t)'),
      cipherGetParameters: declare('int EVP_CIPHER_CTX_get_params(size_t, size_t)'),
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

/** `OSSL_PARAM` (openssl/core.h): key, type, data, size, size returned; 40 bytes. The array ends with one without a key. */
const PARAMETER_LENGTH = 40
const OSSL_PARAM_OCTET_STRING = 5
/** Where its fields are, in words of 32 bits. */
const ParameterWord = { KEY: 0, TYPE: 2, DATA: 4, SIZE: 6 } as const
const TAG_NAME = 'tag'

/** The tag of an AEAD as the only parameter of a call: the one to expect, or where the one that was computed goes. */
export class AeadTagParameter {
  /** Of the array, to be passed to `cipherInit` and `cipherGetParameters`. */
  readonly address: number
  readonly #words: Uint32Array
  readonly #name = nativeBuffer(TAG_NAME.length + 1)

  constructor(tagLength: number) {
    const memory = nativeBuffer(2 * PARAMETER_LENGTH)
    this.#name.write(TAG_NAME, 'latin1')
    this.#words = wordsOf(memory)
    this.address = addressOf(memory)
    setPointer(this.#words, ParameterWord.KEY, addressOf(this.#name))
    this.#words[ParameterWord.TYPE] = OSSL_PARAM_OCTET_STRING
    setPointer(this.#words, ParameterWord.SIZE, tagLength)
  }

  /** Where the tag is, or goes. */
  pointTo(address: number): void {
    setPointer(this.#words, ParameterWord.DATA, address)
  }
}
