/**
 * A running keeper as its session sees it: requests out, answers and log lines in, and its end.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { AuthenticationError, DataError, type IkestreamError, SystemError, UsageError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { childEnvironment } from './commands.ts'
import {
  type KeeperAsk,
  type KeeperReply,
  type KeeperResult,
  LineReader,
  parseReply
} from './keeper-protocol.ts'
import { packageFile } from './package-file.ts'
import { SCRIPT_TIMEOUT_MS } from './vpnc-script.ts'

/** For a script that takes its time and what comes after it. When nobody waits any more the keeper still goes on. */
const CLOSE_TIMEOUT_MS = SCRIPT_TIMEOUT_MS + 15_000
/** What system tools are found with. */
const KEPT_VARIABLES: readonly string[] = ['PATH', 'HOME', 'LC_ALL', 'TZ', 'DBUS_SYSTEM_BUS_ADDRESS']
/** What `LocalHost` throws. */
const FAMILIES = { SystemError, DataError, UsageError, AuthenticationError } as const

/**
 * Starts the keeper with this process's privileges.
 * @param forScript a vpnc-script gets the whole environment, as it would from the session itself
 */
export function startKeeper(forScript: boolean): ChildProcess {
  const env = Object.entries(childEnvironment()).filter(
    ([name]) => forScript || KEPT_VARIABLES.includes(name)
  )
  return spawn(process.execPath, [packageFile('dist/host/keeper-process.js')], {
    // Its end is known by that of the pipe; a terminal's signals are for the session.
    detached: true,
    env: Object.fromEntries(env),
    stdio: ['pipe', 'pipe', 'inherit']
  })
}

interface Waiting {
  resolve(result: KeeperResult): void
  reject(error: IkestreamError): void
}

export class KeeperChannel {
  readonly #child: ChildProcess
  readonly #log: Logger
  readonly #waiting = new Map<number, Waiting>()
  readonly #gone: Promise<void>
  #isGone = false
  #lastId = 0
  #closing: Promise<void> | undefined

  constructor(child: ChildProcess, options: { readonly log: Logger; readonly onGone: () => void }) {
    this.#child = child
    this.#log = options.log
    const lines = new LineReader((line) => this.#hear(line))
    child.stdout?.on('data', (chunk: Buffer) => lines.push(chunk))
    // What cannot be written any more is noticed by the keeper's end.
    child.stdin?.on('error', () => undefined)
    this.#gone = new Promise((resolve) => {
      const ended = (): void => {
        if (this.#isGone) return
        this.#isGone = true
        for (const { reject } of this.#waiting.values()) reject(keeperGone())
        this.#waiting.clear()
        if (this.#closing === undefined) options.onGone()
        resolve()
      }
      child.once('error', ended)
      // Not `exit`: answers may still be on their way.
      child.once('close', ended)
    })
  }

  /** @throws what the request threw in the keeper; SystemError `keeper-gone` when there is no keeper any more */
  ask(ask: KeeperAsk): Promise<KeeperResult> {
    return new Promise((resolve, reject) => {
      if (this.#isGone) return reject(keeperGone())
      const id = ++this.#lastId
      this.#waiting.set(id, { resolve, reject })
      this.#child.stdin?.write(`${JSON.stringify({ id, ask })}\n`)
    })
  }

  /** Has everything undone, and waits for the keeper's end. May be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const timeout = new AbortController()
    const late = new Promise<never>((_, reject) => {
      const timer = setTimeout(() => reject(keeperLate()), CLOSE_TIMEOUT_MS)
      timeout.signal.addEventListener('abort', () => clearTimeout(timer))
    })
    try {
      await Promise.race([this.ask({ op: 'close' }).finally(() => this.#child.stdin?.end()), late])
      await Promise.race([this.#gone, late])
    } finally {
      timeout.abort()
      this.#child.unref()
      this.#child.stdin?.destroy()
      this.#child.stdout?.destroy()
    }
  }

  #hear(line: string): void {
    const reply = parseReply(line)
    if (reply === undefined) return
    if (reply.type === 'log') {
      this.#log.log(reply.level, reply.message, reply.fields)
      return
    }
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if (reply.type === 'done') waiting?.resolve(reply.result)
    else waiting?.reject(revived(reply))
  }
}

function revived({ family, code, message, hint }: Extract<KeeperReply, { type: 'failed' }>): IkestreamError {
  const known = Object.entries(FAMILIES).find(([name]) => name === family)?.[1] ?? SystemError
  return new known(code, message, { hint })
}

/** Nobody is left who could undo what was done. */
export function keeperGone(): SystemError {
  return new SystemError('keeper-gone', 'The process that keeps the host for this session has ended.', {
    hint: 'Undo what it did with: ikestream cleanup (as root).'
  })
}

function keeperLate(): SystemError {
  return new SystemError(
    'keeper-late',
    `The host was not put back within ${CLOSE_TIMEOUT_MS / 1000} s; its keeper goes on.`,
    { hint: 'See whether it is done with: ikestream cleanup (as root).' }
  )
}
