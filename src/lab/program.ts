/**
 * A program that runs inside a lab network and speaks JSON lines: its messages can be waited for by condition.
 * @module
 */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { SystemError } from '../errors.ts'
import { childEnvironment } from '../host/commands.ts'
import type { LabNamespace } from '../host/netlab.ts'
import { terminate } from '../host/netlab.ts'

export type JsonLine = Readonly<Record<string, unknown>>

/** A program in a lab did not do what it was started for. */
class LabProgramError extends SystemError {
  constructor(message: string, hint?: string) {
    super('lab-program', message, { hint })
  }
}

interface Waiter {
  readonly matches: (line: JsonLine) => boolean
  readonly resolve: (line: JsonLine) => void
  readonly reject: (error: Error) => void
}

const MAX_STDERR_BYTES = 16_384

export class LabProgram {
  readonly name: string
  readonly #child: ChildProcess
  readonly #lines: JsonLine[] = []
  readonly #waiters = new Set<Waiter>()
  readonly #listeners: ((line: JsonLine) => void)[] = []
  readonly exited: Promise<number>
  #stderr = ''
  #ended = false

  /** @param env the whole environment; ours without our own settings by default */
  constructor(
    name: string,
    namespace: LabNamespace,
    argv: readonly string[],
    env: Readonly<Record<string, string>> = childEnvironment()
  ) {
    this.name = name
    this.#child = namespace.spawn(argv, {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C on the terminal is meant for whoever uses the lab; the kernel ends it with us.
      detached: true,
      env: { ...env }
    })
    const { stdout, stderr } = this.#child
    if (stdout !== null) {
      createInterface({ input: stdout }).on('line', (text) => this.#take(text))
    }
    stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-MAX_STDERR_BYTES)
    })
    this.exited = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        this.#ended = true
        for (const waiter of this.#waiters) waiter.reject(this.#failure('ended too early'))
        this.#waiters.clear()
        resolve(code ?? (signal === null ? 1 : 128))
      })
      this.#child.once('error', (cause) => {
        this.#stderr += cause.message
      })
    })
  }

  /** Calls back for every line, those already received first. */
  onLine(listener: (line: JsonLine) => void): void {
    for (const line of this.#lines) listener(line)
    this.#listeners.push(listener)
  }

  /** How many lines have come so far: a mark for `waitFor`. */
  get mark(): number {
    return this.#lines.length
  }

  /** The first line at or behind `mark` that matches. @throws LabProgramError when the program ends or time is up */
  async waitFor(
    what: string,
    matches: (line: JsonLine) => boolean,
    timeoutMs: number,
    mark = 0
  ): Promise<JsonLine> {
    const found = this.#lines.slice(mark).find(matches)
    if (found !== undefined) return found
    if (this.#ended) throw this.#failure(`ended before ${what}`)
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer)
        this.#waiters.delete(waiter)
      }
      const timer = setTimeout(() => {
        done()
        reject(this.#failure(`did not report ${what} within ${timeoutMs / 1000} s`))
      }, timeoutMs)
      const waiter: Waiter = {
        matches,
        resolve: (line) => {
          done()
          resolve(line)
        },
        reject: (error) => {
          done()
          reject(error)
        }
      }
      this.#waiters.add(waiter)
    })
  }

  get ended(): boolean {
    return this.#ended
  }

  /** The end of what it wrote to standard error. */
  get said(): string {
    return this.#stderr.trim()
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async stop(): Promise<void> {
    await terminate(this.#child)
  }

  #take(text: string): void {
    let line: JsonLine
    try {
      line = JSON.parse(text) as JsonLine
    } catch {
      return
    }
    this.#lines.push(line)
    for (const listener of this.#listeners) listener(line)
    for (const waiter of this.#waiters) if (waiter.matches(line)) waiter.resolve(line)
  }

  #failure(what: string): LabProgramError {
    const error = this.#lines.findLast((line) => line['event'] === 'error')
    if (error !== undefined) {
      const hint = typeof error['hint'] === 'string' ? error['hint'] : undefined
      return new LabProgramError(`The ${this.name} ${what}: ${String(error['message'])}`, hint)
    }
    const said = this.#stderr.trim()
    return new LabProgramError(`The ${this.name} ${what}${said === '' ? '.' : `; it said:\n${said}`}`)
  }
}

/** Runs a program that ends by itself, and returns its last line. */
export async function runToEnd(program: LabProgram, timeoutMs: number): Promise<JsonLine> {
  const line = await program.waitFor('its result', (candidate) => candidate['done'] === true, timeoutMs)
  await program.exited
  return line
}
