/**
 * Path validation by OpenSSL's own `X509_verify_cert` (RFC 5280 section 6), with every native object freed on every path.
 *
 * Anchors are trusted as they are (partial chains); signatures and keys weaker than 112 bits fail; CRLs, when there are
 * any, must cover the leaf, and cover intermediates as far as they go.
 * @module
 */
import {
  X509_PURPOSE_ANY,
  X509_V_FLAG_CRL_CHECK,
  X509_V_FLAG_PARTIAL_CHAIN,
  type X509Library,
  X509VerifyError,
  x509Library
} from '../native/libcrypto-x509.ts'

export interface PathInput {
  /** DER. */
  readonly leaf: Uint8Array
  /** DER, in any order; those that cannot be parsed are left out. */
  readonly intermediates: readonly Uint8Array[]
  readonly anchors: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
  /** Milliseconds since 1970. */
  readonly atMs: number
}

export type PathOutcome =
  | {
      readonly ok: true
      /** DER, leaf first, anchor last. */
      readonly chain: readonly Uint8Array[]
      /** Bits of the leaf's KeyUsage, or `X509_KEY_USAGE_ABSENT`. */
      readonly keyUsage: number
    }
  | {
      readonly ok: false
      /** One of `X509VerifyError`, or another number of OpenSSL's. */
      readonly error: number
      readonly errorText: string
      /** DER of the certificate that is at fault, when there is one. */
      readonly certificate: Uint8Array | undefined
    }
  /** The leaf or a CRL is not what it should be. */
  | { readonly ok: false; readonly malformed: 'leaf' | 'crl' }

/** 112 bits: RSA and DH from 2048, no SHA-1 (OpenSSL's SSL_CTX_set_security_level). */
const AUTH_LEVEL = 2
/** Intermediates between leaf and anchor; real paths have one or two. */
const MAX_DEPTH = 8

/** Frees in reverse order whatever it was given. */
class NativeScope {
  readonly #frees: (() => void)[] = []

  /** Takes over `object` unless it is 0; returns it. */
  own(object: number, free: (object: number) => void): number {
    if (object !== 0) this.#frees.push(() => free(object))
    return object
  }

  close(): void {
    for (const free of this.#frees.reverse()) free()
  }
}

/** @throws NativeUnavailableError when the Node binary does not export OpenSSL's X.509 functions */
export function verifyPath(input: PathInput): PathOutcome {
  const x509 = x509Library()
  const scope = new NativeScope()
  try {
    return verifyInScope(x509, scope, input)
  } finally {
    scope.close()
    x509.clearErrors()
  }
}

function verifyInScope(x509: X509Library, scope: NativeScope, input: PathInput): PathOutcome {
  const parse = (bytes: Uint8Array) => scope.own(x509.certificateFromDer(bytes), x509.certificateFree)
  const leaf = parse(input.leaf)
  if (leaf === 0) return { ok: false, malformed: 'leaf' }
  const store = scope.own(x509.storeNew(), x509.storeFree)
  for (const anchor of input.anchors.map(parse)) if (anchor !== 0) x509.storeAddCertificate(store, anchor)
  for (const bytes of input.crls) {
    const crl = scope.own(x509.crlFromDer(bytes), x509.crlFree)
    if (crl === 0) return { ok: false, malformed: 'crl' }
    x509.storeAddCrl(store, crl)
  }
  const untrusted = scope.own(x509.stackNew(), x509.stackFree)
  for (const intermediate of input.intermediates.map(parse))
    if (intermediate !== 0) x509.stackPush(untrusted, intermediate)

  const withCrls = input.crls.length > 0
  const outcome = verifyOne(x509, store, leaf, untrusted, input.atMs, withCrls)
  if (!outcome.ok || !withCrls) return outcome
  // The leaf's issuer is covered. Other CAs may have no CRL here (roots seldom do), but one that there is must count.
  for (const bytes of outcome.chain.slice(1, -1)) {
    const revocation = verifyOne(x509, store, parse(bytes), untrusted, input.atMs, true)
    if (!revocation.ok && !isMissingCrl(revocation)) return revocation
  }
  return outcome
}

function isMissingCrl(outcome: PathOutcome): boolean {
  return 'error' in outcome && outcome.error === X509VerifyError.UNABLE_TO_GET_CRL
}

function verifyOne(
  x509: X509Library,
  store: number,
  certificate: number,
  untrusted: number,
  atMs: number,
  crlCheck: boolean
): PathOutcome {
  const context = x509.storeContextNew()
  try {
    if (x509.storeContextInit(context, store, certificate, untrusted) !== 1)
      return failure(x509, X509VerifyError.UNABLE_TO_GET_ISSUER_CERT, 0)
    const param = x509.get0VerifyParam(context)
    x509.verifyParamSetTime(param, Math.floor(atMs / 1000))
    x509.verifyParamSetFlags(param, X509_V_FLAG_PARTIAL_CHAIN | (crlCheck ? X509_V_FLAG_CRL_CHECK : 0))
    x509.verifyParamSetPurpose(param, X509_PURPOSE_ANY)
    x509.verifyParamSetAuthLevel(param, AUTH_LEVEL)
    x509.verifyParamSetDepth(param, MAX_DEPTH)
    const valid = x509.verifyCertificate(context) === 1
    const error = x509.storeContextGetError(context)
    if (!valid || error !== X509VerifyError.OK)
      return failure(x509, error, x509.get0CurrentCertificate(context))
    const stack = x509.get0Chain(context)
    const chain: Uint8Array[] = []
    for (let index = 0; index < x509.stackSize(stack); index++)
      chain.push(x509.certificateToDer(x509.get0StackItem(stack, index)))
    return { ok: true, chain, keyUsage: x509.keyUsage(certificate) }
  } finally {
    x509.storeContextFree(context)
  }
}

function failure(x509: X509Library, error: number, certificate: number): PathOutcome {
  return {
    ok: false,
    error,
    errorText: x509.errorText(error),
    certificate: certificate === 0 ? undefined : x509.certificateToDer(certificate)
  }
}

/** Whether two DER Names are the same (RFC 5280 section 7.1: case and space are folded). */
export function sameName(a: Uint8Array, b: Uint8Array): boolean {
  const x509 = x509Library()
  const scope = new NativeScope()
  try {
    const [first, second] = [a, b].map((bytes) => scope.own(x509.nameFromDer(bytes), x509.nameFree))
    if (!first || !second) return false
    return x509.nameCompare(first, second) === 0
  } finally {
    scope.close()
    x509.clearErrors()
  }
}
