/**
 * Configures the host for a tunnel: MTU, addresses, name resolution, the gateway's own route beside the tunnel, and the routes into it.
 *
 * Every change is in the journal before it is made. `undo()` takes all of them back, the last one first, however far
 * `applyTunnelConfig` came; it may be called again. Nothing that was there before is removed: the default route stays where it
 * is, and a full tunnel is two halves that win over it.
 * @module
 */
import { SystemError } from '../errors.ts'
import { type Logger, silentLogger } from '../log.ts'
import { addressFamily } from '../wire/address.ts'
import { type Cidr, formatCidr } from '../wire/cidr.ts'
import { type CommandRunner, commandFailure, inNamespace, must, SystemCommandRunner } from './commands.ts'
import { type DeviceState, placeDevice } from './device.ts'
import { applyDns, type DnsPaths, SYSTEM_DNS_PATHS } from './dns.ts'
import type { DnsMode } from './dns-decision.ts'
import { memoryLog, type StepLog } from './journal.ts'
import { canonicalAddress, PinnedRoutes } from './pinned-routes.ts'
import { covers, halves, parseNetwork, type RouteSpec, routeArgv } from './route.ts'
import type { AppliedConfig, ConfigConflict, HostContext, TunnelAddress, TunnelConfig } from './types.ts'
import { type UndoStep, undoAll, undoStep } from './undo-step.ts'

export type { AppliedConfig, HostContext, TunnelConfig } from './types.ts'

/** Least MTU that IPv6 works with (RFC 8200 section 5). */
const MIN_IPV6_MTU = 1280

/**
 * Applies a configuration. If it fails, what was done so far has been undone.
 * @throws SystemError when the system refuses a change that the tunnel cannot do without
 */
export async function applyTunnelConfig(
  config: TunnelConfig,
  context: HostContext = {}
): Promise<AppliedConfig> {
  const applied = new AppliedTunnelConfig(config, context)
  try {
    await applied.apply()
    return applied
  } catch (error) {
    // What failed first is what the user has to know; undo has logged its own failures.
    await applied.undo().catch(() => undefined)
    throw error
  }
}

type AddressStep = Extract<UndoStep, { kind: 'address' }>

class AppliedTunnelConfig implements AppliedConfig {
  readonly conflicts: ConfigConflict[] = []
  dnsMode: DnsMode | null = null
  readonly #config: TunnelConfig
  readonly #runner: CommandRunner
  /** Runs commands where the device is. */
  readonly #tunnel: CommandRunner
  readonly #log: Logger
  readonly #journal: StepLog
  readonly #dnsPaths: DnsPaths
  readonly #pins: PinnedRoutes
  readonly #networks: readonly Cidr[]
  #index = 0
  #ipv6 = true
  #undone = false
  /** One change at a time: a network change may come in the middle of an undo. */
  #queue: Promise<unknown> = Promise.resolve()

