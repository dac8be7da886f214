/**
 * `ikestream status --watch`: a screen that is drawn anew on a terminal, blocks of lines elsewhere, a JSON document a line
 * with `--json`. Ends with a signal.
 * @module
 */
import type { SessionStatus } from '../client/session-status.ts'
import { noSession, runningSessions, statusDocument } from './sessions.ts'
import { type Rates, statusLines } from './status-text.ts'

const ESCAPE = '\u001b['
const ENTER_SCREEN = `${ESCAPE}?1049h${ESCAPE}?25l`
const LEAVE_SCREEN = `${ESCAPE}?25h${ESCAPE}?1049l`
const HOME = `${ESCAPE}H`
const CLEAR_LINE = `${ESCAPE}K`
const CLEAR_BELOW = `${ESCAPE}J`

export interface WatchOptions {
  readonly json: boolean
  readonly intervalMs: number
}

/** Resolves at SIGINT or SIGTERM. @throws what asking the sessions throws */
export async function watchStatus(name: string | undefined, options: WatchOptions): Promise<void> {
  const stop = new AbortController()
  const onSignal = (): void => stop.abort()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal)
  const screen = !options.json && process.stdout.isTTY === true
  if (screen) process.stdout.write(ENTER_SCREEN)
  try {
    const looks = new Looks(name)
    while (!stop.signal.aborted) {
      const { sessions, lines } = await looks.next()
      if (options.json) process.stdout.write(`${JSON.stringify(statusDocument(sessions))}\n`)
      else process.stdout.write(screen ? frame(lines) : `${lines.join('\n')}\n\n`)
      await pause(options.intervalMs, stop.signal)
    }
  } finally {
    if (screen) process.stdout.write(LEAVE_SCREEN)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal)
  }
}

interface Seen {
  readonly atMs: number
  readonly bytesIn: number
  readonly bytesOut: number
}

/** One look after the other; what happened in between gives the rates. */
class Looks {
  readonly #name: string | undefined
  #before = new Map<string, Seen>()

  constructor(name: string | undefined) {
    this.#name = name
  }

  async next(): Promise<{ readonly sessions: readonly SessionStatus[]; readonly lines: readonly string[] }> {
    const sessions = await runningSessions(this.#name)
    const atMs = Date.now()
    const after = new Map<string, Seen>()
    const blocks = sessions.map((session) => {
      const { bytesIn, bytesOut } = session.traffic
      const key = `${session.name} ${session.startedAt}`
      const seen = { atMs, bytesIn, bytesOut }
      after.set(key, seen)
      return [...statusLines(session, atMs, rates(this.#before.get(key), seen)), '']
    })
    this.#before = after
    const lines = sessions.length === 0 ? [(await noSession(this.#name)).message] : blocks.flat()
    return { sessions, lines }
  }
}

function rates(before: Seen | undefined, now: Seen): Rates | undefined {
  if (before === undefined || now.atMs <= before.atMs) return undefined
  const perSecond = (bytes: number): number => Math.round((bytes * 1000) / (now.atMs - before.atMs))
  return {
    inPerSecond: perSecond(now.bytesIn - before.bytesIn),
    outPerSecond: perSecond(now.bytesOut - before.bytesOut)
  }
}

/** What fits on the screen, drawn over what was there. */
function frame(lines: readonly string[]): string {
  // A terminal may not know its size: then it says 0.
  const rows = process.stdout.rows || 24
  const columns = process.stdout.columns || 80
  const visible = lines.slice(0, Math.max(1, rows - 1)).map((line) => line.slice(0, columns))
  return `${HOME}${visible.map((line) => `${line}${CLEAR_LINE}`).join('\r\n')}${CLEAR_BELOW}`
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve()
      return
    }
    const timer = setTimeout(done, delayMs)
    signal.addEventListener('abort', done, { once: true })
    function done(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
  })
}
