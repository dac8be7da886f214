/**
 * Signals of a command that runs another one in its place: before it has begun they end the attempt, then they are the child's.
 * @module
 */
import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'

/** What ends the attempt to get ready, and is the command's once it runs. */
const END_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** What is the command's, too. */
const PASSED_SIGNALS = [...END_SIGNALS, 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const
/** What a terminal sends to the command and to us alike. */
const TERMINAL_SIGNALS: readonly string[] = ['SIGINT', 'SIGQUIT']

export class ChildSignals {
  #onEnd: (() => void) | undefined
  #child: ChildProcess | undefined
  #received: NodeJS.Signals | undefined
  readonly #stops: (() => void)[] = []

  constructor() {
    for (const signal of PASSED_SIGNALS) {
      const listener = (): void => this.#take(signal)
      process.on(signal, listener)
      this.#stops.push(() => process.off(signal, listener))
    }
  }

  /** One has come that ends the attempt. */
  get received(): boolean {
    return this.#received !== undefined
  }

  /** Of a command that never began. */
  get exitCode(): number {
    return 128 + constants.signals[this.#received ?? 'SIGTERM']
  }

  /** Calls back as soon as a signal is to end the attempt, also if it has come already. */
  onEnd(callback: () => void): void {
    this.#onEnd = callback
    if (this.received) callback()
  }

  passTo(child: ChildProcess): void {
    this.#child = child
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }

  #take(signal: (typeof PASSED_SIGNALS)[number]): void {
    if (this.#child !== undefined) {
      if (!(TERMINAL_SIGNALS.includes(signal) && ownsTerminal())) this.#child.kill(signal)
      return
    }
    if (!END_SIGNALS.some((one) => one === signal)) return
    this.#received ??= signal
    this.#onEnd?.()
  }
}

/** Our process group is in front on its terminal: what is typed there reaches the command without us (proc(5)). */
function ownsTerminal(): boolean {
  const stat = readFileSync('/proc/self/stat', 'utf8')
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return group !== undefined && group === foreground
}
