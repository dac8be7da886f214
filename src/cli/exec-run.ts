/**
 * One command in a private network with a tunnel: brings the tunnel up, runs the command on the terminal as if it had been
 * started directly, and takes the tunnel down when the command has ended.
 *
 * As long as the tunnel is not there the command has no network at all; it comes back when the session does.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { connect } from '../client/connect.ts'
import type { ConnectOptions } from '../client/options.ts'
import { PrivatePlace } from '../client/private-place.ts'
import type { RunningSession } from '../client/running-session.ts'
import { InternalError } from '../errors.ts'
import { SystemCommandRunner } from '../host/commands.ts'
import { directories } from '../host/directories.ts'
import { scratchFolder } from '../host/leftovers.ts'
import { PrivateNetwork } from '../host/private-network.ts'
import type { Logger } from '../log.ts'
import { exitCodeOf } from './background.ts'
import { ChildSignals } from './child-signals.ts'
import { ProgressReport } from './progress-report.ts'
import type { Reporter } from './reporter.ts'

/** @returns the command's exit code. @throws what keeps the tunnel from coming up */
export async function runInTunnel(
  argv: readonly string[],
  options: ConnectOptions,
  reporter: Reporter,
  log: Logger
): Promise<number> {
  const signals = new ChildSignals()
  const hostLog = log.child('host')
  try {
    const network = await PrivateNetwork.open(new SystemCommandRunner(hostLog))
    try {
      return await new ExecRun(argv, options, network, reporter, log).run(signals)
    } finally {
      await network.close()
    }
  } finally {
    signals.stop()
  }
}

class ExecRun {
  readonly #argv: readonly string[]
  readonly #options: ConnectOptions
  readonly #network: PrivateNetwork
  readonly #reporter: Reporter
  readonly #log: Logger
  readonly #progress: ProgressReport
  #begun = false
  #running = false

  constructor(
    argv: readonly string[],
    options: ConnectOptions,
    network: PrivateNetwork,
    reporter: Reporter,
    log: Logger
  ) {
    this.#argv = argv
    this.#options = options
    this.#network = network
    this.#reporter = reporter
    this.#log = log
    this.#progress = new ProgressReport(reporter)
  }

  async run(signals: ChildSignals): Promise<number> {
    const { session, up } = await this.#connect()
    signals.onEnd(() => session.stop('requested'))
    try {
      if (!(await up)) return signals.exitCode
      const child = this.#start()
      const exitCode = exitCodeFor(child)
      signals.passTo(child)
      this.#watch(session)
      return await exitCode
    } finally {
      this.#running = false
      session.stop('requested')
      // Why it ended has been told, or is the reason for which there is no command.
      await session.ended.catch(() => undefined)
      this.#progress.stop()
    }
  }

  /** @returns the session, and whether its tunnel came up; rejects with why it did not, unless it was asked to stop */
  async #connect(): Promise<{ session: RunningSession; up: Promise<boolean> }> {
    const { state, runtime } = directories()
    const { interfaceName, dns, sessionName } = this.#options
    const scratch = scratchFolder(runtime, sessionName)
    const place = await PrivatePlace.open(
      this.#network,
      { interfaceName, dns, scratch },
      this.#log.child('host')
    )
    let connected: () => void = () => undefined
    const isUp = new Promise<boolean>((resolve) => {
      connected = () => resolve(true)
    })
    const session = await connect(this.#options, {
      ...{ log: this.#log, place, stateDirectory: state, runtimeDirectory: runtime, runBy: 'exec' },
      onEvent: (event) => {
        // The terminal is the command's once it has begun.
        if (!this.#begun || this.#reporter.options.verbose) this.#progress.show(event)
        if (event.event === 'connected') connected()
      }
    })
    return { session, up: Promise.race([isUp, session.ended.then(() => false)]) }
  }

  #start(): ChildProcess {
    this.#progress.stop()
    this.#begun = this.#running = true
    const [program = '', ...rest] = this.#network.command(this.#argv)
    return spawn(program, rest, { stdio: 'inherit', env: commandEnvironment() })
  }

  /** A session that cannot go on is told of at once; the command decides for itself what to do without a network. */
  #watch(session: RunningSession): void {
    session.ended.then(
      () => this.#withoutNetwork(),
      (error: unknown) => {
        this.#reporter.error(error)
        this.#withoutNetwork()
      }
    )
  }

  #withoutNetwork(): void {
    if (this.#running)
      this.#reporter.line('the tunnel has ended; the command goes on without a network', 'warn')
  }
}

/** Everything that the user has set, but not what is meant for us, which may be secret. */
function commandEnvironment(): NodeJS.ProcessEnv {
  const own = /^(IKESTREAM_.*|NOTIFY_SOCKET|WATCHDOG_PID|WATCHDOG_USEC|CREDENTIALS_DIRECTORY)$/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)))
}

function exitCodeFor(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code, signal) => resolve(exitCodeOf(code, signal)))
    child.once('error', (cause) =>
      reject(new InternalError('exec', `The command could not be started: ${cause.message}.`, { cause }))
    )
  })
}
