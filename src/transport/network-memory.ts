/**
 * What worked is remembered per network and gateway, so that the next connection there need not climb the ladder
 * (RFC 9329 section 5.1 lets a client skip UDP on a network that is known to block it).
 *
 * Invariants: a hint only: nothing here ever fails a session. One small JSON file, readable by its owner only,
 * replaced as a whole; entries expire and are bounded in number.
 * @module
 */
import { mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  array,
  type InferOutput,
  literal,
  number,
  object,
  optional,
  picklist,
  safeParse,
  string
} from 'valibot'
import { type Logger, silentLogger } from '../log.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import { systemCode } from './failure.ts'

export interface RememberedTransport {
  readonly transport: TransportKind
  readonly address?: string | undefined
}

export interface NetworkMemoryOptions {
  readonly file: string
  readonly log?: Logger | undefined
  /** Milliseconds since 1970. */
  readonly wallClockMs?: (() => number) | undefined
  /** Default 7 days: networks change, and a stale hint costs about a second. */
  readonly timeToLiveMs?: number | undefined
  readonly maxEntries?: number | undefined
}

const DEFAULT_TIME_TO_LIVE_MS = 7 * 24 * 3600 * 1000
const DEFAULT_MAX_ENTRIES = 64

const Entry = object({
  network: string(),
  server: string(),
  transport: picklist(['udp', 'tcp', 'tls']),
  address: optional(string()),
  /** Milliseconds since 1970. */
  at: number()
})
const Contents = object({ schemaVersion: literal(1), entries: array(Entry) })
type Entry = InferOutput<typeof Entry>

/** Name of the file in the state directory. */
export function networkMemoryFile(stateDirectory: string): string {
  return join(stateDirectory, 'networks.json')
}

export class NetworkMemory {
  readonly #file: string
  readonly #log: Logger
  readonly #now: () => number
  readonly #timeToLiveMs: number
  readonly #maxEntries: number
  /** Changes of this process happen one after the other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: NetworkMemoryOptions) {
    this.#file = options.file
    this.#log = options.log ?? silentLogger
    this.#now = options.wallClockMs ?? Date.now
    this.#timeToLiveMs = options.timeToLiveMs ?? DEFAULT_TIME_TO_LIVE_MS
    this.#maxEntries = options.maxEntries ?? DEFAULT_MAX_ENTRIES
  }

  /** @param network what `networkKey` gave */
  async recall(network: string, server: string): Promise<RememberedTransport | undefined> {
    const entry = (await this.#load()).find((e) => e.network === network && e.server === server)
    return entry === undefined ? undefined : { transport: entry.transport, address: entry.address }
  }

  async remember(network: string, server: string, worked: RememberedTransport): Promise<void> {
    const { transport, address } = worked
    const entry: Entry = {
      network,
      server,
      transport,
      at: this.#now(),
      ...(address === undefined ? {} : { address })
    }
    await this.#change((others) => [entry, ...others], network, server)
  }

  async forget(network: string, server: string): Promise<void> {
    await this.#change((others) => others, network, server)
  }

  #change(apply: (others: Entry[]) => Entry[], network: string, server: string): Promise<void> {
    const work = async () => {
      const entries = await this.#load()
      const others = entries.filter((e) => e.network !== network || e.server !== server)
      await this.#store(apply(others).slice(0, this.#maxEntries))
    }
    const done = this.#last.then(work)
    this.#last = done
    return done
  }

  /** Entries that still count, newest first. */
  async #load(): Promise<Entry[]> {
    let text: string
    try {
      text = await readFile(this.#file, 'utf8')
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') this.#complain('cannot be read', error)
      return []
    }
    const result = safeParse(Contents, parseJson(text))
    if (!result.success) {
      this.#complain('is damaged and will be replaced', undefined)
      return []
    }
    const now = this.#now()
    return result.output.entries
      .filter((entry) => entry.at <= now && now - entry.at < this.#timeToLiveMs)
      .sort((a, b) => b.at - a.at)
  }

  async #store(entries: readonly Entry[]): Promise<void> {
    const temporary = `${this.#file}.${process.pid}`
    try {
      await mkdir(dirname(this.#file), { recursive: true, mode: 0o700 })
      await writeFile(temporary, JSON.stringify({ schemaVersion: 1, entries }), { mode: 0o600 })
      await rename(temporary, this.#file)
    } catch (error) {
      this.#complain('cannot be written', error)
      await unlink(temporary).catch(() => undefined)
    }
  }

  #complain(what: string, error: unknown): void {
    this.#log.log('warn', `The memory of networks ${what}`, { file: this.#file, reason: systemCode(error) })
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
