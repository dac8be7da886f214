/**
 * Decides from the fates of a stream's messages when its boundaries are lost, and whether looking for the next one is
 * worth it (RFC 9329 sections 6.1 and 10).
 * @module
 */
import { FrameFate, type StreamFaults, streamFaults } from './frame-fate.ts'

/**
 * Messages in a row that may be strange or broken: section 6.1 asks to bear with "a few", since the two ends add and
 * remove SAs at slightly different moments.
 */
const TOLERATED_MESSAGES = 4

export class CorruptionWatch {
  readonly faults: StreamFaults
  readonly #tolerated: number
  /** Messages in a row that were strange or broken. */
  #run = 0
  /** Whoever the last strange message was for. */
  #lastStranger = 0
  #isTrusted = false
  /** Whoever takes the messages can tell something about them. */
  #isJudged = false
  #hasSearched = false

  constructor(faults: StreamFaults = streamFaults(), tolerated: number = TOLERATED_MESSAGES) {
    this.faults = faults
    this.#tolerated = tolerated
  }

  /** Something authentic has come: whoever is there is worth a search. */
  get isTrusted(): boolean {
    return this.#isTrusted
  }

  /**
   * @param spi of a strange message
   * @returns whether the boundaries of frames are lost
   */
  judge(fate: FrameFate, spi: number): boolean {
    switch (fate) {
      case FrameFate.UNKNOWN:
        return false
      case FrameFate.GOOD:
        this.#isTrusted = true
        this.#isJudged = true
        this.#run = 0
        return false
      case FrameFate.STRANGE: {
        this.#isJudged = true
        this.faults.unknownSpi++
        const isSame = spi === this.#lastStranger
        this.#lastStranger = spi
        // Chance does not repeat an SPI: this SA is unknown, and the boundaries are where they should be.
        if (isSame) return false
        break
      }
      case FrameFate.BROKEN:
        this.#isJudged = true
        this.faults.failedChecks++
        break
      case FrameFate.MALFORMED:
        this.faults.malformed++
        // A peer that pads its stream with something odd does no harm where nobody could tell good from bad.
        if (!this.#isJudged) return false
    }
    return ++this.#run > this.#tolerated
  }

  /** One search for each stream: whoever corrupts it goes on doing so. @returns false: it has had its own */
  takeSearch(): boolean {
    if (this.#hasSearched || !this.#isTrusted) return false
    this.#hasSearched = true
    return true
  }

  found(): void {
    this.#run = 0
    this.faults.resynchronised++
  }

  gaveUp(): void {
    this.faults.corrupted++
  }
}
