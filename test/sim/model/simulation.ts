/**
 * One session of a seed, from its first packet to what it leaves behind: it comes up, meets its faults, has to come back when they are
 * over, agrees with the other end, and ends.
 * @module
 */
import type { VpnSession } from '../../../src/client/session.ts'
import { AuthenticationError } from '../../../src/errors.ts'
import { Attacker } from './attacker.ts'
import { Auditor } from './auditor.ts'
import { ClientMachine } from './client-machine.ts'
import type { FaultCounts } from './faults.ts'
import { GatewayMachine } from './gateway-machine.ts'
import { InnerTraffic } from './inner-traffic.ts'
import { Network } from './network.ts'
import { type Plan, type Profile, planOf } from './plan.ts'
import { Trouble } from './trouble.ts'
import { ORPHAN_MS, Watch } from './watch.ts'
import { World } from './world.ts'

/** On a network without faults: the ladder, IKE_SA_INIT, IKE_AUTH, and the first question answered. */
const UP_MS = 5_000
/**
 * From the end of the last fault to the first answer. The longest way: IKE_AUTH has to fail on a stream that is half-open, where there is
 * nothing else to try (60 s, `DEFAULT_TIMERS`); a climb that has failed is tried again after 30 s at most; the ladder takes up to 5 s.
 */
const BACK_MS = 100_000
/** After that, time for exchanges that were put off, and for whatever was left in doubt. */
const REST_MS = 240_000
/** A clean end: DELETE and its answer. */
const END_MS = 10_000
const LOOK_MS = 1_000
const COMPARE_MS = 17
/** Packets that were overtaken are there by then. */
const LATE_MS = 1_500
export interface Outcome {
  readonly seed: number
  readonly profile: Profile
  /** Undefined: all was well. */
  readonly problem: string | undefined
  readonly invariant: string | undefined
  readonly faults: FaultCounts
  readonly simulatedMs: number
  readonly steps: number
  readonly sessions: number
  readonly packets: number
  /** From the end of the faults to the first answer. */
  readonly backAfterMs: number | undefined
  /** Of everything that happened. */
  readonly hash: string
  readonly last: readonly string[]
}

export interface SimulationOptions {
  readonly seed: number
  readonly profile?: Profile | undefined
  readonly onLine?: ((line: string) => void) | undefined
  /** Breaks the code under test, to show that an invariant notices. */
  readonly sabotage?: ((simulation: Simulation) => void) | undefined
}

export class Simulation {
  readonly world: World
  readonly network: Network
  readonly auditor: Auditor
  readonly gateway: GatewayMachine
  readonly traffic: InnerTraffic
  readonly plan: Plan
  readonly trouble: Trouble
  readonly #options: SimulationOptions
  readonly #watch: Watch
  #client: ClientMachine | undefined
  #clients = 0
  #isStriking = false
  #isRestarting = false
  #isTalking = true
  #backAfterMs: number | undefined
  #comparedAt = 0

