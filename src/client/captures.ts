/**
 * The capture files of a session: `--capture` (outer packets, as they are on the wire) and `--capture-inner` (what is in the
 * tunnel, in clear).
 * @module
 */
import type { InnerCapture } from '../dataplane/peer-link.ts'
import { CaptureFile } from '../host/capture-file.ts'
import type { Logger } from '../log.ts'
import { captured } from '../transport/captured-transport.ts'
import type { Transport } from '../transport/types.ts'

export interface CaptureOptions {
  /** File names; undefined: not captured. */
  readonly outer: string | undefined
  readonly inner: string | undefined
}

const NO_BYTES = new Uint8Array(0)

export class Captures {
  readonly #outer: CaptureFile | undefined
  readonly #inner: CaptureFile | undefined

  /** @throws SystemError when a file cannot be made */
  constructor(options: CaptureOptions, log: Logger) {
    this.#outer = options.outer === undefined ? undefined : CaptureFile.open(options.outer, log)
    try {
      this.#inner = options.inner === undefined ? undefined : CaptureFile.open(options.inner, log)
    } catch (error) {
      this.#outer?.close()
      throw error
    }
  }

  /** The transport itself, unless outer packets are captured. */
  of(transport: Transport): Transport {
    return this.#outer === undefined ? transport : captured(transport, this.#outer)
  }

  /** Undefined unless inner packets are captured. */
  get inner(): InnerCapture | undefined {
    const file = this.#inner
    if (file === undefined) return undefined
    return (buffer, offset, length) => file.packet(NO_BYTES, 0, buffer, offset, length)
  }

  /** What was captured so far is in the files. */
  flush(): void {
    this.#outer?.flush()
    this.#inner?.flush()
  }

  close(): void {
    this.#outer?.close()
    this.#inner?.close()
  }
}
