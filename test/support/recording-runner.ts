/**
 * A command runner that runs nothing: it records what it is asked and gives prepared answers. A batch of `ip` is recorded as the
 * commands in it, up to the first that is answered with a failure.
 * @module
 */
import { SystemError } from '../../src/errors.ts'
import type { CommandOptions, CommandResult, CommandRunner } from '../../src/host/commands.ts'

export interface PreparedAnswer {
  readonly exitCode?: number
  readonly stdout?: string
  readonly stderr?: string
}

export interface RecordedCall {
  readonly argv: readonly string[]
  readonly options: CommandOptions
}

export class RecordingRunner implements CommandRunner {
  readonly calls: RecordedCall[] = []
  readonly #answers: { pattern: RegExp; answer: PreparedAnswer | 'missing' }[] = []

  /** Commands whose line matches get this answer; the last matching one counts. Others succeed without output. */
  answer(pattern: RegExp, answer: PreparedAnswer | 'missing'): this {
    this.#answers.unshift({ pattern, answer })
    return this
  }

  /** The recorded lines, of those that match. */
  lines(pattern: RegExp = /./): string[] {
    return this.calls.map(({ argv }) => argv.join(' ')).filter((line) => pattern.test(line))
  }

  async run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    if (argv.at(-2) === '-batch') return this.#runBatch(argv, options.input ?? '')
    this.calls.push({ argv: [...argv], options })
    const line = argv.join(' ')
    const answer = this.#answers.find(({ pattern }) => pattern.test(line))?.answer ?? {}
    if (answer === 'missing')
      throw new SystemError('command-missing', `the program \`${argv[0]}\` is not installed`)
    return {
      argv,
      exitCode: answer.exitCode ?? 0,
      stdout: answer.stdout ?? '',
      stderr: answer.stderr ?? ''
    }
  }

  async #runBatch(argv: readonly string[], input: string): Promise<CommandResult> {
    const lines = input.split('\n').filter((line) => line !== '')
    for (const [index, line] of lines.entries()) {
      const result = await this.run([...argv.slice(0, -2), ...line.split(' ')])
      if (result.exitCode !== 0)
        return { ...result, argv, exitCode: 1, stderr: `${result.stderr}\nCommand failed -:${index + 1}\n` }
    }
    return { argv, exitCode: 0, stdout: '', stderr: '' }
  }
}

/** The answer of `ip -json -d link show` for a device. */
export function linkAnswer(index: number, changes: Record<string, unknown> = {}): PreparedAnswer {
  const link = {
    ifindex: index,
    ifname: 'ike0',
    mtu: 1500,
    flags: ['POINTOPOINT'],
    inet6_addr_gen_mode: 'eui64'
  }
  return { stdout: JSON.stringify([{ ...link, ...changes }]) }
}
