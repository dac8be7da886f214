/**
 * The gateway's users: one `name:password` a line, `#` comments, in a file that only its owner may read.
 * @module
 */
import { ConfigurationError, DataError } from '../errors.ts'
import { Secret } from '../secret.ts'

const MAX_USERS = 10_000
const MAX_LINE_LENGTH = 1_024
/** Permission bits of group and others. */
const OTHERS = 0o077

/** @throws DataError for a malformed line (its number, never its contents) */
export function parseUsers(text: string, path: string): Map<string, Secret> {
  const users = new Map<string, Secret>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/\r$/, '')
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue
    const colon = line.indexOf(':')
    const bad = (why: string): DataError =>
      new DataError('users-file-syntax', `Line ${index + 1} of ${path} ${why}.`, {
        hint: 'Each line is name:password; the password is everything behind the first colon.'
      })
    if (line.length > MAX_LINE_LENGTH) throw bad('is too long')
    if (colon <= 0) throw bad('has no name or no colon')
    if (colon === line.length - 1) throw bad('has no password')
    const name = line.slice(0, colon).trim()
    if (users.has(name)) throw bad('names a user a second time')
    if (users.size === MAX_USERS) throw bad(`is beyond the limit of ${MAX_USERS} users`)
    users.set(name, new Secret(line.slice(colon + 1)))
  }
  return users
}

/** @throws ConfigurationError when others than the owner can read a file of secrets */
export function assertPrivate(mode: number, path: string): void {
  if ((mode & OTHERS) === 0) return
  throw new ConfigurationError('file-not-private', `${path} can be read by others than its owner.`, {
    hint: `Run: chmod 600 ${path}`
  })
}
