/**
 * Keeps the gateway's own packets outside the tunnel when the tunnel's routes cover the gateway's address.
 *
 * Each pinned address gets two host routes: one over the next hop that the network gives it, and a worse one that says
 * "unreachable". The second counts only while the first is gone (a cable was pulled): without it the gateway's packets would then
 * enter the tunnel that they carry, and chase their own tail.
 * @module
 */
import { SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { addressFamily, addressFromBytes, addressToBytes } from '../wire/address.ts'
import { type CommandRunner, commandFailure } from './commands.ts'
import type { StepLog } from './journal.ts'
import {
  type ListedRoute,
  lookUp,
  mainTable,
  type NextHop,
  type RouteSpec,
  routeArgv,
  routeTo,
  sameRoute
} from './route.ts'
import type { UndoStep } from './undo-step.ts'

/** Better than any metric that network managers use; a second session to the same gateway takes the next one. */
const PIN_METRIC = 10
const GUARD_METRIC = 50_000
const METRICS_TRIED = 16

type HostRouteStep = Extract<UndoStep, { kind: 'host-route' }>

interface Pin {
  readonly address: string
  readonly guard: HostRouteStep
  hop: HostRouteStep | undefined
}

export interface PinContext {
  readonly runner: CommandRunner
  readonly journal: StepLog
  readonly log: Logger
  /** The tunnel's own device, through which no pin may lead. */
  readonly interface: string
}

export class PinnedRoutes {
  readonly #context: PinContext
  readonly #pins = new Map<string, Pin>()

  constructor(context: PinContext) {
    this.#context = context
  }

  get addresses(): string[] {
    return [...this.#pins.keys()]
  }

  /**
   * Pins an address.
   * @returns false when there is nothing to pin: it is this machine's own, or no route leads there (then it stays guarded
   *   and `repin` tries again)
   */
  async pin(address: string): Promise<boolean> {
    address = canonicalAddress(address)
    if (this.#pins.has(address)) return true
    const current = await routeTo(this.#context.runner, address)
    if (current === 'local') return false
    const bypasses = current !== undefined && current.device !== this.#context.interface
    const outside = bypasses ? current : this.#lookUpOutside(await this.#table(address), address)
    const guard = await this.#addFree((metric) => hostRoute(address, 'unreachable', metric), GUARD_METRIC)
    const pin: Pin = { address, guard, hop: undefined }
    this.#pins.set(address, pin)
    if (outside === undefined) return false
    pin.hop = await this.#addFree((metric) => hostRoute(address, 'unicast', metric, outside), PIN_METRIC)
    return true
  }

  async unpin(address: string): Promise<void> {
    address = canonicalAddress(address)
    const pin = this.#pins.get(address)
    if (pin === undefined) return
    this.#pins.delete(address)
    if (pin.hop !== undefined) await this.#delete(pin.hop)
    await this.#delete(pin.guard)
  }

  /** The network changed: moves every pin to the next hop that leads to its address now. @returns the addresses moved */
  async repin(): Promise<string[]> {
    const moved: string[] = []
    for (const pin of this.#pins.values()) {
      const table = await this.#table(pin.address)
      const outside = this.#lookUpOutside(table, pin.address)
      if (outside === undefined) {
        if (pin.hop !== undefined) await this.#delete(pin.hop)
        pin.hop = undefined
        continue
      }
      const old = pin.hop
      const wanted = hostRoute(pin.address, 'unicast', old?.route.metric ?? PIN_METRIC, outside)
      if (old === undefined) {
        pin.hop = await this.#addFree(
          (metric) => hostRoute(pin.address, 'unicast', metric, outside),
          PIN_METRIC
        )
        moved.push(pin.address)
      } else if (!sameRoute(old.route, wanted)) {
        pin.hop = await this.#replace(old, wanted)
        moved.push(pin.address)
      } else if (!table.some((route) => isListed(route, pin.address, wanted))) {
        // The kernel drops a route with its device. One that is there is not touched: that would be news to a network watch.
        await this.#run(routeArgv('replace', wanted))
      }
    }
    return moved
  }

  #table(address: string): Promise<ListedRoute[]> {
    return mainTable(this.#context.runner, addressFamily(address) ?? 4)
  }

  /** Where the network would send packets to an address if the tunnel and its pins were not there. */
  #lookUpOutside(table: readonly ListedRoute[], address: string): NextHop | undefined {
    return lookUp(table, address, (route) => route.dev === this.#context.interface || isOurs(route, address))
  }

  async #addFree(make: (metric: number) => RouteSpec, firstMetric: number): Promise<HostRouteStep> {
    for (let metric = firstMetric; ; metric++) {
      const step: HostRouteStep = { kind: 'host-route', route: make(metric) }
      await this.#context.journal.add(step)
      const result = await this.#context.runner.run(routeArgv('add', step.route))
      if (result.exitCode === 0) return step
      await this.#context.journal.remove(step)
      if (!/file exists/i.test(result.stderr) || metric >= firstMetric + METRICS_TRIED)
        throw commandFailure(result)
    }
  }

  async #replace(old: HostRouteStep, route: RouteSpec): Promise<HostRouteStep> {
    const step: HostRouteStep = { kind: 'host-route', route }
    await this.#context.journal.add(step)
    await this.#run(routeArgv('replace', route))
    await this.#context.journal.remove(old)
    this.#context.log.log('info', `the way to the gateway ${route.destination} is now ${hopText(route)}`)
    return step
  }

  async #run(argv: readonly string[]): Promise<void> {
    const result = await this.#context.runner.run(argv)
    if (result.exitCode !== 0) throw commandFailure(result)
  }

  async #delete(step: HostRouteStep): Promise<void> {
    const result = await this.#context.runner.run(routeArgv('del', step.route))
    if (result.exitCode !== 0 && !/no such (process|device)|cannot find device/i.test(result.stderr)) {
      throw commandFailure(result)
    }
    await this.#context.journal.remove(step)
  }
}

