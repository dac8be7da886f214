/**
 * X.509 path validation of the OpenSSL that is part of the Node binary (openssl/x509.h, x509_vfy.h). Bindings only:
 * objects and memory are plain numbers (addresses), 0 is NULL, and whoever gets an object that is not `get0` frees it.
 * @module
 */
import { koffi, NativeUnavailableError } from './libc.ts'
import { addressOf, nativeBuffer, writePointer } from './memory.ts'

/** Flags of `verifyParamSetFlags`. */
export const X509_V_FLAG_CRL_CHECK = 0x4
export const X509_V_FLAG_PARTIAL_CHAIN = 0x80000
/** `verifyParamSetPurpose`: no purpose in particular. */
export const X509_PURPOSE_ANY = 7
/** `keyUsage` of a certificate without that extension. */
export const X509_KEY_USAGE_ABSENT = 0xffffffff

/** Error numbers of `storeContextGetError` that are told apart. */
export const X509VerifyError = {
  OK: 0,
  UNABLE_TO_GET_ISSUER_CERT: 2,
  UNABLE_TO_GET_CRL: 3,
  CERT_SIGNATURE_FAILURE: 7,
  CRL_SIGNATURE_FAILURE: 8,
  CERT_NOT_YET_VALID: 9,
  CERT_HAS_EXPIRED: 10,
  CRL_NOT_YET_VALID: 11,
  CRL_HAS_EXPIRED: 12,
  DEPTH_ZERO_SELF_SIGNED_CERT: 18,
  SELF_SIGNED_CERT_IN_CHAIN: 19,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 20,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 21,
  CERT_CHAIN_TOO_LONG: 22,
  CERT_REVOKED: 23,
  PATH_LENGTH_EXCEEDED: 25,
  KEYUSAGE_NO_CERTSIGN: 32,
  UNABLE_TO_GET_CRL_ISSUER: 33,
  UNHANDLED_CRITICAL_EXTENSION: 34,
  KEYUSAGE_NO_CRL_SIGN: 35,
  UNHANDLED_CRITICAL_CRL_EXTENSION: 36,
  PERMITTED_VIOLATION: 47,
  EXCLUDED_VIOLATION: 48,
  SUBTREE_MINMAX: 49,
  UNSUPPORTED_CONSTRAINT_TYPE: 51,
  UNSUPPORTED_CONSTRAINT_SYNTAX: 52,
  UNSUPPORTED_NAME_SYNTAX: 53,
  EE_KEY_TOO_SMALL: 66,
  CA_KEY_TOO_SMALL: 67,
  CA_MD_TOO_WEAK: 68,
  INVALID_CA: 79
} as const

/** Functions return 1 for success, as OpenSSL's do, unless they return an address. */
export interface X509Library {
  /** `d2i_X509`, `d2i_X509_CRL`, `d2i_X509_NAME`: 0 unless `bytes` is exactly one such object. */
  certificateFromDer(bytes: Uint8Array): number
  crlFromDer(bytes: Uint8Array): number
  nameFromDer(bytes: Uint8Array): number
  certificateFree(certificate: number): void
  crlFree(crl: number): void
  nameFree(name: number): void
  /** `i2d_X509`: a copy. */
  certificateToDer(certificate: number): Uint8Array
  /** Bits of the KeyUsage extension, the first octet in the low 8; `X509_KEY_USAGE_ABSENT` without one. */
  keyUsage(certificate: number): number
  get0SubjectName(certificate: number): number
  /** 0: equal (RFC 5280 section 7.1). */
  nameCompare(a: number, b: number): number
  stackNew(): number
  stackPush(stack: number, item: number): number
  /** Frees the stack alone, not what is in it. */
  stackFree(stack: number): void
  stackSize(stack: number): number
  get0StackItem(stack: number, index: number): number
  storeNew(): number
  storeFree(store: number): void
  /** Both take a reference of their own. */
  storeAddCertificate(store: number, certificate: number): number
  storeAddCrl(store: number, crl: number): number
  storeContextNew(): number
  storeContextFree(context: number): void
  storeContextInit(context: number, store: number, leaf: number, untrusted: number): number
  get0VerifyParam(context: number): number
  verifyParamSetTime(param: number, secondsSince1970: number): void
  verifyParamSetFlags(param: number, flags: number): number
  verifyParamSetPurpose(param: number, purpose: number): number
  verifyParamSetAuthLevel(param: number, level: number): void
  verifyParamSetDepth(param: number, depth: number): void
  /** 1: the path is valid; anything else: see `storeContextGetError`. */
  verifyCertificate(context: number): number
  storeContextGetError(context: number): number
  storeContextGetErrorDepth(context: number): number
  get0CurrentCertificate(context: number): number
  /** A stack, leaf first. */
  get0Chain(context: number): number
  errorText(error: number): string
  /** Empties this thread's error queue, which failed parsing fills. */
  clearErrors(): void
}

let loaded: X509Library | undefined

/** The X.509 functions of this process. @throws NativeUnavailableError when the binary does not export them */
export function x509Library(): X509Library {
  loaded ??= bind()
  return loaded
}

