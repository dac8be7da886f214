/**
 * While the session runs on a stream, UDP is tried now and then, and taken back when it works (RFC 9329 section 7.1).
 *
 * First a probe that does not touch the session, then the move itself; a move that is not answered is taken back at once,
 * since the stream still works.
 * @module
 */
import type { Transport } from '../transport/types.ts'
import { Backoff } from './backoff.ts'
import { OPEN_TIMEOUT_MS } from './connector.ts'
import type { IncidentQueue } from './incidents.ts'
import type { Link } from './link.ts'
import type { LinkKeeper } from './link-keeper.ts'
import type { Candidate } from './openings.ts'
import type { ConnectOptions } from './options.ts'
import type { Move } from './path-mover.ts'
import type { SessionEnvironment } from './session-environment.ts'
import { probeUdp } from './udp-probe.ts'

export class UdpReturn {
  readonly #options: ConnectOptions
  readonly #environment: SessionEnvironment
  readonly #incidents: IncidentQueue
  readonly #keeper: LinkKeeper
  readonly #signal: AbortSignal
  readonly #backoff: Backoff
  #timer: { cancel(): void } | undefined

  constructor(
    options: ConnectOptions,
    environment: SessionEnvironment,
    incidents: IncidentQueue,
    keeper: LinkKeeper,
    signal: AbortSignal
  ) {
    this.#options = options
    this.#environment = environment
    this.#incidents = incidents
    this.#keeper = keeper
    this.#signal = signal
    const { udpProbeFirstMs, udpProbeMaxMs } = options.timings
    this.#backoff = new Backoff(udpProbeFirstMs, udpProbeMaxMs, environment.chance)
  }

  /** A path is in use: a `probe-udp` incident comes later if UDP would be better. */
  schedule(link: Link): void {
    this.stop()
    if (!this.#wouldBeBetter(link) || this.#options.timings.udpProbeFirstMs <= 0) return
    this.#timer = this.#environment.clock.setTimer(this.#backoff.next(), () =>
      this.#incidents.push({ kind: 'probe-udp' })
    )
  }

  /** UDP carries ESP, or the network is another one. */
  trust(): void {
    this.#backoff.reset()
  }

  /** UDP answers IKE but carries no ESP: a probe will not notice, so the next one is as far off as it gets. */
  distrust(): void {
    this.#backoff.exhaust()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** @returns the move to UDP that the peer has answered, or undefined: nothing changed */
  async attempt(link: Link, candidate: Candidate | undefined): Promise<Move | undefined> {
    if (candidate === undefined || !this.#wouldBeBetter(link)) return undefined
    const transport = await this.#openAndProbe(candidate)
    if (transport === undefined || this.#signal.aborted) {
      void transport?.close(0)
      return undefined
    }
    const stream = link.transport
    const move = await this.#keeper.move(link, [candidate], this.#signal, async () => ({ transport }))
    if (move !== undefined) return move
    // The engine still has its request out on the path that did not answer: back to the stream, which works. If it
    // does not, it is closed, and that is an incident of its own.
    const back = await this.#keeper.move(link, [link.candidate], this.#signal, async () => ({
      transport: stream
    }))
    if (back === undefined && !this.#signal.aborted) void stream.close(0)
    return undefined
  }

  #wouldBeBetter(link: Link): boolean {
    const { order } = this.#options
    const udp = order.indexOf('udp')
    return udp >= 0 && udp < order.indexOf(link.candidate.kind)
  }

  async #openAndProbe(candidate: Candidate): Promise<Transport | undefined> {
    const { clock, log, factory, open } = this.#environment
    const opened = await open(candidate, this.#signal, OPEN_TIMEOUT_MS)
    if (!('transport' in opened)) return undefined
    const { transport } = opened
    const { udpProbeAnswerMs } = this.#options.timings
    if (await probeUdp(transport, factory.make([]), clock, log, udpProbeAnswerMs)) return transport
    void transport.close(0)
    return undefined
  }
}
