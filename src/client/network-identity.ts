/**
 * Which network is this machine on? Asked of the system's own tools and files.
 * @module
 */
import { readFile } from 'node:fs/promises'
import type { CommandRunner } from '../host/commands.ts'
import { networkKey } from '../transport/network-key.ts'

/** @returns undefined when it cannot be found out; never rejects */
export async function currentNetwork(
  server: string | undefined,
  runner: CommandRunner
): Promise<string | undefined> {
  try {
    return await networkKey(server, {
      run: async (argv) => {
        const result = await runner.run(argv)
        return result.exitCode === 0 ? result.stdout : undefined
      },
      read: (path) => readFile(path, 'utf8').catch(() => undefined)
    })
  } catch {
    return undefined
  }
}
