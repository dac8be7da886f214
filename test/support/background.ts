/**
 * Long-running programs of a test: each leads its own process group, and is ended by that group's id.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

const STOP_GRACE_MS = 5000

export interface BackgroundOptions {
  /** Standard output and error are appended to this file. */
  readonly log: string
  readonly env?: NodeJS.ProcessEnv
}

export class BackgroundProcess {
  readonly #child: ChildProcess
  readonly #log: string
  readonly #ended: Promise<void>
  #running = true

  constructor(argv: readonly string[], { log, env }: BackgroundOptions) {
    const [program, ...args] = argv
    if (program === undefined) throw new Error('no program given')
    const output = openSync(log, 'a')
    this.#log = log
    this.#child = spawn(program, args, {
      env: env ?? process.env,
      stdio: ['ignore', output, output],
      detached: true
    })
    closeSync(output)
    this.#ended = new Promise((resolve) => {
      const end = (): void => {
        this.#running = false
        resolve()
      }
      this.#child.once('exit', end)
      this.#child.once('error', end)
    })
  }

  get running(): boolean {
    return this.#running
  }

  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error('the program did not start')
    return pid
  }

  output(): Promise<string> {
    return readFile(this.#log, 'utf8').catch(() => '')
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.#running) return
    try {
      process.kill(-this.pid, signal)
    } catch {
      // ended in between
    }
  }

  /** Asks it to end, makes it end if it does not, and waits. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.kill(signal)
    const force = setTimeout(() => this.kill('SIGKILL'), STOP_GRACE_MS)
    await this.#ended
    clearTimeout(force)
  }
}
