/**
 * The file of the demo and the lab: a stream of bytes that both ends can make for themselves, so that every byte of a download is
 * checked against what it must be. Each 64 KiB block carries its own number.
 * @module
 */
export const BLOCK_LENGTH = 65_536

/** Fills `block` with the contents of block `index`. */
export function fillBlock(block: Buffer, index: number): void {
  let state = (index * 2_654_435_761 + 12_345) >>> 0
  for (let offset = 0; offset < BLOCK_LENGTH; offset += 4) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    block.writeInt32LE(state | 0, offset)
  }
  block.writeUInt32LE(index >>> 0, 0)
}

/** Compares a stream, cut anywhere, with the pattern. */
export class PatternChecker {
  readonly #expected = Buffer.alloc(BLOCK_LENGTH)
  #position = 0
  #block = -1
  #intact = true

  /** @returns false from the first wrong byte on */
  push(chunk: Uint8Array): boolean {
    let offset = 0
    while (offset < chunk.length && this.#intact) {
      const index = Math.floor(this.#position / BLOCK_LENGTH)
      if (index !== this.#block) {
        fillBlock(this.#expected, index)
        this.#block = index
      }
      const within = this.#position % BLOCK_LENGTH
      const length = Math.min(BLOCK_LENGTH - within, chunk.length - offset)
      const end = within + length
      if (this.#expected.compare(chunk, offset, offset + length, within, end) !== 0) this.#intact = false
      offset += length
      this.#position += length
    }
    return this.#intact
  }

  get bytes(): number {
    return this.#position
  }

  get intact(): boolean {
    return this.#intact
  }
}
