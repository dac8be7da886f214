/**
 * How a command speaks: results on standard output, everything else on standard error.
 *
 * With `--json` each event is one line on standard output; otherwise progress is told in plain lines, with a spinner
 * only where standard error is a terminal. `--quiet` leaves errors only.
 * @module
 */
import type { Ora } from 'ora'
import { type IkestreamError, InternalError, IkestreamError as KnownError } from '../errors.ts'

export const SCHEMA_VERSION = 1

export interface OutputOptions {
  readonly json: boolean
  readonly quiet: boolean
  readonly verbose: boolean
  readonly color: 'auto' | 'always' | 'never'
}

export interface Progress {
  /** What is going on right now; replaced by the next call. */
  update(text: string): void
  /** A line that stays. */
  line(text: string, mark?: Mark): void
  stop(): void
}
export type Mark = 'ok' | 'bad' | 'info' | 'warn'

const MARKS: Readonly<Record<Mark, readonly [symbol: string, ansi: number]>> = {
  ok: ['✔', 32],
  bad: ['✖', 31],
  info: ['•', 36],
  warn: ['!', 33]
}

function markText(mark: Mark, color: boolean): string {
  const [symbol, ansi] = MARKS[mark]
  return color ? `\u001b[${ansi}m${symbol}\u001b[0m` : symbol
}

/** NO_COLOR wins over FORCE_COLOR; `--color` wins over both. */
export function colorWanted(
  setting: OutputOptions['color'],
  stream: { isTTY?: boolean },
  env: NodeJS.ProcessEnv
): boolean {
  if (setting !== 'auto') return setting === 'always'
  if ((env['NO_COLOR'] ?? '') !== '') return false
  if (!['0', 'false'].includes(env['FORCE_COLOR'] ?? env['CLICOLOR_FORCE'] ?? '0')) return true
  return stream.isTTY === true && env['TERM'] !== 'dumb' && env['CLICOLOR'] !== '0'
}

export class Reporter implements Progress {
  readonly options: OutputOptions
  readonly #color: boolean
  readonly #terminal: boolean
  #spinner: Ora | undefined
  #starting = false
  #text = ''

  constructor(options: OutputOptions) {
    this.options = options
    this.#color = colorWanted(options.color, process.stderr, process.env)
    this.#terminal =
      process.stderr.isTTY === true &&
      process.env['CI'] === undefined &&
      process.env['TERM'] !== 'dumb' &&
      !options.quiet &&
      !options.json
  }

  /** One JSON line on standard output; nothing without `--json`. */
  event(fields: Readonly<Record<string, unknown>>): void {
    if (!this.options.json) return
    const { event, ...rest } = fields
    process.stdout.write(
      `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, time: new Date().toISOString(), event, ...rest })}\n`
    )
  }

  /** A result for people on standard output; nothing with `--json`. */
  result(text: string): void {
    if (!this.options.json) process.stdout.write(`${text}\n`)
  }

  /** A mark for a line of `result`. */
  resultMark(mark: Mark): string {
    return markText(mark, colorWanted(this.options.color, process.stdout, process.env))
  }

  update(text: string): void {
    if (!this.#terminal) return
    this.#text = text
    if (this.#spinner !== undefined) this.#spinner.text = text
    else if (!this.#starting) void this.#startSpinner()
  }

  line(text: string, mark: Mark = 'info'): void {
    if (this.options.quiet || this.options.json) return
    this.writeError(`${markText(mark, this.#color)} ${text}\n`)
  }

  /** Raw text on standard error that does not tear the spinner. */
  writeError(text: string): void {
    const spinning = this.#spinner?.isSpinning === true
    if (spinning) this.#spinner?.clear()
    process.stderr.write(text)
    if (spinning) this.#spinner?.render()
  }

  stop(): void {
    this.#text = ''
    this.#spinner?.stop()
    this.#spinner = undefined
  }

  /** Reports an error in the way the options ask for and returns its exit code. */
  error(cause: unknown): number {
    this.stop()
    const error = asKnown(cause)
    const { code, message, hint, exitCode } = error
    if (this.options.json) this.event({ event: 'error', code, message, hint: hint ?? null, exitCode })
    else process.stderr.write(`${formatError(error, this.#color)}\n`)
    return exitCode
  }

  async #startSpinner(): Promise<void> {
    this.#starting = true
    const { default: ora } = await import('ora')
    this.#starting = false
    if (this.#text === '') return
    this.#spinner = ora({
      text: this.#text,
      stream: process.stderr,
      color: this.#color ? 'cyan' : 'white'
    }).start()
  }
}

export function asKnown(cause: unknown): IkestreamError {
  if (cause instanceof KnownError) return cause
  const text = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
  return new InternalError('internal', `Something unexpected happened: ${text}.`, {
    cause,
    hint: 'This is a bug in ikestream; please report it with the output of --verbose --verbose.'
  })
}

export function formatError(error: IkestreamError, color: boolean): string {
  const label = color ? '\u001b[31merror:\u001b[0m' : 'error:'
  return `${label} ${error.message}${error.hint === undefined ? '' : `\n       ${error.hint}`}`
}
