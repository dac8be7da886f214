/**
 * Writes an imported profile and its files: secrets are their owner's alone from the first moment on, nothing is overwritten unasked, and
 * what cannot be finished leaves nothing behind.
 * @module
 */
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'smol-toml'
import { clipped } from '../../crypto/certificate-text.ts'
import { ConfigurationError, SystemError, UsageError } from '../../errors.ts'
import { replaceFile } from '../../host/atomic-file.ts'
import { isRepeatable, profileKeys } from '../option-specs.ts'
import type { DraftFile, ProfileDraft } from './draft.ts'

const MAX_NAME_LENGTH = 48
const SECRET_MODE = 0o600
const PUBLIC_MODE = 0o644

export interface WriteOptions {
  readonly directory: string
  /** Replace files that are there. */
  readonly force: boolean
  /** Where it comes from, for a comment. */
  readonly source: string
}

export interface WrittenFile {
  readonly path: string
  /** The option that names it; null for the profile itself. */
  readonly option: string | null
  readonly secret: boolean
}

/** A name for a file, out of any text: letters, digits and `. _ @ + -`, not hidden, not a path. */
export function profileName(title: string): string {
  const plain = title
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^A-Za-z0-9_.@+-]+/g, '-')
    .replace(/^[-.]+/, '')
    .slice(0, MAX_NAME_LENGTH)
    .replace(/[-.]+$/, '')
    .replace(/\.toml$/i, '')
  return plain === '' ? 'imported' : plain
}

/** @returns the profile first @throws UsageError `file-exists`, SystemError when they cannot be written */
export async function writeProfile(
  name: string,
  draft: ProfileDraft,
  options: WriteOptions
): Promise<WrittenFile[]> {
  const { directory, force } = options
  const files = draft.files.map((file) => ({ ...file, path: join(directory, `${name}${file.suffix}`) }))
  const profile = { path: join(directory, `${name}.toml`), contents: profileText(name, draft, options) }
  const made: string[] = []
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    for (const { path, contents, secret } of [...files, { ...profile, secret: true }]) {
      const mode = secret ? SECRET_MODE : PUBLIC_MODE
      if (force) await replaceFile(path, contents, { mode })
      else {
        await writeNew(path, contents, mode)
        made.push(path)
      }
    }
  } catch (cause) {
    await Promise.all(made.map((path) => rm(path, { force: true })))
    throw explain(cause, directory)
  }
  return [
    { path: profile.path, option: null, secret: false },
    ...files.map(({ path, key, secret }) => ({ path, option: key, secret }))
  ]
}

/** Refuses a name that is taken, links included. */
async function writeNew(path: string, contents: string | Uint8Array, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode)
  try {
    await file.writeFile(contents)
    await file.sync()
  } finally {
    await file.close()
  }
}

function explain(cause: unknown, directory: string): Error {
  const { code, path } = cause as NodeJS.ErrnoException
  if (code === 'EEXIST' && path !== undefined)
    return new UsageError('file-exists', `${path} is there already.`, {
      hint: 'Choose another name with --name, or replace it with --force.'
    })
  return new SystemError(
    'import-write',
    `The profile cannot be written to ${directory} (${code ?? cause}).`,
    {
      hint: 'Choose another folder with --output.',
      cause
    }
  )
}

function profileText(name: string, draft: ProfileDraft, { source }: WriteOptions): string {
  const values = new Map(draft.values)
  for (const { key, suffix } of draft.files) values.set(key, fileValue(key, `${name}${suffix}`))
  const document: Record<string, unknown> = { server: draft.server }
  for (const [group, keys] of Object.entries(profileKeys())) {
    const table = keys.filter((key) => values.has(key)).map((key) => [key, values.get(key)] as const)
    if (table.length > 0) document[group] = Object.fromEntries(table)
  }
  const known = Object.values(profileKeys()).flat()
  const lost = [...values.keys()].find((key) => !known.includes(key))
  if (lost !== undefined)
    throw new ConfigurationError('profile-unknown-key', `${lost} is not a known setting.`)
  return `# ${clipped(draft.title)}\n# Imported from ${clipped(source)} by ikestream import.\n${stringify(document)}\n`
}

function fileValue(key: string, name: string): DraftFile['key'] | string[] {
  return isRepeatable(key) ? [name] : name
}
