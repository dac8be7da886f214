/**
 * Runs the system's own tools (`ip`, `resolvectl`, ...) with argument vectors, never through a shell.
 *
 * Everything that the host floor changes goes through a {@link CommandRunner}, so that tests can record or
 * answer the calls, and `--verbose` can show each one. A runner reports a non-zero exit as a result; {@link must}
 * turns it into a typed error that carries the essence of what the tool said.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { SystemError } from '../errors.ts'
import { type Logger, silentLogger } from '../log.ts'

/** Longest time that a tool may take before it is killed: these are local calls that answer in milliseconds. */
const COMMAND_TIMEOUT_MS = 15_000
/** More output than this is cut: no tool that we call needs it. */
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/usr/bin', '/bin']

/** What a service manager says to us alone (sd_notify(3), systemd.exec(5)). */
const OWN_VARIABLES = new Set(['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'CREDENTIALS_DIRECTORY'])

export interface CommandResult {
  readonly argv: readonly string[]
  /** Exit status, or 128 + signal number when a signal ended it. */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  /** Written to standard input, which is then closed. */
  readonly input?: string
  readonly timeoutMs?: number
  /** Replaces the whole environment. */
  readonly env?: Readonly<Record<string, string>>
}

export interface CommandRunner {
  /** Runs one command to its end. Rejects with SystemError only if it could not be started or ran out of time. */
  run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult>
}

/** Where a command runs: in a namespace of `ip netns`, or in that of a process (inside its user namespace too). */
export type NetworkNamespace =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'process'; readonly pid: number; readonly userNamespace: boolean }

/** Runs commands on the real system. */
export class SystemCommandRunner implements CommandRunner {
  readonly #log: Logger

  constructor(log: Logger = silentLogger) {
    this.#log = log
  }

  async run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    const result = await execute(argv, options)
    this.#log.log('debug', shown(argv), {
      exitCode: result.exitCode,
      ...(result.stderr === '' ? {} : { stderr: essence(result.stderr) })
    })
    return result
  }
}

/** Runs a command that has to succeed; its result, or a SystemError that names the command and its complaint. */
export async function must(
  runner: CommandRunner,
  argv: readonly string[],
  options: CommandOptions = {}
): Promise<CommandResult> {
  const result = await runner.run(argv, options)
  if (result.exitCode !== 0) throw commandFailure(result)
  return result
}

/** True if the command exits with 0; false also if it cannot be started. */
export async function succeeds(runner: CommandRunner, argv: readonly string[]): Promise<boolean> {
  try {
    return (await runner.run(argv)).exitCode === 0
  } catch {
    return false
  }
}

/** Runs a command that prints one JSON document, and parses it; no output at all counts as an empty list. */
export async function mustJson(runner: CommandRunner, argv: readonly string[]): Promise<unknown> {
  const { stdout } = await must(runner, argv)
  if (stdout.trim() === '') return []
  try {
    return JSON.parse(stdout)
  } catch (cause) {
    throw new SystemError('command-output', `\`${shown(argv)}\` printed something that is not JSON`, {
      hint: 'a newer iproute2 (4.18 or later) is needed',
      cause
    })
  }
}

/** The error for a command that exited with something other than 0. */
export function commandFailure(result: CommandResult): SystemError {
  const said = essence(result.stderr) || `exit status ${result.exitCode}`
  const denied = /operation not permitted|permission denied|access denied/i.test(said)
  return new SystemError(
    denied ? 'command-not-permitted' : 'command-failed',
    `\`${shown(result.argv)}\` failed: ${said}`,
    denied ? { hint: 'this needs root or CAP_NET_ADMIN' } : {}
  )
}

/** The same runner, with every command run inside a network namespace. */
export function inNamespace(runner: CommandRunner, namespace: NetworkNamespace | undefined): CommandRunner {
  if (namespace === undefined) return runner
  return {
    run: (argv, options) => runner.run(enterNamespace(namespace, argv), options)
  }
}