  constructor(options: SimulationOptions) {
    this.#options = options
    this.world = new World(options.seed)
    if (options.onLine !== undefined) this.world.trace.onLine = options.onLine
    this.plan = planOf(this.world, options.profile)
    this.network = new Network(this.world)
    this.network.nat.idleMs = this.plan.natIdleMs
    this.auditor = new Auditor(this.world)
    this.gateway = new GatewayMachine(
      this.world,
      this.network,
      this.auditor,
      this.plan.gateway,
      this.plan.isCluster,
      (packet) => this.traffic.atGateway(packet)
    )
    this.network.gateway = this.gateway
    this.traffic = new InnerTraffic(
      this.world,
      () => this.#client?.tun,
      () => this.gateway.tun
    )
    this.#watch = new Watch({
      world: this.world,
      network: this.network,
      auditor: this.auditor,
      gateway: this.gateway,
      client: () => this.client
    })
    this.trouble = new Trouble(this.world, this.plan, {
      network: this.network,
      gateway: this.gateway,
      auditor: this.auditor,
      attacker: new Attacker(this.world, this.network, this.auditor),
      client: () => this.client,
      startClient: () => this.#startClient()
    })
  }

  get client(): ClientMachine {
    if (this.#client === undefined) throw new Error('there is no client yet')
    return this.#client
  }

  async run(): Promise<Outcome> {
    const { seed, sabotage } = this.#options
    try {
      await this.gateway.start()
      await this.#startClient()
      sabotage?.(this)
      this.#look()
      this.#talk()
      await this.#live()
    } catch (error) {
      this.world.broken('engine', error instanceof Error ? (error.stack ?? error.message) : String(error))
    }
    const { world, auditor, traffic } = this
    const { violation } = world
    return {
      seed,
      profile: this.plan.profile,
      problem: violation?.message,
      invariant: violation?.invariant,
      faults: world.faults,
      simulatedMs: world.now,
      steps: world.clock.steps,
      sessions: auditor.sessions.filter(({ side, isEstablished }) => side === 'client' && isEstablished)
        .length,
      packets: traffic.answered + traffic.receivedDown,
      backAfterMs: this.#backAfterMs,
      hash: world.trace.hash,
      last: world.trace.last(violation === undefined ? 0 : 120)
    }
  }

  async #live(): Promise<void> {
    const { world, plan } = this
    if (!(await this.#until(UP_MS, () => this.traffic.answered > 0))) {
      world.broken('comes-up', `no answer within ${UP_MS} ms on a network without faults`)
      return
    }
    this.trouble.begin()
    this.#isStriking = true
    this.#strikeSoon()
    await this.#until(plan.activeMs, () => false)
    this.#isStriking = false
    await this.trouble.calm()
    const calmAt = world.now
    if (!(await this.#until(BACK_MS, () => this.traffic.lastAnswerAt > calmAt + 1))) {
      world.broken('comes-back', `no answer within ${BACK_MS} ms of a network without faults`)
      return
    }
    this.#backAfterMs = world.now - calmAt
    if (!(await this.#until(REST_MS, () => this.#agrees())))
      world.broken('agreement', `${this.#watch.disagreement()} after ${REST_MS} ms without faults`)
    await this.#end()
  }

  async #end(): Promise<void> {
    const { world, client, gateway, network } = this
    this.#isTalking = false
    if (this.plan.profile === 'rekeys') await this.#countLost()
    client.session.stop()
    if (!(await this.#until(END_MS, () => client.state !== 'running')))
      world.broken('ends', `the client had not ended ${END_MS} ms after it was asked to`)
    await this.#until(2_000, () => false)
    const left = {
      timers: client.clock.armed,
      sockets: network.socketCount,
      connections: client.connections.size
    }
    for (const [what, count] of Object.entries(left))
      if (count > 0) world.broken('spis', `the client left ${count} ${what} behind`)
    const isClean = (): boolean => this.#gatewayLeftovers() === ''
    if (!(await this.#until(ORPHAN_MS, isClean)))
      world.broken('spis', `the gateway still has ${this.#gatewayLeftovers()} after ${ORPHAN_MS} ms`)
    gateway.core?.driver.dispose()
  }

  /** Where the network loses no ESP, nothing is lost by anybody. */
  async #countLost(): Promise<void> {
    const { traffic, client, gateway, world } = this
    await this.#until(LATE_MS, () => false)
    const lost = traffic.sent - traffic.answered + traffic.sentDown - traffic.receivedDown
    const dropped = client.tun.dropped + (gateway.tun?.dropped ?? 0)
    if (lost > dropped && !this.auditor.sawExpiry)
      world.broken('no-loss', `${lost} inner packets are missing: ${traffic.missing()}`)
  }

  #gatewayLeftovers(): string {
    const { core } = this.gateway
    if (core === undefined) return 'nothing: it is not there'
    const { responder, carriers, pool, clients } = core
    const left = {
      sessions: responder.sessions.length,
      'half-open sessions': responder.halfOpen,
      streams: carriers.streamCount,
      'UDP sockets': carriers.udpCount,
      leases: pool.leased,
      clients: clients?.size ?? 0
    }
    return Object.entries(left)
      .filter(([, count]) => count > 0)
      .map(([what, count]) => `${count} ${what}`)
      .join(', ')
  }

  #until(limitMs: number, isDone: () => boolean): Promise<boolean> {
    const { world } = this
    return world.clock
      .run(
        limitMs,
        () => world.violation !== undefined || isDone(),
        () => this.#afterStep()
      )
      .then((done) => done || world.violation !== undefined)
  }

  async #startClient(): Promise<void> {
    this.#isRestarting = false
    this.#client = await ClientMachine.start(
      this.world,
      this.network,
      this.gateway,
      this.auditor,
      { ...this.plan.client, order: this.plan.order },
      ++this.#clients,
      (packet) => this.traffic.atClient(packet)
    )
    this.#client.session satisfies VpnSession
  }

  // ---- what goes on meanwhile

  #strikeSoon(): void {
    const { faultEveryMs } = this.plan
    this.world.clock.setTimer(this.world.between(0, 2 * faultEveryMs), () => {
      if (!this.#isStriking) return
      this.trouble.strike()
      this.#strikeSoon()
    })
  }

  #talk(): void {
    const { packetEveryMs, pushes } = this.plan
    this.world.clock.setTimer(this.world.between(0, 2 * packetEveryMs), () => {
      if (!this.#isTalking) return
      const { client } = this
      if (client.clock.isRunning && client.state === 'running') {
        const address = client.tunnel.virtualAddresses.find((one) => !one.includes(':'))
        this.traffic.clientAddress = address
        this.traffic.ask()
      }
      if (pushes) this.traffic.push()
      this.#talk()
    })
  }

  // ---- what must hold

  #afterStep(): void {
    const { client } = this
    const { state, error } = client
    if (state !== 'failed' || this.#isRestarting) return
    if (error instanceof AuthenticationError && !client.hasConnected) {
      // Nobody has vouched for the credentials yet: whoever starts programs starts it again.
      this.#isRestarting = true
      client.kill()
      this.world.clock.setTimer(1_000, () => void this.#startClient())
    } else this.world.broken('comes-back', `the client gave up: ${String(error)}`)
  }

  #look(): void {
    this.world.clock.setTimer(LOOK_MS, () => {
      this.auditor.look()
      this.#watch.look()
      this.#look()
    })
  }

  /** Looks now and then: it takes longer than most events. */
  #agrees(): boolean {
    const { now } = this.world
    if (now - this.#comparedAt < COMPARE_MS) return false
    this.#comparedAt = now
    return this.#watch.disagreement() === undefined
  }
}

export function simulate(options: SimulationOptions): Promise<Outcome> {
  return new Simulation(options).run()
}
