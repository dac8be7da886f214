/**
 * Many IKE_SA_INIT questions, one after the other, over a way to the gateway that is known to work; slowly enough for any
 * gateway, and over a new connection where it closes behind an error.
 * @module
 */
import type { TransportOpener } from '../client/open-transport.ts'
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { BestPath } from '../diagnosis/verdict.ts'
import { openProbeSocket } from '../transport/probe-socket.ts'
import type { Transport } from '../transport/types.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { Bell } from './bell.ts'
import { type InitAnswer, InitProbe, type InitQuestion } from './init-probe.ts'
import { UdpAsker } from './udp-asker.ts'

/** Between two questions: 25 a second, which no gateway takes for a flood. */
const PAUSE_MS = 40
/** A question is sent so often on UDP, and given up after the last of these pauses. */
const RETRANSMIT_MS: readonly number[] = [400, 800]
const STREAM_ANSWER_MS = 2_000
const CLOSE_GRACE_MS = 200

export type Question = Omit<InitQuestion, 'remote'>

export interface InitAskerOptions {
  readonly clock: Clock
  readonly random: RandomSource
  readonly signal: AbortSignal
  readonly opener: TransportOpener
  readonly openTimeoutMs: number
}

/** Sends one message and resolves with the first answer to it, or undefined. */
interface Way {
  ask(probe: InitProbe): Promise<InitAnswer | undefined>
  readonly remote: Endpoint
  /** Of no use any more. */
  readonly closed: boolean
  close(): void
}

export class InitAsker {
  readonly #path: BestPath
  readonly #options: InitAskerOptions
  #way: Way | undefined
  #asked = 0

  constructor(path: BestPath, options: InitAskerOptions) {
    this.#path = path
    this.#options = options
  }

  /** How many questions were sent. */
  get asked(): number {
    return this.#asked
  }

  /** @returns undefined when nobody answers, or time is up */
  async ask(question: Question): Promise<InitAnswer | undefined> {
    const { clock, random, signal } = this.#options
    if (signal.aborted) return undefined
    if (this.#asked > 0) await pause(clock, signal)
    const way = await this.#open()
    if (way === undefined) return undefined
    this.#asked++
    const answer = await way.ask(new InitProbe({ ...question, remote: way.remote }, random))
    if (way.closed) this.close()
    return answer
  }

  close(): void {
    this.#way?.close()
    this.#way = undefined
  }

  async #open(): Promise<Way | undefined> {
    const { transport, address, port } = this.#path
    const { opener, signal, openTimeoutMs } = this.#options
    try {
      if (this.#way !== undefined) return this.#way
      if (transport === 'udp') {
        const socket = await openProbeSocket({ remote: { address, port } })
        this.#way = new UdpWay(new UdpAsker(socket, true), this.#options)
        return this.#way
      }
      const opened = await opener.open({ kind: transport, address }, signal, openTimeoutMs)
      if ('transport' in opened) this.#way = new StreamWay(opened.transport, this.#options)
      return this.#way
    } catch {
      return undefined
    }
  }
}

async function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  const until = clock.now() + PAUSE_MS
  const bell = new Bell(clock, signal)
  while (clock.now() < until && !signal.aborted) await bell.wait(until)
}

class UdpWay implements Way {
  readonly closed = false
  readonly #asker: UdpAsker
  readonly #options: InitAskerOptions

  constructor(asker: UdpAsker, options: InitAskerOptions) {
    this.#asker = asker
    this.#options = options
  }

  get remote(): Endpoint {
    return this.#asker.socket.remote
  }

  async ask(probe: InitProbe): Promise<InitAnswer | undefined> {
    const { clock, signal } = this.#options
    const bell = new Bell(clock, signal)
    let answer: InitAnswer | undefined
    this.#asker.listen(probe, (outcome) => {
      if (outcome.type === 'again') {
        this.#asker.send(probe)
        return
      }
      answer = outcome.answer
      bell.ring()
    })
    for (const patience of RETRANSMIT_MS) {
      this.#asker.send(probe)
      const until = clock.now() + patience
      while (answer === undefined && clock.now() < until && !signal.aborted) await bell.wait(until)
      if (answer !== undefined || signal.aborted) break
    }
    this.#asker.forget(probe)
    return answer
  }

  close(): void {
    this.#asker.close()
  }
}

class StreamWay implements Way {
  closed = false
  readonly #transport: Transport
  readonly #options: InitAskerOptions
  readonly #bell: Bell
  #probe: InitProbe | undefined
  #answer: InitAnswer | undefined

  constructor(transport: Transport, options: InitAskerOptions) {
    this.#transport = transport
    this.#options = options
    this.#bell = new Bell(options.clock, options.signal)
    transport.setHandlers({
      onIke: (message) => {
        const probe = this.#probe
        const outcome = probe?.receive(message)
        if (probe === undefined || outcome === undefined || outcome.type === 'ignored') return
        if (outcome.type === 'again') {
          transport.sendIke(probe.message, transport.path)
          return
        }
        this.#answer = outcome.answer
        this.#bell.ring()
      },
      onClose: () => {
        this.closed = true
        this.#bell.ring()
      },
      onEsp() {},
      onEspBatchEnd() {},
      onWritable() {}
    })
  }

  get remote(): Endpoint {
    return this.#transport.path.remote
  }

  async ask(probe: InitProbe): Promise<InitAnswer | undefined> {
    const { clock, signal } = this.#options
    this.#probe = probe
    this.#answer = undefined
    this.#transport.sendIke(probe.message, this.#transport.path)
    const until = clock.now() + STREAM_ANSWER_MS
    while (this.#answer === undefined && !this.closed && clock.now() < until && !signal.aborted)
      await this.#bell.wait(until)
    return this.#answer
  }

  close(): void {
    this.closed = true
    void this.#transport.close(CLOSE_GRACE_MS)
  }
}
