/**
 * The routes into a tunnel: which networks lead there, and the difference between those that do and those that should.
 * @module
 */
import { SystemError } from '../errors.ts'
import { type Cidr, formatCidr } from '../wire/cidr.ts'
import { type CommandRunner, commandFailure } from './commands.ts'
import { ipBatch } from './ip-batch.ts'
import type { StepLog } from './journal.ts'
import { covers, halves, parseNetwork, type RouteSpec, routeArgv } from './route.ts'
import type { ConfigConflict } from './types.ts'
import { type UndoContext, type UndoStep, undoStep } from './undo-step.ts'

export type Report = (kind: ConfigConflict['kind'], subject: string, message: string) => void

type RouteStep = Extract<UndoStep, { kind: 'tunnel-route' }>

export interface RouteContext {
  readonly undo: UndoContext
  /** Runs commands where the device is. */
  readonly tunnel: CommandRunner
  readonly journal: StepLog
  readonly interface: string
  readonly report: Report
}

export interface RouteBounds {
  /** The kernel's number of the device. */
  readonly index: number
  readonly ipv6: boolean
  /** Addresses that stay outside; none where the device is in a namespace of its own. */
  readonly gateway: readonly string[]
}

export class TunnelRoutes {
  readonly #context: RouteContext
  #networks: readonly Cidr[]

  /** @throws SystemError for text that is no network */
  constructor(context: RouteContext, routes: readonly string[]) {
    this.#context = context
    this.#networks = routes.map(toNetwork)
  }

  get none(): boolean {
    return this.#networks.length === 0
  }

  /** Whether packets to an address belong into the tunnel. */
  cover(address: string): boolean {
    return this.#networks.some((network) => covers(network, address))
  }

  /** From now on these belong into the tunnel; `apply` makes it so. @throws SystemError for text that is no network */
  plan(routes: readonly string[]): void {
    this.#networks = routes.map(toNetwork)
  }

  /** Adds what is missing, then takes away what is too much. */
  async apply(bounds: RouteBounds): Promise<void> {
    const wanted = this.#networks.flatMap((network) => this.#parts(network, bounds))
    const before = this.#steps()
    // There may be thousands of each.
    const present = new Set(before.map(({ route }) => route.destination))
    const missing = wanted.filter((destination) => !present.has(formatCidr(destination)))
    for (const destination of missing.slice(await this.#addTogether(missing, bounds.index)))
      await this.#add(destination, bounds.index)
    const kept = new Set(wanted.map(formatCidr))
    for (const step of before) {
      if (kept.has(step.route.destination)) continue
      await undoStep(step, this.#context.undo)
      await this.#context.journal.remove(step)
    }
  }

  #steps(): RouteStep[] {
    return this.#context.journal.steps.filter((step): step is RouteStep => step.kind === 'tunnel-route')
  }

  #parts(network: Cidr, { ipv6, gateway }: RouteBounds): readonly Cidr[] {
    if (network.family === 6 && !ipv6) return []
    const isHost = network.prefixLength === (network.family === 4 ? 32 : 128)
    if (isHost && gateway.some((address) => covers(network, address))) {
      const text = formatCidr(network)
      this.#context.report(
        'route-is-gateway',
        text,
        `${text} is the gateway itself and stays outside the tunnel`
      )
      return []
    }
    return this.#context.undo.netns === null ? halves(network) : [network]
  }

  #step(network: Cidr, index: number): RouteStep {
    const device = this.#context.interface
    const route: RouteSpec = {
      family: network.family,
      destination: formatCidr(network),
      type: 'unicast',
      device
    }
    return { kind: 'tunnel-route', interface: device, index, route }
  }

  /** @returns how many of them were added, before one was refused */
  async #addTogether(networks: readonly Cidr[], index: number): Promise<number> {
    if (networks.length < 2) return 0
    const { tunnel, journal } = this.#context
    const steps = networks.map((network) => this.#step(network, index))
    await journal.add(...steps)
    const added = await ipBatch(
      tunnel,
      steps.map(({ route }) => routeArgv('add', route))
    )
    for (const step of steps.slice(added)) await journal.remove(step)
    return added
  }

  async #add(network: Cidr, index: number): Promise<void> {
    const { tunnel, journal, report } = this.#context
    const step = this.#step(network, index)
    const { destination } = step.route
    await journal.add(step)
    const result = await tunnel.run(routeArgv('add', step.route))
    if (result.exitCode === 0) return
    await journal.remove(step)
    const failure = commandFailure(result)
    if (!/file exists/i.test(failure.message)) throw failure
    report(
      'route-exists',
      destination,
      `there is a route to ${destination} already; it stays outside the tunnel`
    )
  }
}

function toNetwork(text: string): Cidr {
  const network = parseNetwork(text)
  if (network === undefined) throw new SystemError('bad-route', `${JSON.stringify(text)} is not a network`)
  return network
}
