/**
 * What becomes of the messages of a stream, as far as whoever takes them can tell, and how often it was nothing good
 * (RFC 9329 sections 6.1 and 10).
 *
 * Per-packet code: numbers only.
 * @module
 */

export const FrameFate = {
  /** It says nothing about the stream: nobody could check it. */
  UNKNOWN: 0,
  /** Its integrity check succeeded. */
  GOOD: 1,
  /** Its SPI is nobody's: the stream may be corrupted, or the two ends do not have the same SAs at this moment. */
  STRANGE: 2,
  /** Its SPI is known and its integrity check failed, or it cannot be read. */
  BROKEN: 3,
  /** A frame that is neither IKE nor ESP. */
  MALFORMED: 4
} as const
export type FrameFate = (typeof FrameFate)[keyof typeof FrameFate]

/** What a handler of messages says about one; nothing is the same as UNKNOWN. */
// biome-ignore lint/suspicious/noConfusingVoidType: most handlers have no keys and return nothing at all
export type Judgement = FrameFate | void

/** Counted over the life of one stream, or of all streams of a session. */
export interface StreamFaults {
  /** Messages with an SPI of nobody's. */
  unknownSpi: number
  /** Messages for an SPI of ours that failed their integrity check. */
  failedChecks: number
  /** Frames that were neither IKE nor ESP. */
  malformed: number
  /** Boundaries that were lost and found again. */
  resynchronised: number
  /** Streams that were closed because too much of them made no sense. */
  corrupted: number
}

export function streamFaults(): StreamFaults {
  return { unknownSpi: 0, failedChecks: 0, malformed: 0, resynchronised: 0, corrupted: 0 }
}
