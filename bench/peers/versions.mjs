/**
 * What programs say of themselves.
 * @module
 */
import { spawnSync } from 'node:child_process'

/** The first line that a command prints, on whichever stream. */
export function firstLine(argv) {
  const { stdout, stderr } = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8', timeout: 5000 })
  return `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n')[0] ?? ''
}
