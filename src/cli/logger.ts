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
    this.#write(`${stamp}${where}${printable(message + formatFields(fields))}\n`)
  }

  child(subsystem: string): Logger {
    return new LineLogger(this.#settings, this.#write, this.#journal, subsystem)
  }
}

/**
 * Whether standard error is connected to the journal: JOURNAL_STREAM names its device and inode, and is inherited by
 * programs whose output goes elsewhere (systemd.exec(5)).
 */
export function isJournal(journalStream: string | undefined, stderr: { dev: number; ino: number }): boolean {
  return journalStream === `${stderr.dev}:${stderr.ino}`
}

function formatFields(fields: LogFields | undefined): string {
  if (fields === undefined) return ''
  let text = ''
  for (const [key, value] of Object.entries(fields))
    if (value !== undefined) text += ` ${key}=${shown(value)}`
  return text
}

function shown(value: unknown): string {
  const plain = value instanceof Error ? value.message : value
  if (typeof plain !== 'string') return JSON.stringify(plain, bigintAsHex) ?? String(plain)
  return plain === '' || /[\s"=]/.test(plain) ? JSON.stringify(plain) : plain
}

/** One line whatever a peer has sent, and nothing that a terminal would obey. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return `\\u${code.toString(16).padStart(4, '0')}`
  })
}

function bigintAsHex(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString(16).padStart(16, '0') : value
}
