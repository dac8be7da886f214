/**
 * A capture file that is written while a session runs. Packets gather in memory, so that a packet costs a copy and not a system
 * call; they reach the file when the buffer is full, when somebody asks, and at the end.
 *
 * The file is its owner's alone (0600). When it cannot be written any more (a full disk), capturing ends and the session goes on.
 * @module
 */
import { closeSync, ftruncateSync, writeSync } from 'node:fs'
import { SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { PCAP_RECORD_HEADER_LENGTH, pcapFileHeader, writePcapRecordHeader } from '../wire/pcap.ts'
import { openPrivateFile } from './private-file.ts'

const BUFFER_BYTES = 1 << 20

export class CaptureFile {
  readonly #path: string
  readonly #fd: number
  readonly #log: Logger
  readonly #now: () => number
  readonly #buffer = Buffer.from(new ArrayBuffer(BUFFER_BYTES))
  readonly #view = new DataView(this.#buffer.buffer)
  #used = 0
  #open = true

  private constructor(path: string, fd: number, log: Logger, now: () => number) {
    this.#path = path
    this.#fd = fd
    this.#log = log
    this.#now = now
    this.#append(pcapFileHeader())
  }

  /**
   * Makes the file, or empties the one that is there.
   * @param now milliseconds since 1970, with fractions
   * @throws SystemError when it cannot be made, or is not ours alone
   */
  static open(path: string, log: Logger, now: () => number = wallClockMs): CaptureFile {
    try {
      const fd = openPrivateFile(path)
      try {
        ftruncateSync(fd)
        return new CaptureFile(path, fd, log, now)
      } catch (error) {
        closeSync(fd)
        throw error
      }
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new SystemError('capture-file', `The capture file ${path} cannot be used: ${why}.`, {
        hint: 'Name a file of your own, or one that does not exist, in a folder that exists.',
        cause
      })
    }
  }

  /** Appends one packet, which is `head[0, headLength)` followed by `body[offset, offset + length)`. */
  packet(head: Uint8Array, headLength: number, body: Uint8Array, offset: number, length: number): void {
    const total = headLength + length
    if (this.#used + PCAP_RECORD_HEADER_LENGTH + total > BUFFER_BYTES) this.flush()
    if (!this.#open) return
    writePcapRecordHeader(this.#view, this.#used, this.#now(), total)
    let at = this.#used + PCAP_RECORD_HEADER_LENGTH
    this.#buffer.set(head.subarray(0, headLength), at)
    at += headLength
    this.#buffer.set(body.subarray(offset, offset + length), at)
    this.#used = at + length
  }

  /** Everything so far is in the file. */
  flush(): void {
    if (!this.#open) return
    try {
      for (let at = 0; at < this.#used; ) at += writeSync(this.#fd, this.#buffer, at, this.#used - at)
      this.#used = 0
    } catch (error) {
      this.#log.log('error', `The capture ${this.#path} ends here`, { error: String(error) })
      this.#end()
    }
  }

  close(): void {
    this.flush()
    this.#end()
  }

  #append(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#used)
    this.#used += bytes.length
  }

  #end(): void {
    if (!this.#open) return
    this.#open = false
    this.#used = 0
    closeSync(this.#fd)
  }
}

function wallClockMs(): number {
  return performance.timeOrigin + performance.now()
}
