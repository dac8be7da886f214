/**
 * The real command, `node bin/ikestream.js ...`, in a namespace of a test network: its JSON events as they come, its
 * standard error, its exit code. Runs what `npm run build` made.
 * @module
 */
import type { ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { type LabNamespace, terminate } from '../../src/host/netlab.ts'

/** The command under test; `IKESTREAM_TEST_CLI` names another one, such as that of an installed package. */
export const IKESTREAM =
  process.env['IKESTREAM_TEST_CLI'] ?? fileURLToPath(new URL('../../bin/ikestream.js', import.meta.url))

/** Only ends tests that hang. */
const EVENT_LIMIT_MS = 40_000
/** The developer's own settings are no part of a test. */
const FOREIGN_VARIABLE = /^(IKESTREAM_.*|(https?|all|no)_proxy|NODE_OPTIONS|FORCE_COLOR)$/i

/** One line of `--json`. */
export interface JsonLine {
  readonly event: string
  readonly [field: string]: unknown
}

export interface ProcessOptions {
  /** Where journals, networks and the development CA are kept. */
  readonly stateDirectory: string
  readonly env?: Readonly<Record<string, string>>
  /** Standard input, which is then closed. */
  readonly input?: string
  /** A program that starts the command: `['setpriv', '--bounding-set', '-net_admin']`. */
  readonly wrapper?: readonly string[]
}

export class IkestreamProcess {
  readonly events: JsonLine[] = []
  /** Lines of standard output that are no JSON: with `--json` there must be none. */
  readonly strayOutput: string[] = []
  /** Exit code (128+n after signal n) once it has ended and all its output has come. */
  readonly exit: Promise<number>
  /** The same, without waiting for a child that goes on in the background and holds the output open. */
  readonly left: Promise<number>
  stderr = ''
  readonly #title: string
  readonly #child: ChildProcess
  readonly #watchers = new Set<() => void>()
  #partial = ''
  #running = true

  private constructor(title: string, child: ChildProcess) {
    this.#title = title
    this.#child = child
    child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#onOutput(text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.#changed()
    })
    child.once('error', (error) => {
      this.stderr += String(error)
    })
    const ended = (name: 'exit' | 'close'): Promise<number> =>
      new Promise((resolve) => {
        child.once(name, (code: number | null, signal: NodeJS.Signals | null) =>
          resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM'])
        )
      })
    this.left = ended('exit')
    this.exit = ended('close').then((code) => {
      this.#running = false
      this.#changed()
      return code
    })
  }

  /** Starts `ikestream <args>`. */
  static start(
    namespace: LabNamespace,
    args: readonly string[],
    { stateDirectory, env = {}, input = '', wrapper = [] }: ProcessOptions
  ): IkestreamProcess {
    const own = Object.entries(process.env).filter(([name]) => !FOREIGN_VARIABLE.test(name))
    const child = namespace.spawn([...wrapper, process.execPath, IKESTREAM, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...Object.fromEntries(own), NO_COLOR: '1', IKESTREAM_STATE_DIR: stateDirectory, ...env }
    })
    child.stdin?.on('error', () => {}).end(input)
    return new IkestreamProcess(`ikestream ${args[0]}`, child)
  }

  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error(`${this.#title} did not start`)
    return pid
  }

  /** How many events have come so far: a mark for `event`. */
  get mark(): number {
    return this.events.length
  }

  all(name: string): JsonLine[] {
    return this.events.filter((line) => line.event === name)
  }

  /** The rungs so far, each as `udp failed timeout`. */
  get rungs(): string[] {
    return this.all('rung').map(({ transport, outcome, reason }) =>
      [transport, outcome, ...(reason === null ? [] : [reason])].join(' ')
    )
  }

  /**
   * Resolves with the first event of this name that fits, from the `from`th line on; rejects with everything that the
   * process said if it ends first.
   */
  event(name: string, fits: (event: JsonLine) => boolean = () => true, from = 0): Promise<JsonLine> {
    return this.#wait(`the event ${name}`, () =>
      this.events.slice(from).find((line) => line.event === name && fits(line))
    )
  }

  /** Resolves once standard error matches. */
  async said(pattern: RegExp): Promise<string> {
    await this.#wait(`a line like ${pattern}`, () => pattern.test(this.stderr) || undefined)
    return this.stderr
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** SIGTERM, and SIGKILL if that does not help. */
  async stop(): Promise<number> {
    await terminate(this.#child)
    return this.exit
  }

  /** All that it said, for failure messages. */
  transcript(): string {
    const lines = this.events.map((line) => JSON.stringify(line))
    return [`--- ${this.#title}:`, ...lines, ...this.strayOutput, this.stderr.slice(-8_000)].join('\n')
  }

  #wait<T>(what: string, look: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#watchers.delete(check)
        clearTimeout(timer)
      }
      const check = (): void => {
        const found = look()
        if (found === undefined && this.#running) return
        settle()
        if (found !== undefined) resolve(found)
        else reject(new Error(`${this.#title} ended without ${what}\n${this.transcript()}`))
      }
      const timer = setTimeout(() => {
        settle()
        reject(new Error(`${this.#title} gave no ${what} within ${EVENT_LIMIT_MS} ms\n${this.transcript()}`))
      }, EVENT_LIMIT_MS)
      this.#watchers.add(check)
      check()
    })
  }

  #onOutput(text: string): void {
    const lines = (this.#partial + text).split('\n')
    this.#partial = lines.pop() ?? ''
    for (const line of lines) {
      const parsed = parsedLine(line)
      if (parsed === undefined) this.strayOutput.push(line)
      else this.events.push(parsed)
    }
    this.#changed()
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher()
  }
}

function parsedLine(line: string): JsonLine | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && 'event' in value ? (value as JsonLine) : undefined
  } catch {
    return undefined
  }
}
