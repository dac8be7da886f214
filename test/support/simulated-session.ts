/**
 * A whole seeded session of two ends on a virtual network: random rekeyings, deletes, liveness checks and path moves
 * from both sides, with the invariants that must hold at every moment and at the end.
 * @module
 */
import { parseProposals } from '../../src/crypto/proposal.ts'
import type { ChildSaParameters } from '../../src/esp/types.ts'
import type { IkeTimers } from '../../src/ike/types.ts'
import type { Path } from '../../src/wire/endpoint.ts'
import { arePaired, End, initiatorConfig, pathPair, responderConfig } from './ike-pair.ts'
import { SeededRandom } from './seeded-random.ts'
import { areAtRest, disagreementAtRest } from './session-checks.ts'
import { type NetworkQuality, VirtualNetwork } from './virtual-network.ts'

export interface SimulationOptions {
  readonly seed: number
  readonly quality: NetworkQuality
  /** Random actions, and the time between them at most. */
  readonly actions: number
  readonly maxPauseMs: number
  readonly moves: boolean
  readonly pfs: boolean
  readonly timers?: Partial<IkeTimers>
}

/** More events than this in one stretch of time mean that something goes round in circles. */
const MAX_STEPS = 5_000

const ESP = parseProposals(['aes256gcm16-noesn'], 'esp')
const ESP_PFS = parseProposals(['aes256gcm16-x25519-noesn'], 'esp')
const IKE = parseProposals(['aes128gcm16-prfsha256-x25519'], 'ike')

export class Simulation {
  readonly client: End
  readonly gateway: End
  readonly network: VirtualNetwork
  readonly random: SeededRandom
  readonly #options: SimulationOptions
  /** Every Child SA that was ever made, by the SPIs of both directions. */
  readonly #made = new Map<string, ChildSaParameters>()
  readonly #seen = new Set<ChildSaParameters>()
  #path: { client: Path; gateway: Path }

  constructor(options: SimulationOptions) {
    this.#options = options
    this.random = new SeededRandom(options.seed)
    this.network = new VirtualNetwork(this.random, options.quality)
    const espProposals = options.pfs ? ESP_PFS : ESP
    const base = initiatorConfig()
    const timers = { ...base.timers, ...options.timers }
    const common = { ikeProposals: IKE, espProposals, timers }
    this.client = new End(initiatorConfig(common), options.seed * 2 + 1)
    this.gateway = new End(responderConfig(common), options.seed * 2 + 2)
    this.#path = pathPair('udp')
    this.network.join(this.client, this.#path.client, this.gateway, this.#path.gateway)
  }

  /** Connects, acts, comes to rest. @returns undefined when all is well, else what is wrong */
  run(): string | undefined {
    this.client.session.connect(this.network.now, this.#path.client)
    this.runFor(90_000, () => this.client.of('established').length > 0)
    if (this.client.of('established').length === 0) return this.#problem('not established')
    for (let action = 0; action < this.#options.actions; action++) {
      this.#act()
      this.runFor(this.random.fraction() * this.#options.maxPauseMs)
      const problem = this.#check()
      if (problem !== undefined) return this.#problem(problem)
    }
    // Quiet: losses stop, and everything that was begun comes to its end.
    this.network.quality = { ...this.#options.quality, loss: 0, duplication: 0 }
    this.runFor(200_000)
    // Liveness checks and rekeyings go on for ever: look at a moment between them.
    this.runFor(
      120_000,
      () => this.network.nextArrival() === undefined && areAtRest(this.client, this.gateway)
    )
    const problem = this.#check() ?? disagreementAtRest(this.client, this.gateway)
    return problem === undefined ? undefined : this.#problem(problem)
  }

  runFor(durationMs: number, isDone: () => boolean = () => false): void {
    const { network } = this
    const until = network.now + durationMs
    for (let steps = 0; ; steps++) {
      if (steps > MAX_STEPS) throw new Error(`seed ${this.#options.seed}: the two ends do not come to rest`)
      this.#drain()
      if (isDone()) return
      const next = Math.min(
        network.nextArrival() ?? Number.POSITIVE_INFINITY,
        this.client.session.nextTimeout() ?? Number.POSITIVE_INFINITY,
        this.gateway.session.nextTimeout() ?? Number.POSITIVE_INFINITY
      )
      if (next > until) break
      network.now = Math.max(network.now, next)
      network.deliverDue()
      this.client.session.timeout(network.now)
      this.gateway.session.timeout(network.now)
    }
    network.now = until
  }

  #drain(): void {
    for (const end of [this.client, this.gateway]) {
      end.drain()
      this.network.collect(end)
    }
  }

  #act(): void {
    const end = this.random.integer(2) === 0 ? this.client : this.gateway
    const both = this.random.integer(3) === 0
    const { now } = this.network
    const kind = this.random.integer(this.#options.moves ? 12 : 10)
    const apply = (target: End) => this.#apply(target, kind, now)
    apply(end)
    // Collisions are what this is about: often both ends do the same at the same time.
    if (both) apply(end === this.client ? this.gateway : this.client)
    this.#drain()
  }

  #apply(end: End, kind: number, now: number): void {
    const { session, children, sendingOn } = end
    const spis = [...sendingOn.values()]
    const spi = spis[this.random.integer(Math.max(1, spis.length))]
    if (kind < 4 && spi !== undefined) session.rekeyChild(now, spi)
    else if (kind < 6) session.rekeyIke(now)
    else if (kind === 6) session.checkLiveness(now)
    else if (kind === 7 && children.size < 6) {
      const [child] = children.values()
      if (child !== undefined) session.createChild(now, child.localTs, child.remoteTs)
    } else if (kind === 8 && sendingOn.size > 1 && spi !== undefined) session.deleteChild(now, spi)
    else if (kind === 9) session.noteTraffic(now, { sent: true })
    else if (kind > 9) this.#move(now)
  }

  /** The client roams: to another UDP path, or to a stream; the old one dies. */
  #move(now: number): void {
    const old = this.#path
    const transport = this.random.integer(2) === 0 ? 'udp' : 'tcp'
    this.#path = pathPair(transport, { address: '198.51.100.9', port: 1024 + this.random.integer(60_000) })
    this.network.join(this.client, this.#path.client, this.gateway, this.#path.gateway)
    this.network.cut(old.client, old.gateway)
    this.client.session.pathLost(now, old.client)
    if (old.gateway.reliable) this.gateway.session.pathLost(now, old.gateway)
    this.client.session.movePath(now, this.#path.client)
  }

  /** What must hold at every moment. */
  #check(): string | undefined {
    for (const end of [this.client, this.gateway]) {
      if (end.of('closed').length > 0) {
        const [closed] = end.of('closed')
        return `closed: ${closed?.reason} ${closed?.error?.message ?? ''}`
      }
      for (const child of end.children.values()) {
        if (this.#seen.has(child)) continue
        this.#seen.add(child)
        const key = [child.inbound.spi, child.outbound.spi].sort().join('/')
        const other = this.#made.get(key)
        if (other === undefined) this.#made.set(key, child)
        else if (!arePaired(child, other)) return `the two ends disagree on the keys of ${key}`
      }
    }
    return undefined
  }

  #problem(text: string): string {
    return `seed ${this.#options.seed}: ${text}`
  }
}
