/**
 * A program of the soak: its JSON lines as they come (none is kept), its size, its descriptors, its end.
 * @module
 */
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { terminate } from '../../dist/host/netlab.js'

const KEPT_STDERR = 4000

export class Program {
  name
  stderr = ''
  /** What it says that it really uses; undefined until it has said so. */
  liveKib
  #child
  #listeners = new Set()

  /** @param onLine is called with each line, from the first on */
  constructor(name, namespace, argv, { env = {}, onLine } = {}) {
    this.name = name
    this.#child = namespace.spawn(argv, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    if (onLine !== undefined) this.#listeners.add(onLine)
    createInterface({ input: this.#child.stdout }).on('line', (text) => {
      let line
      try {
        line = JSON.parse(text)
      } catch {
        return
      }
      if (line.event === 'size') this.liveKib = line.liveKib
      else for (const listener of [...this.#listeners]) listener(line)
    })
    this.#child.stderr.on('data', (chunk) => {
      this.stderr = (this.stderr + chunk).slice(-KEPT_STDERR)
    })
    this.#child.stdin.on('error', () => undefined)
    this.exited = new Promise((resolve) =>
      this.#child.once('close', (code, signal) => resolve(code ?? signal))
    )
  }

  get pid() {
    return this.#child.pid
  }

  get running() {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** The first line from now on that fits. */
  next(what, fits, limitMs = 60_000) {
    return new Promise((resolve, reject) => {
      const done = (settle, value) => {
        clearTimeout(timer)
        this.#listeners.delete(look)
        settle(value)
      }
      const look = (line) => fits(line) && done(resolve, line)
      const fail = (why) => done(reject, new Error(`${this.name}: ${what} ${why}\n${this.stderr}`))
      const timer = setTimeout(() => fail(`did not come within ${limitMs} ms`), limitMs)
      this.#listeners.add(look)
      this.exited.then(() => fail('will not come, it has ended'))
    })
  }

  write(line) {
    this.#child.stdin.write(`${line}\n`)
  }

  kill(signal) {
    this.#child.kill(signal)
  }

  stop() {
    this.kill('SIGCONT')
    return terminate(this.#child)
  }

  /** Resident memory in KiB; undefined when it has ended. */
  residentKib() {
    try {
      return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1])
    } catch {
      return undefined
    }
  }

  /** How many descriptors it has open, and how many of them are sockets. */
  descriptors() {
    try {
      return readdirSync(`/proc/${this.pid}/fd`).length
    } catch {
      return undefined
    }
  }
}
