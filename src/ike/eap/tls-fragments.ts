/**
 * Fragmentation and reassembly of EAP-TLS (RFC 5216 sections 2.1.5, 3.1): flights of TLS records in EAP packets.
 *
 * One flight goes one way at a time, and each fragment but the last is acknowledged by an empty packet. A flight is
 * bounded at 64 KiB, as RFC 5216 suggests.
 * @module
 */

const FLAG_LENGTH = 0x80
const FLAG_MORE = 0x40
const FLAG_START = 0x20
const LENGTH_FIELD = 4
const ALERT_CONTENT_TYPE = 21

/** TLS bytes in one packet: with the headers of EAP, IKE and IP it stays below 1280 bytes. */
export const TLS_FRAGMENT_LENGTH = 1024
export const MAX_TLS_FLIGHT_LENGTH = 65_536

export type TlsInput =
  | { readonly kind: 'start' }
  /** Nothing in it: the other end has taken our fragment, or has nothing to say. */
  | { readonly kind: 'empty' }
  /** A fragment that others follow: answer it with an empty packet. */
  | { readonly kind: 'partial' }
  | { readonly kind: 'flight'; readonly bytes: Uint8Array }
  | { readonly kind: 'malformed'; readonly reason: string }

/** Type data of an EAP-TLS Start. */
export function encodeTlsStart(): Uint8Array {
  return Uint8Array.of(FLAG_START)
}

/** Takes one direction's fragments apart and puts the other's together. */
export class TlsFragments {
  readonly #startAllowed: boolean
  readonly #fragmentLength: number
  #outgoing: Uint8Array = new Uint8Array(0)
  #sent = 0
  #incoming: Uint8Array[] = []
  #incomingLength = 0
  #announcedLength: number | undefined

  /** @param role a peer reads the S flag, a server ignores it: there it is reserved */
  constructor(role: 'peer' | 'server', fragmentLength = TLS_FRAGMENT_LENGTH) {
    this.#startAllowed = role === 'peer'
    this.#fragmentLength = fragmentLength
  }

  /** Fragments of our flight are still to be sent. */
  get sending(): boolean {
    return this.#sent < this.#outgoing.length
  }

  /** Begins a flight. Bytes that nobody asked for any more are dropped. */
  queue(flight: Uint8Array): void {
    this.#outgoing = flight
    this.#sent = 0
  }

  /** Type data of the next packet: a fragment of our flight, or an empty one if there is nothing to send. */
  next(): Uint8Array {
    if (!this.sending) return Uint8Array.of(0)
    const first = this.#sent === 0
    const end = Math.min(this.#outgoing.length, this.#sent + this.#fragmentLength)
    const fragment = this.#outgoing.subarray(this.#sent, end)
    const more = end < this.#outgoing.length
    const header = 1 + (first ? LENGTH_FIELD : 0)
    const data = new Uint8Array(header + fragment.length)
    data[0] = (first ? FLAG_LENGTH : 0) | (more ? FLAG_MORE : 0)
    if (first) new DataView(data.buffer).setUint32(1, this.#outgoing.length)
    data.set(fragment, header)
    this.#sent = end
    if (!more) this.queue(new Uint8Array(0))
    return data
  }

  /** Takes the type data of one packet. */
  receive(data: Uint8Array): TlsInput {
    const flags = data[0]
    if (flags === undefined) return malformed('a packet without flags')
    if ((flags & FLAG_START) !== 0 && this.#startAllowed) return { kind: 'start' }
    const hasLength = (flags & FLAG_LENGTH) !== 0
    const more = (flags & FLAG_MORE) !== 0
    const header = 1 + (hasLength ? LENGTH_FIELD : 0)
    if (data.length < header) return malformed('a length that is cut short')
    const bytes = data.subarray(header)
    if (hasLength) {
      const announced = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(1)
      if (announced > MAX_TLS_FLIGHT_LENGTH) return malformed(`a flight of ${announced} bytes`)
      if (this.#announcedLength !== undefined && this.#announcedLength !== announced) {
        return malformed('lengths that contradict each other')
      }
      this.#announcedLength = announced
    }
    if (bytes.length === 0) return this.#takeEmpty(more)
    return this.#takeFragment(bytes, more)
  }

  #takeEmpty(more: boolean): TlsInput {
    const inFlight = this.#incomingLength > 0
    this.#forgetIncoming()
    if (more || inFlight) return malformed('an empty fragment')
    return { kind: 'empty' }
  }

  #takeFragment(bytes: Uint8Array, more: boolean): TlsInput {
    this.#incomingLength += bytes.length
    const limit = this.#announcedLength ?? MAX_TLS_FLIGHT_LENGTH
    if (this.#incomingLength > limit) {
      this.#forgetIncoming()
      return malformed(`more than the ${limit} bytes of the flight`)
    }
    // A copy: the packet's buffer may be used again before the flight is whole.
    this.#incoming.push(Uint8Array.from(bytes))
    if (more) return { kind: 'partial' }
    const complete = this.#announcedLength === undefined || this.#incomingLength === this.#announcedLength
    const flight = new Uint8Array(this.#incomingLength)
    let offset = 0
    for (const part of this.#incoming) {
      flight.set(part, offset)
      offset += part.length
    }
    this.#forgetIncoming()
    return complete ? { kind: 'flight', bytes: flight } : malformed('less than the announced length')
  }

  #forgetIncoming(): void {
    this.#incoming = []
    this.#incomingLength = 0
    this.#announcedLength = undefined
  }
}

/** Whether TLS records end with an alert: then they tell the other end why it failed, and are worth sending. */
export function endsWithAlert(records: Uint8Array): boolean {
  let contentType: number | undefined
  for (let offset = 0; offset + 5 <= records.length; ) {
    contentType = records[offset]
    offset += 5 + (((records[offset + 3] ?? 0) << 8) | (records[offset + 4] ?? 0))
  }
  return contentType === ALERT_CONTENT_TYPE
}

function malformed(reason: string): TlsInput {
  return { kind: 'malformed', reason }
}
