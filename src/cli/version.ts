/**
 * The version of this package.
 * @module
 */
import { readFileSync } from 'node:fs'
import { packageFile } from '../host/package-file.ts'

export function version(): string {
  const manifest = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as {
    version: string
  }
  return manifest.version
}
