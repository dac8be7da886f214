/**
 * Files of this package, wherever its code runs from: the source tree, the build and the bundle are at different depths.
 * @module
 */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { InternalError } from '../errors.ts'

const MANIFEST = 'package.json'

let root: string | undefined

/**
 * @param path from the folder that holds package.json
 * @returns an absolute path
 */
export function packageFile(path: string): string {
  root ??= findRoot(dirname(fileURLToPath(import.meta.url)))
  return join(root, path)
}

function findRoot(start: string): string {
  let directory = start
  while (!existsSync(join(directory, MANIFEST))) {
    const above = dirname(directory)
    if (above === directory)
      throw new InternalError('no-package', `No ${MANIFEST} is found above ${start}.`, {
        hint: 'Install ikestream again.'
      })
    directory = above
  }
  return directory
}
