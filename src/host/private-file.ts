/**
 * Files that hold what nobody else may read, at places that the user names: never through a link, never somebody else's, and
 * their owner's alone (0600) even if they were there before.
 * @module
 */
import { closeSync, constants, fchmodSync, fstatSync, openSync } from 'node:fs'

const FILE_MODE = 0o600

/**
 * Opens a file for writing, and makes it if it is not there.
 * @param flags `O_APPEND`, if what is there stays
 * @throws Error when it is no regular file, or not this user's
 */
export function openPrivateFile(path: string, flags = 0): number {
  // Without O_NONBLOCK, a pipe that nobody reads would stop us here.
  const always = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const fd = openSync(path, always | flags, FILE_MODE)
  try {
    const state = fstatSync(fd)
    if (!state.isFile()) throw new Error('it is no regular file')
    if (state.uid !== process.geteuid?.()) throw new Error(`it belongs to user ${state.uid}`)
    fchmodSync(fd, FILE_MODE)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}