/** The text that `ip` prints for an address; IPv4 addresses that a socket wrapped into IPv6 are unwrapped. */
export function canonicalAddress(text: string): string {
  const bytes = addressToBytes(text)
  if (bytes === undefined) throw new SystemError('bad-address', `${JSON.stringify(text)} is not an address`)
  const canonical = addressFromBytes(bytes)
  return canonical.startsWith('::ffff:') && canonical.includes('.') ? canonical.slice(7) : canonical
}

/** A host route with a metric that only we use: this session's pin, or that of another one. */
function isOurs(route: ListedRoute, address: string): boolean {
  const host = route.dst === address
  const pin = route.metric >= PIN_METRIC && route.metric <= PIN_METRIC + METRICS_TRIED
  const guard = route.metric >= GUARD_METRIC && route.metric <= GUARD_METRIC + METRICS_TRIED
  return host && (pin || guard)
}

function isListed(listed: ListedRoute, address: string, route: RouteSpec): boolean {
  const sameHop = listed.dev === route.device && (listed.gateway ?? listed.via?.host) === route.via
  return listed.dst === address && listed.metric === route.metric && sameHop
}

function hostRoute(address: string, type: RouteSpec['type'], metric: number, hop?: NextHop): RouteSpec {
  const family = addressFamily(address)
  if (family === undefined)
    throw new SystemError('bad-address', `${JSON.stringify(address)} is not an address`)
  const route: RouteSpec = { family, destination: `${address}/${family === 4 ? 32 : 128}`, type, metric }
  if (hop === undefined) return route
  return { ...route, via: hop.via, device: hop.device, ...(hop.onlink ? { onlink: true } : {}) }
}

function hopText(route: RouteSpec): string {
  return route.via === undefined ? `on ${route.device}` : `via ${route.via} on ${route.device}`
}
