/**
 * The real command, `node bin/ikestream.js connect ... --json`, in the client's namespace of a test network: its events as
 * they come, its standard error, its exit code.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ClientEvent, ConnectedEvent } from '../../src/client/events.ts'
import type { InteropNetwork } from './interop-network.ts'

/** The command under test; `IKESTREAM_TEST_CLI` names another one, such as that of an installed package. */
export const CLI =
  process.env['IKESTREAM_TEST_CLI'] ?? fileURLToPath(new URL('../../bin/ikestream.js', import.meta.url))

/** The line that the command prints when it fails; a session knows no such event. */
export interface ErrorEvent {
  readonly event: 'error'
  readonly code: string
  readonly message: string
  readonly hint: string | null
  readonly exitCode: number
}

type AnyEvent = ClientEvent | ErrorEvent
export type JsonLine = AnyEvent & { readonly schemaVersion: number; readonly time: string }
type EventName = AnyEvent['event']
type EventOf<N extends EventName> = Extract<AnyEvent, { readonly event: N }>

/** Only ends tests that hang. */
const EVENT_LIMIT_MS = 90_000
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/

export class ClientProcess {
  readonly events: JsonLine[] = []
  /** Lines of standard output that are no JSON events: there must be none. */
  readonly strayOutput: string[] = []
  /** Exit code, 128+n after signal n. */
  readonly exit: Promise<number>
  stderr = ''
  readonly #child: ChildProcess
  readonly #watchers = new Set<() => void>()
  #partial = ''
  #running = true

  private constructor(child: ChildProcess) {
    this.#child = child
    child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#onOutput(text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.exit = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.#running = false
        resolve(code ?? (signal === 'SIGINT' ? 130 : signal === 'SIGKILL' ? 137 : 143))
        for (const watcher of [...this.#watchers]) watcher()
      })
    })
  }

  /** Starts `connect <server> <args>`. The state directory is the network's, shared with later commands such as `status`. */
  static async start(
    network: InteropNetwork,
    server: string,
    args: readonly string[],
    input = ''
  ): Promise<ClientProcess> {
    const state = join(network.directory, 'state')
    await mkdir(state, { recursive: true, mode: 0o700 })
    const verbosity = ['--verbose', '--verbose']
    const argv = network.inClient([
      process.execPath,
      CLI,
      'connect',
      server,
      '--json',
      '--non-inter',
      ...verbosity,
      ...args
    ])
    const [program = '', ...rest] = argv
    const child = spawn(program, rest, {
      env: { ...process.env, IKESTREAM_STATE_DIR: state, NO_COLOR: '1' },
      stdio: ['pipe', 'pipe', 'pipe']
    })
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    return new ClientProcess(child)
  }

  get running(): boolean {
    return this.#running
  }

  all<N extends EventName>(name: N): EventOf<N>[] {
    return this.events.filter((line): line is JsonLine & EventOf<N> => line.event === name)
  }

  /**
   * Resolves with the first event of this name that fits, from the `from`th line on; rejects with everything the client said
   * if it ends first.
   */
  async event<N extends EventName>(
    name: N,
    fits: (event: EventOf<N>) => boolean = () => true,
    from = 0
  ): Promise<EventOf<N>> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#watchers.delete(look)
        clearTimeout(timer)
      }
      const look = (): void => {
        const found = this.events
          .slice(from)
          .find((line) => line.event === name && fits(line as JsonLine & EventOf<N>))
        if (found === undefined && this.#running) return
        settle()
        if (found !== undefined) resolve(found as JsonLine & EventOf<N>)
        else reject(new Error(`the client ended without the event ${name}\n${this.transcript()}`))
      }
      const timer = setTimeout(() => {
        settle()
        reject(new Error(`no event ${name} within ${EVENT_LIMIT_MS} ms\n${this.transcript()}`))
      }, EVENT_LIMIT_MS)
      this.#watchers.add(look)
      look()
    })
  }

  connected(): Promise<ConnectedEvent> {
    return this.event('connected')
  }

  /** The end of a client that cannot connect: its exit code, and the one error that it told. */
  async failure(): Promise<{ readonly exitCode: number; readonly error: ErrorEvent }> {
    const exitCode = await this.exit
    const errors = this.all('error')
    const [error] = errors
    if (error === undefined || errors.length !== 1)
      throw new Error(`expected one error, got ${errors.length}\n${this.transcript()}`)
    return { exitCode, error }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Ctrl-C, and the exit code. */
  async interrupt(): Promise<number> {
    this.signal('SIGINT')
    return this.exit
  }

  /** For clean-up: ends it in whatever state it is. */
  async end(): Promise<void> {
    if (!this.#running) return
    const force = setTimeout(() => this.signal('SIGKILL'), 10_000)
    this.signal('SIGTERM')
    await this.exit
    clearTimeout(force)
  }

  transcript(): string {
    const lines = this.events.map((line) => JSON.stringify(line))
    return [...lines, ...this.strayOutput, this.stderr.slice(-20_000)].join('\n')
  }

  #onOutput(text: string): void {
    this.#partial += text
    const lines = this.#partial.split('\n')
    this.#partial = lines.pop() ?? ''
    for (const line of lines) this.#onLine(line)
    for (const watcher of [...this.#watchers]) watcher()
  }

  #onLine(line: string): void {
    try {
      const event = JSON.parse(line) as JsonLine
      if (event.schemaVersion === 1 && RFC3339.test(event.time)) this.events.push(event)
      else this.strayOutput.push(line)
    } catch {
      this.strayOutput.push(line)
    }
  }
}
