/**
 * A secret that cannot leak by accident: printing, logging or serialising it shows `[hidden]`.
 * @module
 */
import { inspect } from 'node:util'

const HIDDEN = '[hidden]'

export class Secret {
  readonly #bytes: Uint8Array

  /** Takes a copy; text is encoded as UTF-8. */
  constructor(value: Uint8Array | string) {
    this.#bytes = typeof value === 'string' ? new TextEncoder().encode(value) : Uint8Array.from(value)
  }

  /** The bytes themselves, not a copy: do not keep them. */
  reveal(): Uint8Array {
    return this.#bytes
  }

  revealText(): string {
    return new TextDecoder().decode(this.#bytes)
  }

  /** Overwrites the bytes. */
  dispose(): void {
    this.#bytes.fill(0)
  }

  toString(): string {
    return HIDDEN
  }
  toJSON(): string {
    return HIDDEN
  }
  [inspect.custom](): string {
    return HIDDEN
  }
}