/** The argument vector that runs `argv` inside a network namespace. */
export function enterNamespace(namespace: NetworkNamespace, argv: readonly string[]): string[] {
  if (namespace.kind === 'process') {
    const user = namespace.userNamespace ? ['-U', '--preserve-credentials'] : []
    return ['nsenter', '-t', String(namespace.pid), ...user, '-m', '-n', '-w', '--', ...argv]
  }
  if (argv[0] === 'ip') return ['ip', '-n', namespace.name, ...argv.slice(1)]
  return ['ip', 'netns', 'exec', namespace.name, ...argv]
}

/** What a child inherits: the environment without our own settings (which may hold secrets), in the C locale. */
export function childEnvironment(base: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries(base)) {
    if (value === undefined || name.startsWith('IKESTREAM_')) continue
    if (OWN_VARIABLES.has(name) || name.startsWith('LC_')) continue
    env[name] = value
  }
  const path = (base['PATH'] ?? '').split(':').filter((entry) => entry !== '')
  // A user's PATH often lacks the sbin folders where ip, tc and resolvconf live.
  env['PATH'] = [...path, ...SYSTEM_PATH.filter((entry) => !path.includes(entry))].join(':')
  env['LC_ALL'] = 'C'
  return env
}

/** A command as a line for people. */
export function shown(argv: readonly string[]): string {
  return argv.map((word) => (/^[\w@%+=:,./~-]+$/.test(word) ? word : JSON.stringify(word))).join(' ')
}

/** First meaningful line of what a tool wrote to standard error, without its own prefix. */
export function essence(stderr: string): string {
  const lines = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^(usage:|command failed )/i.test(line))
  return (lines[0] ?? '').replace(/^(RTNETLINK answers|Error): /, '').slice(0, 300)
}

async function execute(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const [program, ...rest] = argv
  if (program === undefined) throw new SystemError('command-failed', 'an empty command cannot be run')
  const child = spawn(program, rest, {
    env: options.env === undefined ? childEnvironment() : { ...options.env },
    stdio: ['pipe', 'pipe', 'pipe']
  })
  const stdout = collect(child.stdout)
  const stderr = collect(child.stderr)
  // A program that does not read its input closes the pipe early; that is no failure of ours.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  const exitCode = await ended(child, argv, options.timeoutMs ?? COMMAND_TIMEOUT_MS)
  return { argv: [...argv], exitCode, stdout: stdout(), stderr: stderr() }
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = []
  let lengthBytes = 0
  stream.on('data', (chunk: Buffer) => {
    if (lengthBytes < MAX_OUTPUT_BYTES) chunks.push(chunk)
    lengthBytes += chunk.length
  })
  return () => Buffer.concat(chunks).toString('utf8')
}

function ended(child: ChildProcess, argv: readonly string[], timeoutMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      // A grandchild may hold the pipes open: waiting for `close` could then take for ever.
      child.stdout?.destroy()
      child.stderr?.destroy()
      reject(
        new SystemError('command-timeout', `\`${shown(argv)}\` did not finish within ${timeoutMs / 1000} s`)
      )
    }, timeoutMs)
    child.once('error', (cause: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      // One folder of PATH that we may not search makes EACCES out of "nowhere found".
      const searched = cause.code === 'EACCES' && argv[0]?.includes('/') === false
      const missing = cause.code === 'ENOENT' || searched
      reject(
        new SystemError(
          missing ? 'command-missing' : 'command-failed',
          missing
            ? `the program \`${argv[0]}\` is not installed`
            : `\`${shown(argv)}\` could not be started: ${cause.message}`,
          { hint: missing ? installHint(argv[0] ?? '') : undefined, cause }
        )
      )
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      resolve(code ?? 128 + signalNumber(signal))
    })
  })
}

function installHint(program: string): string | undefined {
  if (program === 'ip' || program === 'tc') return 'install the package iproute2'
  if (program === 'nsenter' || program === 'unshare') return 'install the package util-linux'
  return undefined
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : (constants.signals[signal] ?? 0)
}
