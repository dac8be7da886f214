/**
 * `--pid-file`: holds the session's process id for as long as it runs.
 * @module
 */
import { readFile, rm } from 'node:fs/promises'
import { SystemError } from '../errors.ts'
import { replaceFile } from './atomic-file.ts'

/** Replaces whatever is there. @throws SystemError when it cannot be written */
export async function writePidFile(path: string, pid: number): Promise<void> {
  try {
    await replaceFile(path, contents(pid), { mode: 0o644 })
  } catch (cause) {
    throw new SystemError('pid-file', `The process id cannot be written to ${path}.`, {
      hint: 'Name a file in a folder that exists and that this user may write to.',
      cause
    })
  }
}

/** Removes the file, unless it is gone or somebody else's by now. @throws SystemError when it cannot be removed */
export async function removePidFile(path: string, pid: number): Promise<void> {
  try {
    if ((await readFile(path, 'utf8')) === contents(pid)) await rm(path)
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return
    throw new SystemError('pid-file', `The file ${path} cannot be removed: ${String(cause)}`, { cause })
  }
}

function contents(pid: number): string {
  return `${pid}\n`
}
