/**
 * The error of the cryptographic floor: a peer's value that no correct implementation sends.
 * @module
 */
import { type ErrorDetails, ProtocolError } from '../errors.ts'

/** A public value, length or key that cannot be used. Never carries key material. */
export class CryptoError extends ProtocolError {
  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(code, message, details)
  }
}
