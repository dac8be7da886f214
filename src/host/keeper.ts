/**
 * The keeper of a session's host: with `--setuid` it stays privileged, in a process of its own, and does for the session what the
 * session itself has given up the right to do. It outlives the session by as long as it takes to undo everything, however the
 * session ended.
 *
 * Requests come in one order: `open`, `apply`, then changes, `close`. The first two, which name files, a device and maybe a
 * script, are asked for while the session is privileged itself, and are refused a second time. Whatever is not exactly a
 * request ends the conversation as the end of the pipe does: with everything undone.
 * @module
 */
import { IkestreamError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { type KeeperAsk, type KeeperReply, type KeeperResult, parseRequest } from './keeper-protocol.ts'
import type { AppliedConfig, HostSession, HostSettings } from './types.ts'

export interface KeeperEnvironment {
  readonly send: (reply: KeeperReply) => void
  /** @param pid the process that says it is the session. @throws when it is not, or the journal cannot be opened */
  readonly open: (settings: HostSettings, pid: number, log: Logger) => Promise<HostSession>
}

type Phase = 'new' | 'opened' | 'configured' | 'over'

const NOTHING: KeeperResult = { conflicts: [], dnsMode: null, moved: [] }

export class Keeper {
  /** Resolves when everything is undone that can be, and nothing more will be done. */
  readonly ended: Promise<void>
  readonly #environment: KeeperEnvironment
  readonly #log: Logger
  #phase: Phase = 'new'
  #host: HostSession | undefined
  #applied: AppliedConfig | undefined
  #queue: Promise<void> = Promise.resolve()
  #resolveEnded: () => void = () => undefined

  constructor(environment: KeeperEnvironment) {
    this.#environment = environment
    this.#log = sendingLogger(environment.send)
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
  }

  /** A line that the session has sent. */
  receive(line: string): void {
    if (this.#phase === 'over') return
    const request = parseRequest(line)
    const next = request === undefined ? undefined : nextPhase(this.#phase, request.ask)
    if (request === undefined || next === undefined) {
      this.#log.log('error', 'the session asked for something that the keeper of its host does not do')
      this.end()
      return
    }
    const { id, ask } = request
    this.#phase = next
    this.#queue = this.#queue.then(async () => {
      const { send } = this.#environment
      send(
        await this.#do(ask).then(
          (result) => ({ type: 'done', id, result }) as const,
          (error) => failed(id, error)
        )
      )
      if (ask.op === 'close') this.#resolveEnded()
    })
  }

  /** The session is gone, or ought to be. */
  end(): void {
    if (this.#phase === 'over') return
    this.#phase = 'over'
    this.#queue = this.#queue.then(async () => {
      await this.#host?.close().catch((error) => this.#log.log('error', String(error)))
      this.#resolveEnded()
    })
  }

  async #do(ask: KeeperAsk): Promise<KeeperResult> {
    switch (ask.op) {
      case 'open':
        this.#host = await this.#environment.open(ask.settings, ask.pid, this.#log)
        break
      case 'apply':
        this.#applied = await this.#host?.apply(ask.config)
        return { ...NOTHING, conflicts: [...(this.#applied?.conflicts ?? [])], dnsMode: this.#dnsMode }
      case 'reconfigure': {
        const conflicts = [...((await this.#applied?.reconfigure(ask.network)) ?? [])]
        return { ...NOTHING, conflicts, dnsMode: this.#dnsMode }
      }
      case 'update-pinned':
        await this.#applied?.updatePinned(ask.addresses)
        break
      case 'repin':
        return { ...NOTHING, moved: [...((await this.#applied?.repin()) ?? [])] }
      case 'set-mtu':
        await this.#applied?.setMtu(ask.mtu)
        break
      case 'undo':
        await this.#applied?.undo()
        break
      case 'close':
        await this.#host?.close()
    }
    return NOTHING
  }

  get #dnsMode(): KeeperResult['dnsMode'] {
    return this.#applied?.dnsMode ?? null
  }
}

/** The only order in which requests make sense; undefined for any other. */
function nextPhase(phase: Phase, { op }: KeeperAsk): Phase | undefined {
  if (op === 'open') return phase === 'new' ? 'opened' : undefined
  if (phase === 'new') return undefined
  if (op === 'close') return 'over'
  if (op === 'apply') return phase === 'opened' ? 'configured' : undefined
  return phase === 'configured' ? phase : undefined
}

function failed(id: number, error: unknown): KeeperReply {
  const message = error instanceof Error ? error.message : String(error)
  if (!(error instanceof IkestreamError))
    return { type: 'failed', id, family: 'InternalError', code: 'keeper', message }
  const { name: family, code, hint } = error
  return { type: 'failed', id, family, code, message, ...(hint === undefined ? {} : { hint }) }
}

/** What the keeper does stands in the session's own log. */
function sendingLogger(send: KeeperEnvironment['send']): Logger {
  const logger: Logger = {
    log: (level, message, fields) =>
      send({ type: 'log', level, message, ...(fields === undefined ? {} : { fields }) }),
    child: () => logger
  }
  return logger
}