type Declare = (declaration: string) => (...values: readonly (number | bigint)[]) => number

function bind(): X509Library {
  try {
    const library = koffi().load(null)
    const declare: Declare = (declaration) => library.func(declaration)
    return {
      ...bindObjects(declare),
      ...bindStacks(declare),
      ...bindStores(declare),
      errorText: library.func('const char *X509_verify_cert_error_string(long)'),
      clearErrors: library.func('void ERR_clear_error()')
    }
  } catch (cause) {
    throw cause instanceof NativeUnavailableError
      ? cause
      : new NativeUnavailableError('the certificate validation of the Node binary', cause)
  }
}

/** A C pointer to `target`, in memory of its own that C may advance. */
function cursorTo(target: Uint8Array): Buffer {
  const cursor = nativeBuffer(8)
  writePointer(cursor, 0, addressOf(target))
  return cursor
}

/** How far C has advanced a cursor into `target`. Asking afterwards also keeps both alive during the call. */
function advanceOf(cursor: Buffer, target: Uint8Array): number {
  return Number(cursor.readBigUInt64LE()) - addressOf(target)
}

/** Wraps a `d2i` function; rejects an object that does not fill its bytes. */
function reader(d2i: (...values: number[]) => number, free: (object: number) => void) {
  return (bytes: Uint8Array): number => {
    const input = nativeBuffer(bytes.length)
    input.set(bytes)
    const cursor = cursorTo(input)
    const object = d2i(0, addressOf(cursor), input.length)
    if (advanceOf(cursor, input) === input.length || object === 0) return object
    free(object)
    return 0
  }
}

function bindObjects(declare: Declare) {
  const certificateFree = declare('void X509_free(size_t)')
  const crlFree = declare('void X509_CRL_free(size_t)')
  const nameFree = declare('void X509_NAME_free(size_t)')
  const i2d = declare('int i2d_X509(size_t, size_t)')
  return {
    certificateFromDer: reader(declare('size_t d2i_X509(size_t, size_t, long)'), certificateFree),
    crlFromDer: reader(declare('size_t d2i_X509_CRL(size_t, size_t, long)'), crlFree),
    nameFromDer: reader(declare('size_t d2i_X509_NAME(size_t, size_t, long)'), nameFree),
    certificateFree,
    crlFree,
    nameFree,
    certificateToDer(certificate: number): Uint8Array {
      const output = nativeBuffer(Math.max(0, i2d(certificate, 0)))
      if (output.length === 0) return output
      const cursor = cursorTo(output)
      i2d(certificate, addressOf(cursor))
      if (advanceOf(cursor, output) !== output.length)
        throw new Error('i2d_X509 wrote another length than it told')
      return output
    },
    keyUsage: declare('uint32_t X509_get_key_usage(size_t)'),
    get0SubjectName: declare('size_t X509_get_subject_name(size_t)'),
    nameCompare: declare('int X509_NAME_cmp(size_t, size_t)')
  }
}

function bindStacks(declare: Declare) {
  return {
    stackNew: declare('size_t OPENSSL_sk_new_null()'),
    stackPush: declare('int OPENSSL_sk_push(size_t, size_t)'),
    stackFree: declare('void OPENSSL_sk_free(size_t)'),
    stackSize: declare('int OPENSSL_sk_num(size_t)'),
    get0StackItem: declare('size_t OPENSSL_sk_value(size_t, int)')
  }
}

function bindStores(declare: Declare) {
  return {
    storeNew: declare('size_t X509_STORE_new()'),
    storeFree: declare('void X509_STORE_free(size_t)'),
    storeAddCertificate: declare('int X509_STORE_add_cert(size_t, size_t)'),
    storeAddCrl: declare('int X509_STORE_add_crl(size_t, size_t)'),
    storeContextNew: declare('size_t X509_STORE_CTX_new()'),
    storeContextFree: declare('void X509_STORE_CTX_free(size_t)'),
    storeContextInit: declare('int X509_STORE_CTX_init(size_t, size_t, size_t, size_t)'),
    get0VerifyParam: declare('size_t X509_STORE_CTX_get0_param(size_t)'),
    verifyParamSetTime: declare('void X509_VERIFY_PARAM_set_time(size_t, long)'),
    verifyParamSetFlags: declare('int X509_VERIFY_PARAM_set_flags(size_t, unsigned long)'),
    verifyParamSetPurpose: declare('int X509_VERIFY_PARAM_set_purpose(size_t, int)'),
    verifyParamSetAuthLevel: declare('void X509_VERIFY_PARAM_set_auth_level(size_t, int)'),
    verifyParamSetDepth: declare('void X509_VERIFY_PARAM_set_depth(size_t, int)'),
    verifyCertificate: declare('int X509_verify_cert(size_t)'),
    storeContextGetError: declare('int X509_STORE_CTX_get_error(size_t)'),
    storeContextGetErrorDepth: declare('int X509_STORE_CTX_get_error_depth(size_t)'),
    get0CurrentCertificate: declare('size_t X509_STORE_CTX_get_current_cert(size_t)'),
    get0Chain: declare('size_t X509_STORE_CTX_get0_chain(size_t)')
  }
}
