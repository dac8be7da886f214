/**
 * Which profiles there are, without reading them.
 * @module
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

export interface ProfileFile {
  readonly name: string
  readonly path: string
}

/** Those that a name finds, by name; the first folder wins. A folder that is not there, or closed to this user, holds none. */
export function profileFiles(directories: readonly string[]): ProfileFile[] {
  const found = new Map<string, string>()
  for (const directory of directories)
    for (const file of filesOf(directory)) {
      const name = /^([A-Za-z0-9_.@+-]+)\.toml$/.exec(file)?.[1]
      if (name !== undefined && !found.has(name)) found.set(name, join(directory, file))
    }
  return [...found].map(([name, path]) => ({ name, path })).sort((a, b) => (a.name < b.name ? -1 : 1))
}

function filesOf(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
