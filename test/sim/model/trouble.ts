/**
 * The faults that befall a session: each begins, is counted, and most end again.
 * @module
 */
import type { Attacker } from './attacker.ts'
import type { Auditor } from './auditor.ts'
import type { ClientMachine } from './client-machine.ts'
import type { GatewayMachine } from './gateway-machine.ts'
import { FAIR, type Filter, LANES, type Network, type Weather } from './network.ts'
import type { Plan, Profile } from './plan.ts'
import type { World } from './world.ts'

/** Who can be hit. */
export interface Victims {
  readonly network: Network
  readonly gateway: GatewayMachine
  readonly auditor: Auditor
  readonly attacker: Attacker
  client(): ClientMachine
  /** Another process takes the place of the one that was killed. */
  startClient(): Promise<void>
}

type Deed =
  | 'weather'
  | 'black-hole'
  | 'nat'
  | 'other-network'
  | 'cut-off'
  | 'stream-broken'
  | 'stream-stuck'
  | 'stream-corrupted'
  | 'sleep'
  | 'pause'
  | 'gateway-restart'
  | 'gateway-crash'
  | 'fail-over'
  | 'client-kill'
  | 'rekey-child'
  | 'rekey-ike'
  | 'delete-child'
  | 'liveness'
  | 'reconnect'
  | 'attack'

const ATTACKS: readonly Deed[] = Array.from({ length: 8 }, () => 'attack')
const REKEYS: readonly Deed[] = ['rekey-child', 'rekey-child', 'rekey-ike', 'liveness']
const DEEDS: Readonly<Record<Exclude<Profile, 'mixed'>, readonly Deed[]>> = {
  rekeys: REKEYS,
  lossy: ['weather', 'weather', ...REKEYS],
  filters: ['black-hole', 'black-hole', 'weather', 'reconnect', ...REKEYS],
  roaming: ['other-network', 'cut-off', 'nat', 'sleep', 'pause', 'weather', 'rekey-child', 'rekey-ike'],
  streams: ['stream-broken', 'stream-broken', 'stream-stuck', 'stream-corrupted', 'weather', ...REKEYS],
  crashes: ['gateway-restart', 'gateway-crash', 'client-kill', 'delete-child', 'weather', ...REKEYS],
  hostile: [...ATTACKS, 'weather', 'nat', 'other-network', 'gateway-restart', ...REKEYS],
  cluster: ['fail-over', 'fail-over', 'weather', 'stream-broken', ...REKEYS]
}

export class Trouble {
  readonly #world: World
  readonly #victims: Victims
  readonly #deeds: readonly Deed[]
  readonly #usual: Weather
  /** How to end what has not ended by itself. */
  readonly #ends = new Set<() => void | Promise<void>>()
  #publicHost = 7
  #privateHost = 2

  constructor(world: World, plan: Plan, victims: Victims) {
    this.#world = world
    this.#victims = victims
    this.#usual = plan.weather
    const { profile, isCluster } = plan
    const all = profile === 'mixed' ? [...new Set(Object.values(DEEDS).flat())] : DEEDS[profile]
    this.#deeds = all.filter((deed) => isCluster || deed !== 'fail-over')
  }

  /** From now on the network is as bad as it usually is. */
  begin(): void {
    this.#victims.network.weather = this.#usual
  }

  /** One more fault. */
  strike(): void {
    const deed = this.#deeds[this.#world.random.integer(this.#deeds.length)]
    if (deed === undefined) return
    this.#world.note('deed', deed)
    const act = this.#acts[deed]
    if (act === undefined) this.#exchange(deed)
    else act()
  }

