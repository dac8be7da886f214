/**
 * Makes the cipher of one direction of a Child SA, from the best back end that this machine has: OpenSSL's EVP
 * functions called directly, or `node:crypto`. noble is the reference for both: a program that wants it loads it first.
 * @module
 */
import { InternalError } from '../errors.ts'
import { evp } from '../native/libcrypto-evp.ts'
import { type Facility, IN_USE, notInUse, switchedOff } from '../native/speedups.ts'
import { cipherSuite } from './cipher-suite.ts'
import { createLibcryptoPacketCipher } from './packet-cipher-libcrypto.ts'
import { createNodeCipher } from './packet-cipher-node.ts'
import type { PacketCipher, PacketCipherBackend, PacketCipherKeys } from './packet-cipher-types.ts'
import type { CipherSuite } from './types.ts'

/** The algorithms and keys of one direction: what `EspSaParameters` and this floor have in common. */
export interface PacketCipherParameters extends PacketCipherKeys {
  readonly encryptionId: number
  readonly encryptionKeyBits: number
  readonly integrityId: number
  readonly esn: boolean
}

let libcrypto: Facility | undefined

/** Whether the fastest back end is in use. */
export function libcryptoFacility(): Facility {
  libcrypto ??= findLibcrypto()
  return libcrypto
}

function findLibcrypto(): Facility {
  const off = switchedOff('libcrypto')
  if (off !== undefined) return notInUse(off)
  try {
    evp()
    return IN_USE
  } catch (error) {
    return notInUse(error instanceof Error ? error.message : String(error))
  }
}

let reference: typeof import('./packet-cipher-noble.ts') | undefined

/** Makes the back end `noble` available. It builds tables as it is loaded, which no start of the program has to pay for. */
export async function loadReferenceBackend(): Promise<void> {
  reference ??= await import('./packet-cipher-noble.ts')
}

/** Back ends that work here, the fastest first. */
export function availableBackends(): readonly PacketCipherBackend[] {
  const fast: readonly PacketCipherBackend[] = libcryptoFacility().inUse ? ['libcrypto', 'node'] : ['node']
  return reference === undefined ? fast : [...fast, 'noble']
}

/**
 * The cipher of one direction. The keys are copied into the back end: overwriting the originals is up to the caller.
 *
 * @param direction `seal` for outbound, `open` for inbound; the other operation of the result returns false
 * @param backend the fastest one by default
 * @throws InternalError for a suite that does not exist or keys that do not fit it: the IKE engine negotiates neither
 */
export function createPacketCipher(
  parameters: PacketCipherParameters,
  direction: 'seal' | 'open',
  backend?: PacketCipherBackend
): PacketCipher {
  const suite = espSuite(parameters)
  if (
    parameters.encryptionKey.length !== suite.encryptionKeyLength ||
    parameters.integrityKey.length !== suite.integrityKeyLength
  )
    throw new InternalError(
      'esp-key-length',
      'An ESP key does not have the length that its algorithm asks for'
    )
  const keys = { encryptionKey: parameters.encryptionKey, integrityKey: parameters.integrityKey }
  switch (backend ?? availableBackends()[0]) {
    case 'libcrypto':
      return createLibcryptoPacketCipher(suite, keys, parameters.esn, direction)
    case 'noble':
      if (reference === undefined)
        throw new InternalError('esp-backend', 'The reference back end is not loaded')
      return reference.createNobleCipher(suite, keys, parameters.esn, direction)
    default:
      return createNodeCipher(suite, keys, parameters.esn, direction)
  }
}

/** Sizes of an ESP suite. @throws InternalError for one that does not exist */
export function espSuite(algorithms: {
  readonly encryptionId: number
  readonly encryptionKeyBits: number
  readonly integrityId: number
}): CipherSuite {
  // ChaCha20-Poly1305 has no KEY LENGTH attribute, so that 0 stands for its only length.
  const keyBits = algorithms.encryptionKeyBits === 0 ? undefined : algorithms.encryptionKeyBits
  const suite = cipherSuite(algorithms.encryptionId, keyBits, algorithms.integrityId)
  if (suite === undefined)
    throw new InternalError('esp-suite', `There is no ESP suite ${JSON.stringify(algorithms)}`)
  return suite
}
