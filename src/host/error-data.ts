/**
 * Errors on their way from one process to another: as plain data, and as an error of the same family again.
 * @module
 */
import * as v from 'valibot'
import {
  AuthenticationError,
  ConfigurationError,
  DataError,
  ExitCode,
  type IkestreamError,
  InputError,
  InternalError,
  ProtocolError,
  ResolveError,
  SystemError,
  TemporaryError,
  UnreachableError,
  UsageError
} from '../errors.ts'

export const ErrorData = v.object({
  code: v.string(),
  message: v.string(),
  hint: v.nullable(v.string()),
  exitCode: v.number()
})
export type ErrorData = v.InferOutput<typeof ErrorData>

type Family = new (code: string, message: string, details: { hint?: string | undefined }) => IkestreamError

const FAMILIES: ReadonlyMap<number, Family> = new Map<number, Family>([
  [ExitCode.usage, UsageError],
  [ExitCode.badData, DataError],
  [ExitCode.noInput, InputError],
  [ExitCode.noHost, ResolveError],
  [ExitCode.unreachable, UnreachableError],
  [ExitCode.system, SystemError],
  [ExitCode.temporary, TemporaryError],
  [ExitCode.protocol, ProtocolError],
  [ExitCode.noPermission, AuthenticationError],
  [ExitCode.configuration, ConfigurationError]
])

export function errorData({ code, message, hint, exitCode }: IkestreamError): ErrorData {
  return { code, message, hint: hint ?? null, exitCode }
}

/** The exit code tells the family. */
export function errorFrom({ code, message, hint, exitCode }: ErrorData): IkestreamError {
  const family = FAMILIES.get(exitCode) ?? InternalError
  return new family(code, message, { hint: hint ?? undefined })
}
