/**
 * What the two nodes of a cluster say to each other, as frames of a byte stream that is authenticated, encrypted and
 * keeps order (`cluster-link.ts`):
 *
 *     Length (4, of what follows) | Type (1) | body
 *
 * HELLO, BEAT, HANDOVER and RELEASE stay as they are in every version, so that nodes of different versions can still
 * agree on who is active; types that are not known are skipped.
 * @module
 */
import type { EspCounters } from '../esp/snapshot.ts'
import type { CookieSecrets } from '../ike/cookie.ts'
import type { MessageIds } from '../ike/session.ts'
import type { SnapshotBytes } from '../ike/snapshot-codec.ts'
import {
  readBlob,
  readFlag,
  readList,
  readOptional,
  readText,
  writeBlob,
  writeFlag,
  writeList,
  writeOptional,
  writeText
} from '../wire/blob.ts'
import { decodeResult } from '../wire/errors.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'

export type NodeRole = 'starting' | 'standby' | 'active' | 'stopped'

/** What a node tells of itself. */
export interface NodeStatus {
  readonly role: NodeRole
  /** Counts takeovers: of two active nodes the one with the higher term took over last. */
  readonly term: number
  /** A standby has everything of the active node. */
  readonly hasCopy: boolean
}

export interface SessionRecord {
  readonly ike: SnapshotBytes
  /** See `src/esp/snapshot.ts`. */
  readonly esp: Uint8Array
}

export interface SessionCounters {
  readonly session: number
  readonly messageIds: readonly MessageIds[]
  readonly esp: readonly EspCounters[]
}

export type ClusterMessage =
  /** The first message of either end. `fingerprint`: of the settings that have to be the same on both nodes. */
  | ({
      readonly type: 'hello'
      readonly node: string
      readonly priority: number
      readonly fingerprint: Uint8Array
    } & NodeStatus)
  | ({ readonly type: 'beat' } & NodeStatus)
  /** Active to standby: go on, I have stopped. */
  | { readonly type: 'handover' }
  /** Standby to active: I am the preferred one, and ready. */
  | { readonly type: 'release' }
  /** From here to `complete` everything is told; sessions that are not, are gone. */
  | { readonly type: 'begin' }
  | { readonly type: 'complete'; readonly serial: number }
  /** A session as it is now. `serial` counts up, and is acknowledged. */
  | {
      readonly type: 'put'
      readonly serial: number
      readonly session: number
      readonly record: SessionRecord
    }
  | { readonly type: 'drop'; readonly serial: number; readonly session: number }
  | { readonly type: 'counters'; readonly sessions: readonly SessionCounters[] }
  | { readonly type: 'cookies'; readonly secrets: CookieSecrets }
  /** Everything up to this serial is in safe hands. */
  | { readonly type: 'ack'; readonly serial: number }

const TYPES = {
  hello: 1,
  beat: 2,
  handover: 3,
  release: 4,
  begin: 5,
  complete: 6,
  put: 7,
  drop: 8,
  counters: 9,
  cookies: 10,
  ack: 11
} as const satisfies Record<ClusterMessage['type'], number>

const ROLES: readonly NodeRole[] = ['starting', 'standby', 'active', 'stopped']
const LENGTH_BYTES = 4
/** A session with 64 Child SAs and a long stored answer stays far below; counters are told in portions. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024
const INITIAL_CAPACITY = 4096

/** One frame. */
export function encodeClusterMessage(message: ClusterMessage): Uint8Array {
  const w = new Writer(256)
  w.u32(0)
  w.u8(TYPES[message.type])
  writeBody(w, message)
  w.patchU32(0, w.length - LENGTH_BYTES)
  return w.finish()
}

/** Puts frames together from whatever pieces a stream delivers. Each byte is copied once, however small they are. */
export class ClusterDeframer {
  /** The length of a frame and what follows it, as far as it has come; holds a frame whole. */
  #held: Uint8Array = new Uint8Array(INITIAL_CAPACITY)
  #heldLength = 0

