/**
 * A responder's tickets (RFC 5723), by value: everything that a session needs to be resumed, sealed with a key that only the
 * responder has. It may outlive the responder, which then takes the tickets that it gave before it was started anew.
 *
 *     ticket: version (1) | key identity (4) | sealed box
 *
 * Invariants: a ticket says when it expires, and is worth nothing afterwards; one that was used, replaced or revoked
 * is refused for as long as this vault remembers it.
 * @module
 */
import { openBox, sealBox } from '../crypto/sealed-box.ts'
import type { RandomSource } from '../crypto/types.ts'
import { readBlob, readText, writeBlob, writeText } from '../wire/blob.ts'
import { decodeResult } from '../wire/errors.ts'
import type { Proposal } from '../wire/ike-message.ts'
import { readProposals, writeProposals } from '../wire/ike-proposals.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'

const VERSION = 1
export const TICKET_KEY_ID_LENGTH = 4
const HEAD_LENGTH = 1 + TICKET_KEY_ID_LENGTH
const SERIAL_LENGTH = 16
/** Beyond that the oldest are forgotten, which were about to expire soonest. */
const MAX_SPENT = 65_536
const METHODS = ['psk', 'certificate', 'eap'] as const

/** As `Identity` of the engine's contract. */
interface Name {
  readonly idType: number
  readonly data: Uint8Array
}

export interface TicketKey {
  readonly id: Uint8Array
  readonly key: Uint8Array
}

/** What section 5 says that a ticket holds. Times are milliseconds since 1970. */
export interface TicketContents {
  readonly serial: Uint8Array
  readonly expiresAtMs: number
  /** When the peer has to authenticate anew (RFC 4478); 0: never. */
  readonly authenticatedUntilMs: number
  readonly method: (typeof METHODS)[number]
  readonly initiator: Name
  readonly responder: Name
  /** Who the peer has proved to be. */
  readonly peerName: string
  readonly chosen: Proposal
  readonly skD: Uint8Array
  /** The responder's SPI of the IKE SA that the ticket was given for. */
  readonly spiR: bigint
}

export class TicketVault {
  readonly #keys: readonly [TicketKey, ...TicketKey[]]
  readonly #random: RandomSource
  /** Serials of tickets that are worth nothing any more, the oldest first. */
  readonly #spent = new Set<string>()

  /** @param keys the first seals, all of them open */
  constructor(keys: readonly [TicketKey, ...TicketKey[]], random: RandomSource) {
    this.#keys = keys
    this.#random = random
  }

  newSerial(): Uint8Array {
    return this.#random.bytes(SERIAL_LENGTH)
  }

  seal(contents: TicketContents): Uint8Array {
    const [{ id, key }] = this.#keys
    const head = Uint8Array.of(VERSION, ...id)
    const plaintext = write(contents)
    const box = sealBox(key, head, plaintext, this.#random)
    plaintext.fill(0)
    return Uint8Array.of(...head, ...box)
  }

  /** @returns undefined: not ours, damaged, expired, or spent */
  open(ticket: Uint8Array, nowMs: number): TicketContents | undefined {
    const head = ticket.subarray(0, HEAD_LENGTH)
    if (head.length < HEAD_LENGTH || head[0] !== VERSION) return undefined
    const key = this.#keys.find(({ id }) => id.every((byte, index) => byte === head[1 + index]))?.key
    const plaintext = key === undefined ? undefined : openBox(key, head, ticket.subarray(HEAD_LENGTH))
    if (plaintext === undefined) return undefined
    const contents = decodeResult(() => read(new Reader(plaintext, 'ticket')))
    plaintext.fill(0)
    if (!contents.ok || contents.value.expiresAtMs <= nowMs) return undefined
    return this.#spent.has(nameOf(contents.value.serial)) ? undefined : contents.value
  }

  /** It was used, or its session was ended on purpose. */
  spend(serial: Uint8Array): void {
    this.#spent.add(nameOf(serial))
    const oldest = this.#spent.values().next()
    if (this.#spent.size > MAX_SPENT && oldest.done !== true) this.#spent.delete(oldest.value)
  }
}

function nameOf(serial: Uint8Array): string {
  return Buffer.from(serial).toString('hex')
}

function write(contents: TicketContents): Uint8Array {
  const w = new Writer(512)
  writeBlob(w, contents.serial)
  w.u64(BigInt(Math.floor(contents.expiresAtMs)))
  w.u64(BigInt(Math.floor(contents.authenticatedUntilMs)))
  w.u8(METHODS.indexOf(contents.method))
  writeIdentity(w, contents.initiator)
  writeIdentity(w, contents.responder)
  writeText(w, contents.peerName)
  const proposal = new Writer(64)
  writeProposals(proposal, [contents.chosen])
  writeBlob(w, proposal.finish())
  writeBlob(w, contents.skD)
  w.u64(contents.spiR)
  return w.finish()
}

function read(r: Reader): TicketContents {
  const contents = {
    serial: Uint8Array.from(readBlob(r, 'serial')),
    expiresAtMs: Number(r.u64('expires')),
    authenticatedUntilMs: Number(r.u64('authenticated')),
    method: METHODS[r.u8('method')],
    initiator: readIdentity(r),
    responder: readIdentity(r),
    peerName: readText(r, 'peer'),
    ...readRest(r)
  }
  const { method } = contents
  if (method === undefined) throw r.syntaxError('has no method')
  return { ...contents, method }
}

function readRest(r: Reader): Pick<TicketContents, 'chosen' | 'skD' | 'spiR'> {
  const [chosen] = readProposals(new Reader(Uint8Array.from(readBlob(r, 'proposal')), 'proposal'))
  const skD = Uint8Array.from(readBlob(r, 'skD'))
  const spiR = r.u64('spiR')
  r.expectEnd()
  if (chosen === undefined) throw r.syntaxError('has no proposal')
  return { chosen, skD, spiR }
}

function writeIdentity(w: Writer, { idType, data }: Name): void {
  w.u8(idType)
  writeBlob(w, data)
}

function readIdentity(r: Reader): Name {
  return { idType: r.u8('idType'), data: Uint8Array.from(readBlob(r, 'identity')) }
}
