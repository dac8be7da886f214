/**
 * Global setup: names the run's directory for all workers and removes it at the end, which workers cannot do themselves: they are
 * ended by a signal.
 * @module
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RUN_DIRECTORY_VARIABLE } from './run-directory.ts'

export default async function setup(): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'ikestream-run-'))
  process.env[RUN_DIRECTORY_VARIABLE] = directory
  return () => rm(directory, { recursive: true, force: true })
}
