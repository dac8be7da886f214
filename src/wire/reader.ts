/**
 * A bounds-checked big-endian cursor over part of one buffer.
 *
 * Invariant: no read passes `end`; a read that would throws `WireError` (INVALID_SYNTAX) and moves nothing.
 * Byte ranges are handed out as views of the buffer, without copying.
 * @module
 */
import { invalidSyntax, WireError } from './errors.ts'
import { NotifyType } from './ike-constants.ts'

export class Reader {
  readonly bytes: Uint8Array
  readonly end: number
  readonly path: string
  #position: number

  /** @param path what is being read, for diagnostics */
  constructor(bytes: Uint8Array, path: string, start = 0, end = bytes.length) {
    this.bytes = bytes
    this.path = path
    this.end = end
    this.#position = start
  }

  /** Offset of the next byte in the whole buffer. */
  get position(): number {
    return this.#position
  }

  get remaining(): number {
    return this.end - this.#position
  }

  u8(field: string): number {
    const at = this.#advance(1, field)
    return this.#byte(at)
  }

  u16(field: string): number {
    const at = this.#advance(2, field)
    return (this.#byte(at) << 8) | this.#byte(at + 1)
  }

  u32(field: string): number {
    const at = this.#advance(4, field)
    return (
      ((this.#byte(at) << 24) |
        (this.#byte(at + 1) << 16) |
        (this.#byte(at + 2) << 8) |
        this.#byte(at + 3)) >>>
      0
    )
  }

  u64(field: string): bigint {
    this.#require(8, field)
    return (BigInt(this.u32(field)) << 32n) | BigInt(this.u32(field))
  }

  /** The next `length` bytes, as a view. */
  take(length: number, field: string): Uint8Array {
    const at = this.#advance(length, field)
    return this.bytes.subarray(at, at + length)
  }

  /** Everything up to the end, as a view. */
  rest(): Uint8Array {
    const at = this.#position
    this.#position = this.end
    return this.bytes.subarray(at, this.end)
  }

  skip(length: number, field: string): void {
    this.#advance(length, field)
  }

  /** A reader for the next `length` bytes, which this one skips. `name` is appended to the path. */
  sub(length: number, name: string): Reader {
    const path = this.#join(name)
    const at = this.#advance(length, name)
    return new Reader(this.bytes, path, at, at + length)
  }

  /** @throws WireError unless everything was read */
  expectEnd(): void {
    if (this.remaining > 0) throw this.syntaxError(`${this.remaining} trailing bytes`)
  }

  /** An INVALID_SYNTAX at the current position. */
  syntaxError(problem: string, field?: string): WireError {
    return invalidSyntax(problem, this.#position, field === undefined ? this.path : this.#join(field))
  }

  #join(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`
  }

  #advance(length: number, field: string): number {
    this.#require(length, field)
    const at = this.#position
    this.#position = at + length
    return at
  }

  #require(length: number, field: string): void {
    if (length <= this.remaining) return
    throw new WireError(`needs ${length} bytes, ${this.remaining} left`, {
      offset: this.#position,
      need: length,
      have: this.remaining,
      path: this.#join(field),
      notifyType: NotifyType.INVALID_SYNTAX
    })
  }

  #byte(at: number): number {
    // Every caller has checked `at` against `end`; `?? 0` only satisfies the type of an index access.
    return this.bytes[at] ?? 0
  }
}
