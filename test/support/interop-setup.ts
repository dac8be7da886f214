/**
 * Global setup of the interoperability tests: names the run's directory for all workers and removes it at the end.
 * @module
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RUN_DIRECTORY_VARIABLE } from './run-directory.ts'

export default async function setup(): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'ikestream-interop-'))
  process.env[RUN_DIRECTORY_VARIABLE] = directory
  return () => rm(directory, { recursive: true, force: true })
}
