/**
 * The host of a session, configured by this process: the journal, what is applied, and the end of both.
 * @module
 */
import { type Logger, silentLogger } from '../log.ts'
import { cleanup } from './cleanup.ts'
import { type CommandRunner, SystemCommandRunner } from './commands.ts'
import { isAlive, Journal, readJournal } from './journal.ts'
import type { ProcessIdentity } from './journal-record.ts'
import { writePidFile } from './pid-file.ts'
import { applyVpncScript } from './script-config.ts'
import { applyTunnelConfig } from './tunnel-config.ts'
import type { AppliedConfig, HostSession, HostSettings, TunnelConfig } from './types.ts'
import { undoAll } from './undo-step.ts'

/** What a session that ended a moment ago left to be undone is waited for: a few calls of `ip`, or a script. */
const EARLIER_END_MS = 20_000
const EARLIER_END_POLL_MS = 50

export interface LocalHostOptions {
  readonly log?: Logger
  readonly runner?: CommandRunner
  /** The process that the session is, when this one only keeps its host for it. */
  readonly owner?: ProcessIdentity
}

export class LocalHost implements HostSession {
  readonly #settings: HostSettings
  readonly #runner: CommandRunner
  readonly #log: Logger
  readonly #journal: Journal
  readonly #pid: number
  #applied: AppliedConfig | undefined

  /**
   * Cleans up after an earlier session of that name which was killed, and opens the journal.
   * @throws SystemError (`session-running`, `session-ending`, `session-stale`, `pid-file`, ...), UsageError for a bad name
   */
  static async open(settings: HostSettings, options: LocalHostOptions = {}): Promise<LocalHost> {
    const log = options.log ?? silentLogger
    const runner = options.runner ?? new SystemCommandRunner(log)
    const { stateDirectory, sessionName, netns, pidFile, controlSocket } = settings
    await endEarlier(settings, runner, log)
    const { owner } = options
    const journal = await Journal.open(stateDirectory, sessionName, { netns, owner, log })
    const pid = owner?.pid ?? process.pid
    const host = new LocalHost(settings, runner, log, journal, pid)
    try {
      if (pidFile !== undefined) await host.#notePid(pidFile)
      if (controlSocket !== undefined) await journal.add({ kind: 'control-socket', path: controlSocket })
    } catch (error) {
      await host.close().catch(() => undefined)
      throw error
    }
    return host
  }

  private constructor(
    settings: HostSettings,
    runner: CommandRunner,
    log: Logger,
    journal: Journal,
    pid: number
  ) {
    this.#settings = settings
    this.#runner = runner
    this.#log = log
    this.#journal = journal
    this.#pid = pid
  }

  async apply(config: TunnelConfig): Promise<AppliedConfig> {
    const { script } = this.#settings
    const context = { runner: this.#runner, log: this.#log, journal: this.#journal }
    this.#applied =
      script === undefined
        ? await applyTunnelConfig(config, context)
        : await applyVpncScript(config, { script, pid: this.#pid }, context)
    this.#journal.tolerateFullDisk()
    return this.#applied
  }

  async close(): Promise<void> {
    let failure: unknown
    // Changes that still come in are too late from here on. What has failed before is tried once more.
    await this.#applied?.undo().catch((error) => {
      failure = error
    })
    const { steps } = this.#journal
    const context = { runner: this.#runner, log: this.#log, netns: this.#settings.netns ?? null }
    const left =
      failure === undefined
        ? steps
        : steps.filter(({ kind }) => kind === 'pid-file' || kind === 'control-socket')
    const [further] = await undoAll(left, context, (step) => this.#journal.remove(step))
    await this.#journal.close()
    if (failure !== undefined) throw failure
    if (further !== undefined) throw further
  }

  async #notePid(path: string): Promise<void> {
    await this.#journal.add({ kind: 'pid-file', path, pid: this.#pid })
    await writePidFile(path, this.#pid)
  }
}

/** Undoes what a killed session of this name left behind; one whose keeper is at it already is waited for. */
async function endEarlier(settings: HostSettings, runner: CommandRunner, log: Logger): Promise<void> {
  const { stateDirectory, sessionName } = settings
  const deadline = performance.now() + EARLIER_END_MS
  for (;;) {
    const { outcome } = await cleanup(sessionName, { stateDirectory, runner, log })
    if (outcome !== 'running' || performance.now() > deadline) return
    const record = await readJournal(stateDirectory, sessionName)
    if (record !== undefined && isAlive(record.owner)) return
    await new Promise((done) => setTimeout(done, EARLIER_END_POLL_MS))
  }
}
