/**
 * The one logging interface that every floor may use. The command line decides where lines go.
 * Fields are plain data; a secret is never among them.
 * @module
 */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'
export type LogFields = Readonly<Record<string, unknown>>

export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void
  /** The same sink, labelled with a subsystem name such as `ike` or `transport`. */
  child(subsystem: string): Logger
}

/** Swallows everything. */
export const silentLogger: Logger = {
  log() {},
  child() {
    return silentLogger
  }
}
