/**
 * Where control sockets are: one a session, in the runtime folder, which only its owner can enter.
 *
 * The kernel takes 107 bytes as the path of a socket. A longer one is reached through the descriptor of its folder.
 * @module
 */
import { type FileHandle, lstat, open, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isSessionName } from './session-name.ts'

const SUFFIX = '.sock'
/** `sun_path` with the zero at its end (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107

/** @param name of the session; see `requireSessionName` */
export function controlPath(directory: string, name: string): string {
  return join(directory, `${name}${SUFFIX}`)
}

/** Names of all sessions that have a socket, whether anybody listens there or not. */
export async function listControlSockets(directory: string): Promise<string[]> {
  try {
    const files = await readdir(directory)
    return files
      .filter((file) => file.endsWith(SUFFIX))
      .map((file) => file.slice(0, -SUFFIX.length))
      .filter(isSessionName)
      .sort()
  } catch {
    return []
  }
}

/** Removes a socket whose session is over. @throws the system's error */
export async function removeControlSocket(path: string): Promise<void> {
  try {
    if ((await lstat(path)).isSocket()) await rm(path)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
}

/** Does something with a path of at most the length that the kernel takes. */
export async function withSocketPath<T>(path: string, action: (path: string) => Promise<T>): Promise<T> {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return action(path)
  let folder: FileHandle | undefined
  try {
    folder = await open(dirname(path), 'r')
    return await action(`/proc/self/fd/${folder.fd}/${basename(path)}`)
  } finally {
    await folder?.close()
  }
}
