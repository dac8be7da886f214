/**
 * What the result of `PeerLink.handleEsp` says about the stream that the packet came on (RFC 9329 section 6.1).
 * @module
 */
import { OpenResult } from '../esp/inbound-sa.ts'
import { FrameFate } from '../wire/frame-fate.ts'

export function espFate(result: number): FrameFate {
  switch (result) {
    case OpenResult.wrongSpi:
      return FrameFate.STRANGE
    case OpenResult.authenticationFailed:
    case OpenResult.malformed:
      return FrameFate.BROKEN
    // Its number was out of range, so that nobody looked whether it is authentic.
    case OpenResult.replay:
    case OpenResult.tooOld:
      return FrameFate.UNKNOWN
    default:
      return FrameFate.GOOD
  }
}
