/**
 * Tells when the network may have changed: an `ip monitor` child, whose lines are hints. The first of a burst is told nearly at once, the
 * rest when it has been quiet for a moment. What really changed is for the listener to find out.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { type Logger, silentLogger } from '../log.ts'
import { childEnvironment } from './commands.ts'

/** The first message rarely comes alone: a route goes with its address. */
const FIRST_MS = 50
/** A change of network comes as dozens of messages within a few tenths of a second. */
const QUIET_MS = 400
/** While messages keep coming, the listener hears of them at least this often. */
const LONGEST_WAIT_MS = 3_000
const RESTART_DELAY_MS = 2_000
/** A monitor that ends this often is not worth starting again (no netlink in this sandbox, say). */
const MAX_RESTARTS = 5

/** Prints one line for each change, with a label of its kind. */
export const MONITOR_ARGV = ['ip', '-o', 'monitor', 'link', 'address', 'route', 'label'] as const

export interface NetworkChange {
  readonly routes: boolean
  readonly addresses: boolean
  readonly links: boolean
}

export interface NetworkWatchOptions {
  /** Changes of these devices (the tunnel's own) are no news. */
  readonly ignoredDevices?: readonly string[]
  readonly quietMs?: number
  readonly log?: Logger
  /** Starts the monitor; tests give another. */
  readonly startMonitor?: () => ChildProcess
}

export interface NetworkWatch {
  /** Has the monitor run by whoever this process is after `change`: it could not end one that is root's. */
  restart(change: () => void): void
  close(): void
}

/** Watches until `close()`. The listener is never called again afterwards. */
export function watchNetwork(
  onChange: (change: NetworkChange) => void,
  options: NetworkWatchOptions = {}
): NetworkWatch {
  return new Watch(onChange, options)
}

/** What a line of `ip -o monitor link address route label` tells; null for noise. */
export function classifyLine(line: string, ignoredDevices: readonly string[]): keyof NetworkChange | null {
  const [, label, rest = ''] = /^\[(ADDR|ROUTE|LINK)\](.*)$/.exec(line) ?? []
  if (label === undefined || ignoredDevices.includes(deviceOf(label, rest))) return null
  if (label === 'ADDR') return 'addresses'
  if (label === 'LINK') return 'links'
  // The kernel's bookkeeping for addresses, and what every IPv6 device brings along.
  return /\btable local\b|\bmulticast\b|^(Deleted )?fe80:/.test(rest) ? null : 'routes'
}

function deviceOf(label: string, rest: string): string {
  const name =
    label === 'ROUTE' ? / dev (\S+)/.exec(rest)?.[1] : /^(?:Deleted )?\d+: ([^\s:@]+)/.exec(rest)?.[1]
  return name ?? ''
}

class Watch implements NetworkWatch {
  readonly #onChange: (change: NetworkChange) => void
  readonly #options: NetworkWatchOptions
  readonly #log: Logger
  #child: ChildProcess | undefined
  #restartTimer: NodeJS.Timeout | undefined
  #restarts = 0
  #seen = { routes: false, addresses: false, links: false }
  #first: NodeJS.Timeout | undefined
  #quiet: NodeJS.Timeout | undefined
  #longest: NodeJS.Timeout | undefined
  #closed = false

  constructor(onChange: (change: NetworkChange) => void, options: NetworkWatchOptions) {
    this.#onChange = onChange
    this.#options = options
    this.#log = options.log ?? silentLogger
    this.#start()
  }

  restart(change: () => void): void {
    clearTimeout(this.#restartTimer)
    this.#child?.kill('SIGTERM')
    this.#child = undefined
    change()
    this.#startAgain()
  }

  close(): void {
    this.#closed = true
    for (const timer of [this.#first, this.#quiet, this.#longest, this.#restartTimer]) clearTimeout(timer)
    this.#child?.kill('SIGTERM')
  }

  #startAgain(): void {
    this.#start()
    // Whatever happened in between went unseen.
    this.#note('routes')
  }

  #start(): void {
    const child = (this.#options.startMonitor ?? startIpMonitor)()
    this.#child = child
    let rest = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.#hear(line)
    })
    let over = false
    const ended = (why: string): void => {
      if (over) return
      over = true
      if (child === this.#child) this.#ended(why)
    }
    child.once('error', (error) => ended(error.message))
    child.once('exit', (code, signal) => ended(`it ended (${signal ?? code})`))
    // Watching alone must not keep the program alive.
    child.unref()
  }

  #ended(why: string): void {
    if (this.#closed) return
    this.#log.log('debug', `the network monitor stopped: ${why}`)
    if (this.#restarts++ >= MAX_RESTARTS) {
      this.#log.log(
        'warn',
        'changes of the network cannot be watched here: they show only when packets get lost'
      )
      return
    }
    this.#restartTimer = setTimeout(() => this.#startAgain(), RESTART_DELAY_MS)
    this.#restartTimer.unref()
  }

  #hear(line: string): void {
    const kind = classifyLine(line, this.#options.ignoredDevices ?? [])
    if (kind !== null) this.#note(kind)
  }

  #note(kind: keyof NetworkChange): void {
    if (this.#closed) return
    this.#seen[kind] = true
    if (this.#quiet === undefined) this.#first = setTimeout(() => this.#tell(), FIRST_MS)
    clearTimeout(this.#quiet)
    this.#quiet = setTimeout(() => {
      this.#quiet = undefined
      this.#tell()
    }, this.#options.quietMs ?? QUIET_MS)
    this.#longest ??= setTimeout(() => this.#tell(), LONGEST_WAIT_MS)
  }

  #tell(): void {
    clearTimeout(this.#first)
    clearTimeout(this.#longest)
    this.#longest = undefined
    const change = this.#seen
    if (!change.routes && !change.addresses && !change.links) return
    this.#seen = { routes: false, addresses: false, links: false }
    this.#onChange(change)
  }
}

function startIpMonitor(): ChildProcess {
  const [program, ...args] = MONITOR_ARGV
  return spawn(program, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: childEnvironment()
  })
}
