/**
 * Several calls of `ip` in one process (ip(8), `-batch`): starting it costs more than what it does.
 * @module
 */
import type { CommandRunner } from './commands.ts'

/** What a line of a batch splits at, or would take as more than itself. */
const NOT_PLAIN = /[\s"'\\#]/

/**
 * Runs commands one after the other, until one is refused.
 * @param commands argument vectors that begin with `ip`; options for all of it, such as `-4`, must not matter
 * @returns how many were carried out. What stopped the next one is not said: its caller runs it alone, and sees.
 */
export async function ipBatch(
  runner: CommandRunner,
  commands: readonly (readonly string[])[]
): Promise<number> {
  if (commands.length < 2 || commands.some((argv) => argv.some((word) => NOT_PLAIN.test(word)))) return 0
  const lines = commands.map((argv) => argv.slice(argv[1]?.startsWith('-') === true ? 2 : 1).join(' '))
  const { exitCode, stderr } = await runner.run(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` })
  if (exitCode === 0) return commands.length
  // An `ip` that knows no batches has done nothing.
  const failedLine = Number(/^Command failed -:(\d+)/m.exec(stderr)?.[1] ?? 1)
  return Math.min(failedLine, commands.length) - 1
}
