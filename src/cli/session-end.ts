/**
 * What ends a session from outside: signals, and exceptions that nobody caught. All of them end it cleanly, so that nothing is
 * left behind on the machine. SIGUSR1 shows statistics (and brings captures up to date), SIGUSR2 reconnects: as in openconnect.
 * @module
 */
import { constants } from 'node:os'
import type { RunningSession } from '../client/running-session.ts'
import { ExitCode } from '../errors.ts'
import type { Reporter } from './reporter.ts'
import type { ServiceReport } from './service-report.ts'
import { showStatistics } from './statistics.ts'

/** SIGHUP comes when the terminal is closed. */
const END_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** A session that has lost its mind may never come to its end. Longer than a clean end takes; then its journal has to do. */
const CRASH_PATIENCE_MS = 30_000

export class SessionEnd {
  readonly #reporter: Reporter
  readonly #service: ServiceReport
  readonly #stops: (() => void)[] = []
  #session: RunningSession | undefined
  #signal: (typeof END_SIGNALS)[number] | undefined
  #crash: { readonly error: unknown } | undefined

  /** From here on: a signal during set-up must not leave anything behind. */
  constructor(reporter: Reporter, service: ServiceReport) {
    this.#reporter = reporter
    this.#service = service
    for (const signal of END_SIGNALS) {
      this.#on(signal, () => {
        this.#signal ??= signal
        this.#service.stopping()
        this.#session?.stop('requested')
      })
    }
    this.#on('uncaughtException', (error: unknown) => this.#crashed(error))
  }

  watch(session: RunningSession): void {
    this.#session = session
    if (this.#crash !== undefined) session.stop('internal-error')
    else if (this.#signal !== undefined) session.stop('requested')
    this.#on('SIGUSR1', () => {
      session.flushCaptures()
      showStatistics(this.#reporter, session.status())
    })
    this.#on('SIGUSR2', () => {
      this.#service.reloading()
      session.reconnect()
    })
  }

  /** The exit code of a session that has come to its end without an error of its own. @throws the exception that ended it */
  exitCode(connected: boolean): number {
    if (this.#crash !== undefined) throw this.#crash.error
    // Without a signal it was `ikestream disconnect`, which is as good as SIGTERM.
    return connected ? ExitCode.ok : 128 + constants.signals[this.#signal ?? 'SIGTERM']
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }

  #crashed(error: unknown): void {
    if (this.#crash !== undefined) return
    this.#crash = { error }
    setTimeout(() => process.exit(this.#reporter.error(error)), CRASH_PATIENCE_MS).unref()
    this.#session?.stop('internal-error')
  }

  #on(event: string, listener: (argument: unknown) => void): void {
    process.on(event, listener)
    this.#stops.push(() => process.off(event, listener))
  }
}
