/**
 * One directory for the temporary files of a test run. The global setup (`run-setup.ts`) names it in the environment, so
 * that workers share it and it goes at the end; what runs without that setup gets one of its own.
 * @module
 */
import { rmSync } from 'node:fs'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const RUN_DIRECTORY_VARIABLE = 'IKESTREAM_TEST_RUN_DIRECTORY'

let own: Promise<string> | undefined

/** The run's directory; it exists. Removed when the run ends. */
export async function runDirectory(): Promise<string> {
  const shared = process.env[RUN_DIRECTORY_VARIABLE]
  if (shared !== undefined) {
    await mkdir(shared, { recursive: true })
    return shared
  }
  own ??= makeOwn()
  return own
}

async function makeOwn(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'ikestream-test-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A new directory of the caller's own inside the run's. */
export async function scratchDirectory(name: string): Promise<string> {
  return mkdtemp(join(await runDirectory(), `${name}-`))
}
