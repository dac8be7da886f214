/**
 * What the data path of a session is made of on this machine, and what is off and why: for people who ask why it is slow.
 * @module
 */
import type { PacketCipherBackend } from '../crypto/packet-cipher-types.ts'
import type { Facility } from '../native/speedups.ts'
import type { TransportFacts } from '../transport/types.ts'
import type { TunOffloads } from '../tun/types.ts'

export interface DataPathFacts {
  /** Of the Child SA that sends. */
  readonly cipher: CipherFacts
  readonly tun: TunOffloads
  /** Null while there is none. */
  readonly transport: TransportFacts | null
}

export interface CipherFacts {
  /** Null while there is no Child SA. */
  readonly backend: PacketCipherBackend | null
  /** OpenSSL's functions called directly, the fastest back end. */
  readonly libcrypto: Facility
}
