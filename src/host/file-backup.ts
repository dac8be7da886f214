/**
 * Replaces a system file for a while: what was there is kept, and comes back byte for byte (link, mode and owner too), unless
 * somebody else has written the file in the meantime.
 * @module
 */
import { createHash } from 'node:crypto'
import { lstat, readFile, readlink, rename, rm, rmdir, symlink, writeFile } from 'node:fs/promises'
import { SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { draftPath, type FileAttributes, replaceFile } from './atomic-file.ts'

/** What stood at a path: a regular file, or a symbolic link. */
export type FileBefore =
  | { readonly kind: 'link'; readonly target: string }
  | {
      readonly kind: 'file'
      readonly contentsBase64: string
      readonly mode: number
      readonly uid: number
      readonly gid: number
    }

export function sha256(contents: Uint8Array | string): string {
  return createHash('sha256').update(contents).digest('hex')
}

/** What stands at a path now; null for nothing. */
export async function captureFile(path: string): Promise<FileBefore | null> {
  try {
    const found = await lstat(path)
    if (found.isSymbolicLink()) return { kind: 'link', target: await readlink(path) }
    if (!found.isFile()) throw new SystemError('file-kind', `${path} is neither a file nor a link`)
    const contentsBase64 = (await readFile(path)).toString('base64')
    return { kind: 'file', contentsBase64, mode: found.mode & 0o7777, uid: found.uid, gid: found.gid }
  } catch (error) {
    if (isMissing(error)) return null
    throw asSystemError(path, error)
  }
}

/** Puts new contents at a path, with the mode and owner of the file that was there. */
export async function overwriteFile(
  path: string,
  contents: string,
  before: FileBefore | null
): Promise<void> {
  const attributes: FileAttributes = before?.kind === 'file' ? before : { mode: 0o644 }
  try {
    await replaceOrRewrite(path, contents, attributes)
  } catch (error) {
    throw asSystemError(path, error)
  }
}

/** Brings back what was there, if what we wrote is still there. */
export async function restoreFile(
  path: string,
  writtenSha256: string,
  before: FileBefore | null,
  log: Logger
): Promise<void> {
  try {
    const now = await captureFile(path)
    const ours = now?.kind === 'file' && sha256(Buffer.from(now.contentsBase64, 'base64')) === writtenSha256
    if (!ours) {
      if (JSON.stringify(now) === JSON.stringify(before)) return
      log.log('warn', `${path} was changed by someone else in the meantime and is left as it is`)
      return
    }
    if (before === null) await rm(path, { force: true })
    else if (before.kind === 'link') await replaceByLink(path, before.target)
    else await replaceOrRewrite(path, Buffer.from(before.contentsBase64, 'base64'), before)
  } catch (error) {
    throw asSystemError(path, error)
  }
}

/** Removes a folder that we made, unless something is in it. */
export async function removeDirectoryIfEmpty(path: string): Promise<void> {
  try {
    await rmdir(path)
  } catch (error) {
    const code = errorCode(error)
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY' && code !== 'EEXIST') throw asSystemError(path, error)
  }
}

async function replaceOrRewrite(
  path: string,
  contents: Uint8Array | string,
  attributes: FileAttributes
): Promise<void> {
  try {
    await replaceFile(path, contents, attributes)
  } catch (error) {
    const code = errorCode(error)
    // A file that is a mount point (containers, `ip netns exec`), or whose folder is read-only: only its contents can
    // change. Never through a link: what it points to was not kept.
    const now = await captureFile(path)
    if (now?.kind !== 'file') throw error
    if (code !== 'EBUSY' && code !== 'EXDEV' && code !== 'EROFS' && code !== 'EACCES') throw error
    await writeFile(path, contents)
  }
}

async function replaceByLink(path: string, target: string): Promise<void> {
  const draft = draftPath(path)
  await symlink(target, draft)
  try {
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

function asSystemError(path: string, error: unknown): SystemError {
  if (error instanceof SystemError) return error
  const why = error instanceof Error ? error.message : String(error)
  return new SystemError('file-change', `${path} cannot be changed: ${why}`, { cause: error })
}

function isMissing(error: unknown): boolean {
  return errorCode(error) === 'ENOENT'
}

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
