/**
 * Opens PKCS#12 files (RFC 7292) with node-forge, which is loaded only then: it knows the legacy ciphers (RC2, 3DES)
 * that OpenSSL 3 no longer does.
 * @module
 */
import type forge from 'node-forge'
import { DataError } from '../errors.ts'
import type { Secret } from '../secret.ts'
import { MAX_ROUNDS } from './kdf-work.ts'

export interface Pkcs12Bags {
  /** PKCS#8 DER, decrypted. */
  readonly keys: readonly Uint8Array[]
  /** DER. */
  readonly certificates: readonly Uint8Array[]
}

/** Larger than any real file, small enough that a wrong file is not chewed on. */
const MAX_LENGTH = 4 * 1024 * 1024

/** @throws DataError `pkcs12-wrong-password` or `pkcs12-unsupported` */
export async function readPkcs12(bytes: Uint8Array, password: Secret | undefined): Promise<Pkcs12Bags> {
  const { default: library } = await import('node-forge')
  if (bytes.length > MAX_LENGTH) throw unsupported('it is too large')
  let file: forge.asn1.Asn1
  try {
    file = library.asn1.fromDer(library.util.createBuffer(Buffer.from(bytes).toString('binary')))
  } catch {
    throw unsupported('it is not DER')
  }
  // Some programs write "no password" as an empty one and others as none at all.
  const attempts = password === undefined ? ['', undefined] : [password.revealText()]
  let failure: unknown
  const rounds = countRounds(library)
  try {
    for (const attempt of attempts) {
      try {
        return bagsOf(library, library.pkcs12.pkcs12FromAsn1(file, false, attempt))
      } catch (error) {
        if (error instanceof DataError) throw error
        failure = error
      }
    }
  } finally {
    rounds.stop()
  }
  throw explain(failure, password !== undefined)
}

/** Arguments of forge's derivations; the fourth or third one counts rounds. */
type Derivation = (...values: unknown[]) => unknown

/**
 * Bounds what the file asks of the key derivations. Most of their parameters show only when what is around them was decrypted, so
 * that forge's own functions count; nobody else uses them, and reading a file is one step.
 */
function countRounds(library: typeof forge): { stop(): void } {
  let left = MAX_ROUNDS
  const counting = (derive: Derivation, position: number): Derivation => {
    return (...values) => {
      left -= Number(values[position])
      // Also for what is no number.
      if (!(left >= 0)) throw unsupported(`it asks for more than ${MAX_ROUNDS} rounds of key derivation`)
      return derive(...values)
    }
  }
  // The type definitions know neither the first nor that the others can be set.
  const { pki, pkcs5, pkcs12 } = library as unknown as {
    pki: { pbe: { generatePkcs12Key: Derivation } }
    pkcs5: { pbkdf2: Derivation }
    pkcs12: { generateKey: Derivation }
  }
  const own = {
    bag: pki.pbe.generatePkcs12Key,
    pbkdf2: pkcs5.pbkdf2,
    mac: pkcs12.generateKey
  }
  pki.pbe.generatePkcs12Key = counting(own.bag, 3)
  pkcs5.pbkdf2 = counting(own.pbkdf2, 2)
  pkcs12.generateKey = counting(own.mac, 3)
  return {
    stop: () => {
      pki.pbe.generatePkcs12Key = own.bag
      pkcs5.pbkdf2 = own.pbkdf2
      pkcs12.generateKey = own.mac
    }
  }
}

function bagsOf(library: typeof forge, file: forge.pkcs12.Pkcs12Pfx): Pkcs12Bags {
  const oids = library.pki.oids as Readonly<Record<string, string>>
  const bags = file.safeContents.flatMap((contents) => contents.safeBags)
  const keys: Uint8Array[] = []
  const certificates: Uint8Array[] = []
  for (const bag of bags) {
    if (bag.type === oids['keyBag'] || bag.type === oids['pkcs8ShroudedKeyBag']) {
      // forge has objects for RSA keys only; others stay the ASN.1 that they were.
      const info = bag.key ? library.pki.wrapRsaPrivateKey(library.pki.privateKeyToAsn1(bag.key)) : bag.asn1
      keys.push(derOf(library, info))
    } else if (bag.type === oids['certBag'])
      certificates.push(derOf(library, bag.cert ? library.pki.certificateToAsn1(bag.cert) : bag.asn1))
  }
  return { keys, certificates }
}

function derOf(library: typeof forge, value: forge.asn1.Asn1): Uint8Array {
  return Uint8Array.from(Buffer.from(library.asn1.toDer(value).getBytes(), 'binary'))
}

function explain(failure: unknown, hadPassword: boolean): DataError {
  const text = failure instanceof Error ? failure.message : ''
  if (/password|MAC could not be verified|decrypt/i.test(text))
    return new DataError(
      'pkcs12-wrong-password',
      hadPassword ? 'The password of the PKCS#12 file is wrong.' : 'The PKCS#12 file needs a password.',
      { hint: 'Give it with --key-password-file.' }
    )
  return unsupported('its contents are not understood')
}

function unsupported(why: string): DataError {
  return new DataError('pkcs12-unsupported', `The PKCS#12 file cannot be used: ${why}.`, {
    hint: 'Convert it to PEM with "openssl pkcs12 -in <file> -nodes".'
  })
}