  /** @returns the messages that are complete; undefined: the stream makes no sense, and has to be closed */
  push(chunk: Uint8Array): ClusterMessage[] | undefined {
    const messages: ClusterMessage[] = []
    for (let at = 0; at < chunk.length; ) {
      const wanted = this.#wanted()
      const end = Math.min(chunk.length, at + wanted - this.#heldLength)
      this.#hold(chunk.subarray(at, end))
      at = end
      if (this.#heldLength < wanted) break
      if (wanted === LENGTH_BYTES) {
        const length = this.#frameLength()
        if (length === 0 || length > MAX_FRAME_BYTES) return undefined
        continue
      }
      const message = decodeBody(this.#held.subarray(LENGTH_BYTES, this.#heldLength))
      this.#heldLength = 0
      if (message === 'malformed') return undefined
      if (message !== 'unknown') messages.push(message)
    }
    return messages
  }

  /** Bytes that have to be there before anything can be done. */
  #wanted(): number {
    return this.#heldLength < LENGTH_BYTES ? LENGTH_BYTES : LENGTH_BYTES + this.#frameLength()
  }

  #frameLength(): number {
    return new DataView(this.#held.buffer, this.#held.byteOffset, LENGTH_BYTES).getUint32(0)
  }

  #hold(bytes: Uint8Array): void {
    const length = this.#heldLength + bytes.length
    if (length > this.#held.length) {
      const larger = new Uint8Array(
        Math.min(Math.max(length, this.#held.length * 2), LENGTH_BYTES + MAX_FRAME_BYTES)
      )
      larger.set(this.#held.subarray(0, this.#heldLength))
      // It may have held keys.
      this.#held.fill(0)
      this.#held = larger
    }
    this.#held.set(bytes, this.#heldLength)
    this.#heldLength = length
  }
}

function decodeBody(bytes: Uint8Array): ClusterMessage | 'unknown' | 'malformed' {
  const known = Object.entries(TYPES).find(([, number]) => number === bytes[0])
  if (known === undefined) return 'unknown'
  const result = decodeResult(() => {
    const r = new Reader(bytes, known[0], 1)
    // `entries` forgets that the keys are the types' names.
    const message = readBody(r, known[0] as ClusterMessage['type'])
    r.expectEnd()
    return message
  })
  return result.ok ? result.value : 'malformed'
}

function writeBody(w: Writer, message: ClusterMessage): void {
  switch (message.type) {
    case 'hello':
      writeStatus(w, message)
      writeText(w, message.node)
      w.u8(message.priority)
      writeBlob(w, message.fingerprint)
      return
    case 'beat':
      writeStatus(w, message)
      return
    case 'put':
      w.u32(message.serial)
      w.u32(message.session)
      writeBlob(w, message.record.ike.lasting)
      writeBlob(w, message.record.ike.passing)
      writeBlob(w, message.record.esp)
      return
    case 'drop':
      w.u32(message.serial)
      w.u32(message.session)
      return
    case 'counters':
      writeList(w, message.sessions, (one) => writeCounters(w, one))
      return
    case 'cookies':
      writeCookies(w, message.secrets)
      return
    case 'complete':
    case 'ack':
      w.u32(message.serial)
      return
    case 'handover':
    case 'release':
    case 'begin':
  }
}

function readBody(r: Reader, type: ClusterMessage['type']): ClusterMessage {
  switch (type) {
    case 'hello':
      return {
        type,
        ...readStatus(r),
        node: readText(r, 'node'),
        priority: r.u8('priority'),
        fingerprint: readBlob(r, 'fingerprint')
      }
    case 'beat':
      return { type, ...readStatus(r) }
    case 'put':
      return {
        type,
        serial: r.u32('serial'),
        session: r.u32('session'),
        record: {
          ike: { lasting: readBlob(r, 'lasting'), passing: readBlob(r, 'passing') },
          esp: readBlob(r, 'esp')
        }
      }
    case 'drop':
      return { type, serial: r.u32('serial'), session: r.u32('session') }
    case 'counters':
      return { type, sessions: readList(r, 'sessions', () => readCounters(r)) }
    case 'cookies':
      return { type, secrets: readCookies(r) }
    case 'complete':
    case 'ack':
      return { type, serial: r.u32('serial') }
    case 'handover':
    case 'release':
    case 'begin':
      return { type }
  }
}

function writeStatus(w: Writer, { role, term, hasCopy }: NodeStatus): void {
  w.u8(ROLES.indexOf(role))
  w.u32(term)
  writeFlag(w, hasCopy)
}

function readStatus(r: Reader): NodeStatus {
  const role = ROLES[r.u8('role')]
  if (role === undefined) throw r.syntaxError('is no role', 'role')
  return { role, term: r.u32('term'), hasCopy: readFlag(r, 'hasCopy') }
}

function writeCounters(w: Writer, { session, messageIds, esp }: SessionCounters): void {
  w.u32(session)
  writeList(w, messageIds, ({ number, nextRequestId, expectedRequestId }) => {
    w.u32(number)
    w.u32(nextRequestId)
    w.u32(expectedRequestId)
  })
  writeList(w, esp, ({ spiIn, sent, received }) => {
    w.u32(spiIn)
    w.u64(sent)
    w.u64(received)
  })
}

function readCounters(r: Reader): SessionCounters {
  return {
    session: r.u32('session'),
    messageIds: readList(r, 'messageIds', () => ({
      number: r.u32('number'),
      nextRequestId: r.u32('nextRequestId'),
      expectedRequestId: r.u32('expectedRequestId')
    })),
    esp: readList(r, 'esp', () => ({
      spiIn: r.u32('spiIn'),
      sent: r.u64('sent'),
      received: r.u64('received')
    }))
  }
}

function writeCookies(w: Writer, { version, secret, previous, ageMs }: CookieSecrets): void {
  w.u8(version)
  writeBlob(w, secret)
  writeOptional(w, previous, (bytes) => writeBlob(w, bytes))
  w.u32(Math.min(Math.round(ageMs), 0xffff_ffff))
}

function readCookies(r: Reader): CookieSecrets {
  return {
    version: r.u8('version'),
    secret: readBlob(r, 'secret'),
    previous: readOptional(r, 'previous', () => readBlob(r, 'previous')),
    ageMs: r.u32('age')
  }
}
