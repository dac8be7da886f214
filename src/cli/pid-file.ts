/**
 * `--pid-file`: holds this process's id for as long as it runs.
 * @module
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { SystemError } from '../errors.ts'

/** @returns removes the file, if it is still ours. @throws SystemError when it cannot be written */
export function writePidFile(path: string): () => void {
  const content = `${process.pid}\n`
  try {
    writeFileSync(path, content, { mode: 0o644 })
  } catch (cause) {
    throw new SystemError('pid-file', `The process id cannot be written to ${path}.`, {
      hint: 'Name a file in a folder that exists and that this user may write to.',
      cause
    })
  }
  return () => {
    try {
      if (readFileSync(path, 'utf8') === content) rmSync(path)
    } catch {
      // Somebody removed it already.
    }
  }
}
