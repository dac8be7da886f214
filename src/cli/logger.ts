/**
 * Log lines on standard error: `--verbose` (repeatable) sets the level, `--log ike=debug,transport=trace` that of one
 * subsystem. Under systemd's journal, time stamps are dropped and a priority prefix is added (sd-daemon).
 * @module
 */
import { UsageError } from '../errors.ts'
import type { LogFields, Logger, LogLevel } from '../log.ts'

const LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error']
const JOURNAL_PRIORITY: Readonly<Record<LogLevel, string>> = {
  trace: '<7>',
  debug: '<7>',
  info: '<6>',
  warn: '<4>',
  error: '<3>'
}

export interface LogSettings {
  readonly level: LogLevel
  readonly bySubsystem: ReadonlyMap<string, LogLevel>
}

/** @throws UsageError for a malformed `--log` */
export function logSettings(verbosity: number, quiet: boolean, spec: string | undefined): LogSettings {
  const level = quiet ? 'error' : (['warn', 'info', 'debug', 'trace'] as const)[Math.min(verbosity, 3)]
  const bySubsystem = new Map<string, LogLevel>()
  for (const part of spec?.split(',') ?? []) {
    const [subsystem, wanted] = part.split('=')
    const found = LEVELS.find((candidate) => candidate === wanted)
    if (subsystem === undefined || subsystem === '' || found === undefined) {
      throw new UsageError('bad-log-option', `--log ${part} is not of the form subsystem=level.`, {
        hint: `Levels: ${LEVELS.join(', ')}. Example: --log ike=debug,transport=trace`
      })
    }
    bySubsystem.set(subsystem, found)
  }
  return { level: level ?? 'warn', bySubsystem }
}

export class LineLogger implements Logger {
  readonly #settings: LogSettings
  readonly #write: (line: string) => void
  readonly #subsystem: string
  readonly #threshold: number
  readonly #journal: boolean

  constructor(settings: LogSettings, write: (line: string) => void, journal: boolean, subsystem = '') {
    this.#settings = settings
    this.#write = write
    this.#subsystem = subsystem
    this.#journal = journal
    this.#threshold = LEVELS.indexOf(settings.bySubsystem.get(subsystem) ?? settings.level)
  }

  log(level: LogLevel, message: string, fields?: LogFields): void {
    if (LEVELS.indexOf(level) < this.#threshold) return
    const stamp = this.#journal ? JOURNAL_PRIORITY[level] : `${new Date().toISOString()} ${level} `
    const where = this.#subsystem === '' ? '' : `${this.#subsystem}: `
    this.#write(`${stamp}${where}${message}${formatFields(fields)}\n`)
  }

  child(subsystem: string): Logger {
    return new LineLogger(this.#settings, this.#write, this.#journal, subsystem)
  }
}

function formatFields(fields: LogFields | undefined): string {
  if (fields === undefined) return ''
  let text = ''
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue
    const shown = typeof value === 'string' ? value : (JSON.stringify(value, bigintAsHex) ?? String(value))
    text += ` ${key}=${/[\s"=]/.test(shown) && typeof value === 'string' ? JSON.stringify(shown) : shown}`
  }
  return text
}

function bigintAsHex(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString(16).padStart(16, '0') : value
}
