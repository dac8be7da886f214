/**
 * The gateway's users: one `name:password` a line, `#` comments, in a file that only its owner may read.
 * @module
 */
import { open } from 'node:fs/promises'
import { ConfigurationError, DataError, InputError } from '../errors.ts'
import { Secret } from '../secret.ts'

const MAX_USERS = 10_000
const MAX_LINE_LENGTH = 1_024
const MAX_FILE_BYTES = 4 << 20
/** Permission bits of group and others. */
const OTHERS = 0o077

/**
 * @throws InputError when it cannot be read, ConfigurationError when others can read it, DataError for its contents
 */
export async function readUsersFile(path: string): Promise<Map<string, Secret>> {
  const bytes = await readPrivate(path)
  try {
    return parseUsers(bytes.toString('utf8'), path)
  } finally {
    bytes.fill(0)
  }
}

/** @throws DataError for a malformed line (its number, never its contents) */
export function parseUsers(text: string, path: string): Map<string, Secret> {
  const users = new Map<string, Secret>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/\r$/, '')
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(colon, 0)).trim()
    const bad = (why: string): DataError =>
      new DataError('users-file-syntax', `Line ${index + 1} of ${path} ${why}.`, {
        hint: 'Each line is name:password; the password is everything behind the first colon.'
      })
    if (line.length > MAX_LINE_LENGTH) throw bad('is too long')
    if (name === '') throw bad('has no name or no colon')
    if (colon === line.length - 1) throw bad('has no password')
    if (users.has(name)) throw bad('names a user a second time')
    if (users.size === MAX_USERS) throw bad(`is beyond the limit of ${MAX_USERS} users`)
    users.set(name, new Secret(line.slice(colon + 1)))
  }
  if (users.size === 0)
    throw new DataError('users-file-empty', `${path} names no user.`, {
      hint: 'Each line is name:password.'
    })
  return users
}

/** @throws ConfigurationError when others than the owner can read a file of secrets */
export function assertPrivate(mode: number, path: string): void {
  if ((mode & OTHERS) === 0) return
  throw new ConfigurationError('file-not-private', `${path} can be read by others than its owner.`, {
    hint: `Run: chmod 600 ${path}`
  })
}

async function readPrivate(path: string): Promise<Buffer> {
  try {
    const file = await open(path, 'r')
    try {
      // Of the file that is read, not of what has that name by then.
      const { mode, size } = await file.stat()
      assertPrivate(mode, path)
      if (size > MAX_FILE_BYTES) throw new DataError('file-too-large', `${path} is larger than 4 MiB.`)
      return await file.readFile()
    } finally {
      await file.close()
    }
  } catch (cause) {
    if (cause instanceof ConfigurationError || cause instanceof DataError) throw cause
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause)
    throw new InputError('users-file', `The users file ${path} cannot be read (${why}).`, {
      hint: 'Check the name and the permissions of the file.',
      cause
    })
  }
}
