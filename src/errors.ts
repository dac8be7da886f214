/**
 * The ground of every error that a user may see: what happened, what to do next, and the exit code.
 *
 * One family a layer, each with exactly one exit code (sysexits numbers). A message is one sentence that
 * says what happened; a hint is one that says what to do. Neither ever holds a secret.
 * @module
 */

/** Exit codes of the command line. */
export const ExitCode = {
  ok: 0,
  failure: 1,
  usage: 64,
  badData: 65,
  noInput: 66,
  noHost: 68,
  unreachable: 69,
  internal: 70,
  system: 71,
  temporary: 75,
  protocol: 76,
  noPermission: 77,
  configuration: 78,
  captivePortal: 80
} as const
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

export interface ErrorDetails {
  /** One sentence: what the user can do about it. */
  readonly hint?: string | undefined
  readonly cause?: unknown
}

/** Base of every error that this program raises on purpose. `code` is stable, kebab-case, and part of the JSON output. */
export abstract class IkestreamError extends Error {
  abstract readonly exitCode: ExitCode
  readonly code: string
  readonly hint: string | undefined

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = new.target.name
    this.code = code
    this.hint = details.hint
  }
}

/** The command line was wrong. */
export class UsageError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.usage
}
/** A profile, certificate or other file has bad contents. */
export class DataError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.badData
}
/** An input file cannot be read. */
export class InputError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.noInput
}
/** The server's name does not resolve. */
export class ResolveError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.noHost
}
/** The gateway cannot be reached over any transport. */
export class UnreachableError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.unreachable
}
/** A broken invariant: a bug in ikestream. */
export class InternalError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.internal
}
/** The operating system refused something (TUN, routes, namespaces). */
export class SystemError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.system
}
/** Timed out, or the peer is busy: trying again may help. */
export class TemporaryError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.temporary
}
/** The peer broke the protocol, or nothing common could be negotiated. */
export class ProtocolError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.protocol
}
/** Authentication failed, on either side, or a privilege is missing. */
export class AuthenticationError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.noPermission
}
/** Settings that contradict each other or cannot work. */
export class ConfigurationError extends IkestreamError {
  readonly exitCode: ExitCode = ExitCode.configuration
}