  /** Everything is as it should be again. */
  async calm(): Promise<void> {
    for (const end of [...this.#ends]) await end()
    this.#ends.clear()
    const { network } = this.#victims
    network.weather = FAIR
    network.filters.clear()
    for (const { stalledUntil } of this.#victims.client().connections)
      stalledUntil.client = stalledUntil.gateway = 0
    this.#world.note('calm')
  }

  readonly #acts: Partial<Readonly<Record<Deed, () => void>>> = {
    weather: () => this.#badWeather(),
    'black-hole': () => this.#blackHole(),
    nat: () => this.#rebind(),
    'other-network': () => this.#changeNetwork(),
    'cut-off': () => this.#cutOff(),
    'stream-broken': () => this.#breakStreams(),
    'stream-stuck': () => this.#stickStreams(),
    'stream-corrupted': () => this.#corruptStreams(),
    sleep: () => this.#stopClient(true),
    pause: () => this.#stopClient(false),
    'gateway-restart': () => this.#hitGateway('gateway-restart'),
    'gateway-crash': () => this.#hitGateway('gateway-crash'),
    'fail-over': () => this.#hitGateway('fail-over'),
    'client-kill': () => this.#killClient(),
    attack: () => this.#victims.attacker.strike(),
    reconnect: () => this.#tell(({ session }) => session.reconnect())
  }

  /** @param end is called after the time, or when everything is to be calm */
  #for(durationMs: number, end: () => void | Promise<void>): void {
    const once = (): void | Promise<void> => {
      if (!this.#ends.delete(once)) return undefined
      timer.cancel()
      return end()
    }
    const timer = this.#world.clock.setTimer(durationMs, () => void once())
    this.#ends.add(once)
  }

  #badWeather(): void {
    const world = this.#world
    const { network } = this.#victims
    const isWild = world.chance(0.3)
    network.weather = {
      delayMs: world.between(1, isWild ? 300 : 60),
      jitterMs: world.between(0, isWild ? 150 : 20),
      loss: world.between(0, isWild ? 0.4 : 0.15),
      ikeLoss: 0,
      duplication: world.between(0, 0.2),
      reordering: world.between(0, 0.2),
      corruption: world.between(0, 0.05)
    }
    this.#for(world.between(2_000, 15_000), () => {
      network.weather = this.#usual
    })
  }

  #blackHole(): void {
    const world = this.#world
    const { filters } = this.#victims.network
    const filter: Filter = world.chance(0.25) ? 'refuse' : 'swallow'
    const lanes = LANES.filter(() => world.chance(0.45))
    for (const lane of lanes) filters.set(lane, filter)
    if (lanes.length > 0) world.fault('black-hole', `${filter} ${lanes.join(' ')}`)
    this.#for(world.between(500, 20_000), () => {
      for (const lane of lanes) filters.delete(lane)
    })
  }

  /** Flows of TCP do not survive it either. */
  #rebind(): void {
    const world = this.#world
    const { network } = this.#victims
    if (network.nat.forgetAll() > 0) world.fault('nat-rebound')
    if (world.chance(0.4)) network.nat.publicAddress = `198.51.100.${++this.#publicHost}`
    this.#loseStreams()
  }

  #loseStreams(): void {
    for (const connection of this.#victims.client().connections) {
      if (this.#world.chance(0.5)) {
        this.#world.fault('stream-half-open')
        connection.isHalfOpen = true
      } else {
        this.#world.fault('stream-reset')
        connection.reset()
      }
    }
  }

  #changeNetwork(): void {
    const { network } = this.#victims
    this.#world.fault('network-changed')
    network.clientAddress = `192.168.${this.#world.random.integer(200)}.${++this.#privateHost}`
    network.nat.forgetAll()
    network.nat.publicAddress = `198.51.100.${++this.#publicHost}`
    this.#tellNetworkChanged()
  }

  #cutOff(): void {
    const world = this.#world
    const { network } = this.#victims
    if (network.clientAddress === undefined) return
    const before = network.clientAddress
    world.fault('cut-off')
    network.clientAddress = undefined
    this.#tellNetworkChanged()
    this.#for(world.between(500, 20_000), () => {
      if (world.chance(0.5)) this.#changeNetwork()
      else network.clientAddress = before
      this.#tellNetworkChanged()
    })
  }

  /** Route events come as a burst, and are told within 50 ms. */
  #tellNetworkChanged(): void {
    this.#world.clock.setTimer(this.#world.between(1, 50), () => {
      this.#tell(({ session }) => session.networkChanged())
    })
  }

  #tell(what: (client: ClientMachine) => void): void {
    const client = this.#victims.client()
    client.deliver(() => what(client))
  }

  #breakStreams(): void {
    const world = this.#world
    for (const connection of this.#victims.client().connections) {
      switch (world.random.integer(4)) {
        case 0:
          world.fault('stream-half-open')
          connection.isHalfOpen = true
          break
        case 1:
          world.fault('stream-ended')
          connection.gateway.destroy()
          break
        default:
          world.fault('stream-reset')
          connection.reset()
      }
    }
  }

  #stickStreams(): void {
    const world = this.#world
    for (const connection of this.#victims.client().connections) {
      const side = world.chance(0.5) ? 'client' : 'gateway'
      world.fault('zero-window', side)
      connection.stalledUntil[side] = world.now + world.between(500, 15_000)
    }
  }

  #corruptStreams(): void {
    for (const connection of this.#victims.client().connections)
      connection.corrupts[this.#world.chance(0.5) ? 'client' : 'gateway'] = true
  }

  #stopClient(isAsleep: boolean): void {
    const world = this.#world
    const { network } = this.#victims
    const client = this.#victims.client()
    if (!client.clock.isRunning) return
    const durationMs = world.between(1_000, 30_000)
    world.fault(isAsleep ? 'machine-slept' : 'process-paused', Math.round(durationMs))
    const stoppedAt = world.now
    client.clock.stop()
    network.isClientOff = isAsleep
    this.#for(durationMs, () => {
      network.isClientOff = false
      client.goOn(world.now - stoppedAt, isAsleep)
    })
  }

  #hitGateway(how: 'gateway-restart' | 'gateway-crash' | 'fail-over'): void {
    const world = this.#world
    const { gateway } = this.#victims
    if (gateway.isServing !== true) return
    if (how === 'gateway-restart') {
      world.fault('gateway-restarted')
      gateway.stopProcess()
      this.#for(world.between(100, 8_000), () => gateway.restart())
    } else if (how === 'gateway-crash') {
      world.fault('gateway-crashed')
      gateway.crash()
      this.#for(world.between(1_000, 15_000), () => gateway.restart())
    } else {
      world.fault('gateway-failed-over')
      gateway.crash()
      this.#for(world.between(100, 900), () => gateway.takeOver())
    }
  }

  #killClient(): void {
    const { startClient } = this.#victims
    const client = this.#victims.client()
    if (client.state !== 'running') return
    this.#world.fault('client-killed')
    client.kill()
    this.#for(this.#world.between(200, 6_000), () => startClient())
  }

  /** Something that the engines do themselves, from one end or from both at once. */
  #exchange(deed: Deed): void {
    const world = this.#world
    const sides = world.pick<readonly ('client' | 'gateway')[]>([
      ['client'],
      ['gateway'],
      ['client', 'gateway']
    ])
    let begun = 0
    for (const side of sides) {
      if (side === 'client') {
        const driver = this.#victims.client().session.link?.driver
        if (!this.#victims.client().clock.isRunning) continue
        driver?.input((session, now) => {
          begun += apply(session, now, deed)
        })
        continue
      }
      const { core } = this.#victims.gateway
      for (const session of core?.driver.sessions ?? [])
        core?.driver.input(session, (one, now) => {
          begun += apply(one, now, deed)
        })
    }
    if (begun > 1 && deed.startsWith('rekey')) world.fault('rekey-collision', deed)
    if (begun === 0 || deed !== 'delete-child') return
    world.fault('child-deleted')
    this.#victims.auditor.excusedAt = world.now
  }
}

type Session = NonNullable<ClientMachine['ike']>

/** @returns 1 if it did something */
function apply(session: Session, now: number, deed: Deed): number {
  if (session.state !== 'ESTABLISHED') return 0
  const [child] = session.info(now).childSas.filter(({ state }) => state === 'INSTALLED')
  if (deed === 'rekey-ike') session.rekeyIke(now)
  else if (deed === 'liveness') session.checkLiveness(now)
  else if (child === undefined) return 0
  else if (deed === 'rekey-child') session.rekeyChild(now, Number.parseInt(child.spiIn, 16))
  else session.deleteChild(now, Number.parseInt(child.spiIn, 16))
  return 1
}
