/**
 * Reads input files: a file that cannot be read is the user's mistake with an exit code of its own, and nothing is
 * read without bound.
 * @module
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { SYSTEM_BUNDLE_PATHS } from '../crypto/certificate.ts'
import { DataError, InputError } from '../errors.ts'

const MAX_INPUT_BYTES = 16 << 20

/** @throws InputError when it cannot be read, DataError when it is far too large */
export function readInput(path: string, what: string): Buffer {
  try {
    const { size } = statSync(path)
    if (size > MAX_INPUT_BYTES) {
      throw new DataError('file-too-large', `${what} ${path} is larger than 16 MiB.`)
    }
    return readFileSync(path)
  } catch (cause) {
    if (cause instanceof DataError) throw cause
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause)
    throw new InputError('file-unreadable', `${what} ${path} cannot be read (${code}).`, {
      cause,
      hint: 'Check the name and the permissions of the file.'
    })
  }
}

/** The system's bundle of trusted CAs, if it is in one of the usual places. */
export function systemBundles(): Buffer[] {
  const path = SYSTEM_BUNDLE_PATHS.find((candidate) => existsSync(candidate))
  return path === undefined ? [] : [readInput(path, 'The bundle of trusted CAs')]
}
