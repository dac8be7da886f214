/**
 * Files that are replaced whole: a reader sees the old contents or the new, never half of either.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

export interface FileAttributes {
  readonly mode: number
  readonly uid?: number
  readonly gid?: number
}

/** Writes beside the file, flushes to the disk, and renames over it. A symbolic link is replaced, not followed. */
export async function replaceFile(
  path: string,
  contents: Uint8Array | string,
  attributes: FileAttributes
): Promise<void> {
  const draft = draftPath(path)
  try {
    // 'wx' refuses a name that exists: nobody can have put a link there.
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(contents)
      await setAttributes(file, attributes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

/** A name beside `path` that nothing has. */
export function draftPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`)
}

async function setAttributes(file: FileHandle, attributes: FileAttributes): Promise<void> {
  const { mode, uid, gid } = attributes
  const now = await file.stat()
  if (uid !== undefined && gid !== undefined && (now.uid !== uid || now.gid !== gid)) {
    // Only root can give a file away; without that the contents still matter more than the owner.
    await file.chown(uid, gid).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPERM' && error.code !== 'EINVAL') throw error
    })
  }
  await file.chmod(mode & 0o7777)
}
