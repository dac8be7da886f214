/**
 * What went wrong while bytes were decoded. Thrown only inside this floor: every public decoder catches it and
 * hands it out in a `DecodeResult`, so that nothing a peer sends can throw past a decoder.
 * @module
 */
import { NotifyType } from './ike-constants.ts'

export interface WireErrorDetails {
  /** Where in the decoded buffer, in bytes. */
  readonly offset: number
  /** Bytes that were needed there, when the input was too short. */
  readonly need?: number | undefined
  /** Bytes that were left there. */
  readonly have?: number | undefined
  /** Which field of which structure, such as `SA.proposal[1].transform[0]`. */
  readonly path: string
  /** The notify that answers a request with this flaw; undefined: the message is to be dropped silently. */
  readonly notifyType?: number | undefined
}

export class WireError extends Error {
  readonly offset: number
  readonly need: number | undefined
  readonly have: number | undefined
  readonly path: string
  readonly notifyType: number | undefined

  constructor(problem: string, details: WireErrorDetails) {
    const where = details.path === '' ? '' : `${details.path}: `
    super(`${where}${problem} (at byte ${details.offset})`)
    this.name = 'WireError'
    this.offset = details.offset
    this.need = details.need
    this.have = details.have
    this.path = details.path
    this.notifyType = details.notifyType
  }
}

export type DecodeResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: WireError }

/** Runs a decoder that may throw `WireError` and turns that into a result. Any other error is a bug and passes. */
export function decodeResult<T>(decode: () => T): DecodeResult<T> {
  try {
    return { ok: true, value: decode() }
  } catch (error) {
    if (error instanceof WireError) return { ok: false, error }
    throw error
  }
}

/** A flaw in the syntax of a message: INVALID_SYNTAX answers it (RFC 7296 section 3.10.1). */
export function invalidSyntax(problem: string, offset: number, path: string): WireError {
  return new WireError(problem, { offset, path, notifyType: NotifyType.INVALID_SYNTAX })
}
