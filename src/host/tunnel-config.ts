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
import { type CommandRunner, commandFailure, inNamespace, must, SystemCommandRunner } from './commands.ts'
import { type DeviceState, placeDevice } from './device.ts'
import { type DnsPaths, type DnsSettings, NameResolution, SYSTEM_DNS_PATHS } from './dns.ts'
import type { DnsMode } from './dns-decision.ts'
import { ipBatch } from './ip-batch.ts'
import { memoryLog, type StepLog } from './journal.ts'
import { canonicalAddress, PinnedRoutes } from './pinned-routes.ts'
import { TunnelRoutes } from './tunnel-routes.ts'
import type {
  AppliedConfig,
  ConfigConflict,
  HostContext,
  InnerNetwork,
  TunnelAddress,
  TunnelConfig
} from './types.ts'
import { type UndoContext, type UndoStep, undoAll, undoStep } from './undo-step.ts'

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
  readonly #config: TunnelConfig
  readonly #runner: CommandRunner
  /** Runs commands where the device is. */
  readonly #tunnel: CommandRunner
  readonly #log: Logger
  readonly #journal: StepLog
  readonly #dnsPaths: DnsPaths
  readonly #undoContext: UndoContext
  readonly #pins: PinnedRoutes
  readonly #routes: TunnelRoutes
  #dns: NameResolution | undefined
  #dnsSettings: DnsSettings | undefined
  /** Addresses of the gateway. */
  #gateway: readonly string[]
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
    this.#undoContext = { runner: this.#runner, log: this.#log, netns: config.netns ?? null }
    const shared = { runner: this.#runner, journal: this.#journal, log: this.#log }
    this.#pins = new PinnedRoutes({ ...shared, interface: config.interface })
    this.#routes = new TunnelRoutes(
      {
        undo: this.#undoContext,
        tunnel: this.#tunnel,
        journal: this.#journal,
        interface: config.interface,
        report: (kind, subject, message) => this.#report(kind, subject, message)
      },
      config.routes
    )
    this.#dnsSettings = config.dns
    this.#gateway = config.pinned.map(canonicalAddress)
  }

  get dnsMode(): DnsMode | null {
    return this.#dns?.mode ?? null
  }

  async apply(): Promise<void> {
    const device = await placeDevice(this.#runner, this.#config.interface, this.#config.netns)
    this.#index = device.index
    await this.#setUpLink(device)
    // Before the link is up, so that no name is asked of the tunnel's servers that is not theirs.
    await this.#setUpDns(this.#config.dns)
    await must(this.#tunnel, ['ip', 'link', 'set', 'dev', this.#config.interface, 'up'])
    await this.#setUpRoutes()
  }

  undo(): Promise<void> {
    return this.#inTurn(async () => {
      this.#undone = true
      const { steps } = this.#journal
      const failures = await undoAll(steps, this.#undoContext, (step) => this.#journal.remove(step))
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
      this.#gateway = addresses.map(canonicalAddress)
      await this.#pinAll()
      await this.#unpinOthers()
    })
  }

  async repin(): Promise<readonly string[]> {
    let moved: string[] = []
    await this.#change(async () => {
      moved = await this.#pins.repin()
    })
    return moved
  }

  async reconfigure(network: InnerNetwork): Promise<readonly ConfigConflict[]> {
    const known = this.conflicts.length
    await this.#change(async () => {
      this.#routes.plan(network.routes)
      await this.#replaceAddresses(network.addresses)
      if (JSON.stringify(network.dns) !== JSON.stringify(this.#dnsSettings)) {
        this.#dnsSettings = network.dns
        await this.#setUpDns(network.dns)
      }
      await this.#setUpRoutes()
      await this.#unpinOthers()
    })
    return this.conflicts.slice(known)
  }

  setMtu(mtu: number): Promise<void> {
    return this.#change(async () => {
      await must(this.#tunnel, ['ip', 'link', 'set', 'dev', this.#config.interface, 'mtu', String(mtu)])
    })
  }

  /** MTU and addresses. */
  async #setUpLink(device: DeviceState): Promise<void> {
    const { interface: name, mtu } = this.#config
    this.#checkIpv6Mtu()
    const addresses = this.#config.addresses.filter(
      ({ address }) => this.#ipv6 || addressFamily(address) === 4
    )
    const steps = addresses.map((address) => this.#addressStep(address))
    const setLink = [['ip', 'link', 'set', 'dev', name, 'mtu', String(mtu)]]
    // No link-local address: router solicitations and the like have no business in the tunnel.
    if (device.addressGeneration !== null)
      setLink.push(['ip', 'link', 'set', 'dev', name, 'addrgenmode', 'none'])
    await this.#journal.add({ kind: 'link', interface: name, ...device }, ...steps)
    const done = await ipBatch(this.#tunnel, [...setLink, ...steps.map(addAddress)])
    const added = Math.max(0, done - setLink.length)
    for (const step of steps.slice(added)) await this.#journal.remove(step)
    // Something was refused, or has to be judged by what the system says: from there on one by one.
    for (const argv of setLink.slice(done))
      await (argv.includes('mtu') ? must(this.#tunnel, argv) : this.#tunnel.run(argv))
    for (const address of addresses.slice(added)) await this.#addAddress(address)
  }

  #checkIpv6Mtu(): void {
    const { mtu, addresses } = this.#config
    if (mtu >= MIN_IPV6_MTU || !addresses.some(({ address }) => addressFamily(address) === 6)) return
    this.#giveUpIpv6(`the tunnel's MTU of ${mtu} is below the ${MIN_IPV6_MTU} that IPv6 needs`)
  }

  async #replaceAddresses(addresses: readonly TunnelAddress[]): Promise<void> {
    const steps = this.#journal.steps.filter((step): step is AddressStep => step.kind === 'address')
    // New ones first: routes would go with the last address of a family.
    for (const address of addresses) {
      if (!steps.some((step) => step.address === addressText(address))) await this.#addAddress(address)
    }
    const wanted = addresses.map(addressText)
    for (const step of steps.filter((one) => !wanted.includes(one.address))) {
      await undoStep(step, this.#undoContext)
      await this.#journal.remove(step)
    }
  }

  async #addAddress(address: TunnelAddress): Promise<void> {
    const v6 = addressFamily(address.address) === 6
    if (v6 && !this.#ipv6) return
    const step = this.#addressStep(address)
    await this.#journal.add(step)
    const result = await this.#tunnel.run(addAddress(step))
    if (result.exitCode === 0) return
    await this.#journal.remove(step)
    const failure = commandFailure(result)
    if (/already assigned|file exists/i.test(failure.message)) return
    if (!v6 || !/disabled|permission denied|not supported/i.test(failure.message)) throw failure
    this.#giveUpIpv6('IPv6 is disabled on this machine')
  }

  #addressStep(address: TunnelAddress): AddressStep {
    const { interface: name } = this.#config
    return { kind: 'address', interface: name, index: this.#index, address: addressText(address) }
  }

  async #setUpDns(dns: DnsSettings | undefined): Promise<void> {
    this.#dns ??= new NameResolution({
      runner: this.#runner,
      journal: this.#journal,
      log: this.#log,
      paths: this.#dnsPaths,
      interface: this.#config.interface,
      index: this.#index,
      netns: this.#config.netns ?? null
    })
    await this.#dns.set(dns)
    if (this.#routes.none) return
    for (const server of dns?.servers ?? []) {
      if (this.#routes.cover(server)) continue
      this.#report(
        'dns-outside-tunnel',
        server,
        `the name server ${server} is not reached through the tunnel`
      )
    }
  }

  async #setUpRoutes(): Promise<void> {
    // The gateway's own route has to be there before a route into the tunnel covers the gateway.
    await this.#pinAll()
    const gateway = this.#config.netns === undefined ? this.#gateway : []
    await this.#routes.apply({ index: this.#index, ipv6: this.#ipv6, gateway })
  }

  /** Pins the gateway's addresses that a route into the tunnel covers. */
  async #pinAll(): Promise<void> {
    // With the device in another namespace its routes do not concern the gateway's packets.
    if (this.#config.netns !== undefined) return
    for (const address of this.#gateway) {
      if (!this.#routes.cover(address)) continue
      const pinned = await this.#pins.pin(address)
      if (pinned || !this.#pins.addresses.includes(address)) continue
      this.#report('gateway-unrouted', address, `there is no route to the gateway ${address} at the moment`)
    }
  }

  async #unpinOthers(): Promise<void> {
    for (const address of this.#pins.addresses) {
      if (!this.#gateway.includes(address) || !this.#routes.cover(address)) await this.#pins.unpin(address)
    }
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

function addAddress({ address, interface: device }: AddressStep): string[] {
  return ['ip', 'addr', 'add', address, 'dev', device, ...(address.includes(':') ? ['nodad'] : [])]
}

function addressText(address: TunnelAddress): string {
  return `${canonicalAddress(address.address)}/${address.prefixLength}`
}
