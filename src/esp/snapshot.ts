/**
 * Child SAs as another member of a cluster needs them to go on (RFC 6311): keys and counters of both directions, as bytes.
 * What they carry and when they end, the IKE engine's snapshot says.
 *
 * Keys are copied in both directions: whoever holds a snapshot overwrites it when it is done.
 * @module
 */
import { cipherSuite } from '../crypto/cipher-suite.ts'
import { readBlob, readFlag, readList, writeBlob, writeFlag, writeList } from '../wire/blob.ts'
import { type DecodeResult, decodeResult } from '../wire/errors.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import type { ChildSa } from './sad.ts'
import type { EspSaParameters } from './types.ts'

/** Both directions of one Child SA, each with the number that it has come to. */
export interface EspSnapshot {
  readonly inbound: Required<EspSaParameters>
  readonly outbound: Required<EspSaParameters>
}

/** The two numbers alone: they change with every packet. */
export interface EspCounters {
  readonly spiIn: number
  /** Last number that was sent with. */
  readonly sent: bigint
  /** Highest number that was received. */
  readonly received: bigint
}

export function takeEspSnapshot({ parameters, inbound, outbound }: ChildSa): EspSnapshot {
  return {
    inbound: copyOf(parameters.inbound, inbound.window.top),
    outbound: copyOf(parameters.outbound, outbound.sequence)
  }
}

export function espCounters({ inbound, outbound }: ChildSa): EspCounters {
  return { spiIn: inbound.spi, sent: outbound.sequence, received: inbound.window.top }
}

export function disposeEspSnapshot({ inbound, outbound }: EspSnapshot): void {
  for (const { encryptionKey, integrityKey } of [inbound, outbound]) {
    encryptionKey.fill(0)
    integrityKey.fill(0)
  }
}

export function encodeEspSnapshots(snapshots: readonly EspSnapshot[]): Uint8Array {
  const w = new Writer(512)
  writeList(w, snapshots, ({ inbound, outbound }) => {
    writeHalf(w, inbound)
    writeHalf(w, outbound)
  })
  return w.finish()
}

export function decodeEspSnapshots(bytes: Uint8Array): DecodeResult<EspSnapshot[]> {
  return decodeResult(() => {
    const r = new Reader(bytes, 'esp')
    const snapshots = readList(r, 'child', () => ({ inbound: readHalf(r), outbound: readHalf(r) }))
    r.expectEnd()
    return snapshots
  })
}

function copyOf(half: EspSaParameters, sequence: bigint): Required<EspSaParameters> {
  return {
    ...half,
    encryptionKey: Uint8Array.from(half.encryptionKey),
    integrityKey: Uint8Array.from(half.integrityKey),
    sequence
  }
}

function writeHalf(w: Writer, half: Required<EspSaParameters>): void {
  w.u32(half.spi)
  w.u16(half.encryptionId)
  w.u16(half.encryptionKeyBits)
  w.u16(half.integrityId)
  writeFlag(w, half.esn)
  writeBlob(w, half.encryptionKey)
  writeBlob(w, half.integrityKey)
  w.u64(half.sequence)
}

function readHalf(r: Reader): Required<EspSaParameters> {
  const half = {
    spi: r.u32('spi'),
    encryptionId: r.u16('encryptionId'),
    encryptionKeyBits: r.u16('encryptionKeyBits'),
    integrityId: r.u16('integrityId'),
    esn: readFlag(r, 'esn'),
    encryptionKey: readBlob(r, 'encryptionKey'),
    integrityKey: readBlob(r, 'integrityKey'),
    sequence: r.u64('sequence')
  }
  // Nothing may go wrong any more when it is put to use: that would be in the middle of a takeover.
  const suite = cipherSuite(half.encryptionId, half.encryptionKeyBits || undefined, half.integrityId)
  const fits =
    half.encryptionKey.length === suite?.encryptionKeyLength &&
    half.integrityKey.length === suite.integrityKeyLength
  if (!fits) throw r.syntaxError('has keys that fit no suite')
  return half
}