  constructor(config: TunnelConfig, context: HostContext) {
    this.#config = config
    this.#log = context.log ?? silentLogger
    this.#runner = context.runner ?? new SystemCommandRunner(this.#log)
    this.#tunnel = inNamespace(
      this.#runner,
      config.netns === undefined ? undefined : { kind: 'name', name: config.netns }
    )
    this.#journal = context.journal ?? memoryLog()
    this.#dnsPaths = context.dnsPaths ?? SYSTEM_DNS_PATHS
    this.#pins = new PinnedRoutes({
      runner: this.#runner,
      journal: this.#journal,
      log: this.#log,
      interface: config.interface
    })
    this.#networks = config.routes.map(toNetwork)
  }

  async apply(): Promise<void> {
    const device = await placeDevice(this.#runner, this.#config.interface, this.#config.netns)
    this.#index = device.index
    await this.#note({ kind: 'link', interface: this.#config.interface, ...device })
    await this.#setUpLink(device)
    for (const address of this.#config.addresses) await this.#addAddress(address)
    // Before the link is up, so that no name is asked of the tunnel's servers that is not theirs.
    await this.#setUpDns()
    await must(this.#tunnel, ['ip', 'link', 'set', 'dev', this.#config.interface, 'up'])
    // The gateway's own route has to be there before a route into the tunnel covers the gateway.
    for (const address of this.#config.pinned) await this.#pin(address)
    for (const network of this.#networks) await this.#addRoutes(network)
  }

  undo(): Promise<void> {
    return this.#inTurn(async () => {
      this.#undone = true
      const context = { runner: this.#runner, log: this.#log, netns: this.#config.netns ?? null }
      const failures = await undoAll(this.#journal.steps, context, (step) => this.#journal.remove(step))
      const [first] = failures
      if (first === undefined) return
      throw new SystemError('undo-incomplete', `not everything could be undone: ${first.message}`, {
        hint: 'try again with: ikestream cleanup',
        cause: first
      })
    })
  }

  updatePinned(addresses: readonly string[]): Promise<void> {
    return this.#change(async () => {
      const wanted = addresses.map(canonicalAddress)
      for (const address of wanted) await this.#pin(address)
      for (const address of this.#pins.addresses)
        if (!wanted.includes(address)) await this.#pins.unpin(address)
    })
  }

  async repin(): Promise<readonly string[]> {
    let moved: string[] = []
    await this.#change(async () => {
      moved = await this.#pins.repin()
    })
    return moved
  }

  replaceAddresses(addresses: readonly TunnelAddress[]): Promise<void> {
    return this.#change(async () => {
      const wanted = addresses.map(addressText)
      const steps = this.#journal.steps.filter((step): step is AddressStep => step.kind === 'address')
      // New ones first: routes would go with the last address of a family.
      for (const address of addresses) {
        if (!steps.some((step) => step.address === addressText(address))) await this.#addAddress(address)
      }
      const context = { runner: this.#runner, log: this.#log, netns: this.#config.netns ?? null }
      for (const step of steps.filter((one) => !wanted.includes(one.address))) {
        await undoStep(step, context)
        await this.#journal.remove(step)
      }
    })
  }

  async #setUpLink(device: DeviceState): Promise<void> {
    const on = ['ip', 'link', 'set', 'dev', this.#config.interface]
    await must(this.#tunnel, [...on, 'mtu', String(this.#config.mtu)])
    const wantsIpv6 = this.#config.addresses.some(({ address }) => addressFamily(address) === 6)
    if (this.#config.mtu < MIN_IPV6_MTU && wantsIpv6) {
      this.#giveUpIpv6(`the tunnel's MTU of ${this.#config.mtu} is below the ${MIN_IPV6_MTU} that IPv6 needs`)
    }
    // No link-local address: router solicitations and the like have no business in the tunnel.
    if (device.addressGeneration !== null) await this.#tunnel.run([...on, 'addrgenmode', 'none'])
  }

  async #addAddress(address: TunnelAddress): Promise<void> {
    const text = addressText(address)
    const v6 = addressFamily(address.address) === 6
    if (v6 && !this.#ipv6) return
    const step: UndoStep = {
      kind: 'address',
      interface: this.#config.interface,
      index: this.#index,
      address: text
    }
    const on = ['dev', this.#config.interface, ...(v6 ? ['nodad'] : [])]
    const failure = await this.#try(step, this.#tunnel, ['ip', 'addr', 'add', text, ...on])
    if (failure === undefined || /already assigned|file exists/i.test(failure.message)) return
    if (!v6 || !/disabled|permission denied|not supported/i.test(failure.message)) throw failure
    this.#giveUpIpv6('IPv6 is disabled on this machine')
  }

  async #setUpDns(): Promise<void> {
    const { dns } = this.#config
    if (dns === undefined || dns.servers.length === 0) return
    const decision = await applyDns(dns, {
      runner: this.#runner,
      journal: this.#journal,
      log: this.#log,
      paths: this.#dnsPaths,
      interface: this.#config.interface,
      index: this.#index,
      netns: this.#config.netns ?? null
    })
    this.dnsMode = decision.mode
    if (this.#networks.length === 0) return
    for (const server of dns.servers) {
      if (this.#networks.some((network) => covers(network, server))) continue
      this.#report(
        'dns-outside-tunnel',
        server,
        `the name server ${server} is not reached through the tunnel`
      )
    }
  }

  /** Pins an address that a route into the tunnel covers. */
  async #pin(address: string): Promise<void> {
    // With the device in another namespace its routes do not concern the gateway's packets.
    if (this.#config.netns !== undefined) return
    const canonical = canonicalAddress(address)
    if (!this.#networks.some((network) => covers(network, canonical))) return
    const pinned = await this.#pins.pin(canonical)
    if (!pinned && this.#pins.addresses.includes(canonical)) {
      this.#report(
        'gateway-unrouted',
        canonical,
        `there is no route to the gateway ${canonical} at the moment`
      )
    }
  }

  async #addRoutes(network: Cidr): Promise<void> {
    if (network.family === 6 && !this.#ipv6) return
    const text = formatCidr(network)
    const own = this.#config.netns !== undefined
    const isHost = network.prefixLength === (network.family === 4 ? 32 : 128)
    if (!own && isHost && this.#config.pinned.some((address) => covers(network, canonicalAddress(address)))) {
      this.#report('route-is-gateway', text, `${text} is the gateway itself and stays outside the tunnel`)
      return
    }
    for (const part of own ? [network] : halves(network)) await this.#addRoute(part)
  }

  async #addRoute(network: Cidr): Promise<void> {
    const device = this.#config.interface
    const route: RouteSpec = {
      family: network.family,
      destination: formatCidr(network),
      type: 'unicast',
      device
    }
    const step: UndoStep = { kind: 'tunnel-route', interface: device, index: this.#index, route }
    const failure = await this.#try(step, this.#tunnel, routeArgv('add', route))
    if (failure === undefined) return
    if (!/file exists/i.test(failure.message)) throw failure
    this.#report(
      'route-exists',
      route.destination,
      `there is a route to ${route.destination} already; it stays outside the tunnel`
    )
  }

  /** Runs one change that either happens or does not; a refused one leaves no note. */
  async #try(
    step: UndoStep,
    runner: CommandRunner,
    argv: readonly string[]
  ): Promise<SystemError | undefined> {
    await this.#note(step)
    const result = await runner.run(argv)
    if (result.exitCode === 0) return undefined
    await this.#journal.remove(step)
    return commandFailure(result)
  }

  async #note(step: UndoStep): Promise<void> {
    await this.#journal.add(step)
  }

  #giveUpIpv6(why: string): void {
    if (!this.#ipv6) return
    this.#ipv6 = false
    this.#report('ipv6-unavailable', this.#config.interface, `${why}: the tunnel carries IPv4 only`)
  }

  #report(kind: ConfigConflict['kind'], subject: string, message: string): void {
    this.conflicts.push({ kind, subject, message })
    this.#log.log('debug', message, { conflict: kind, subject })
  }

  /** A change to a configuration that is in force; after `undo` it does nothing. */
  #change(action: () => Promise<void>): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#undone) await action()
    })
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(action)
    this.#queue = turn.catch(() => undefined)
    return turn
  }
}

function addressText(address: TunnelAddress): string {
  return `${canonicalAddress(address.address)}/${address.prefixLength}`
}

function toNetwork(text: string): Cidr {
  const network = parseNetwork(text)
  if (network === undefined) throw new SystemError('bad-route', `${JSON.stringify(text)} is not a network`)
  return network
}
