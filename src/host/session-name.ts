/**
 * Names of sessions: journals and control sockets are called after them.
 * @module
 */
import { UsageError } from '../errors.ts'

const NAME = /^[A-Za-z0-9_@=+-][A-Za-z0-9_.@=+-]{0,63}$/

export function isSessionName(name: string): boolean {
  return NAME.test(name)
}

/** @throws UsageError for a name that cannot be a file's */
export function requireSessionName(name: string): string {
  if (isSessionName(name)) return name
  throw new UsageError('session-name', `${JSON.stringify(name)} cannot be the name of a session`, {
    hint: 'use letters, digits and . _ @ = + -, at most 64'
  })
}
