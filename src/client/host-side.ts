/**
 * What the host was told about the tunnel: addresses, routes, name servers, and which addresses stay outside.
 *
 * One owner: everything that is applied here is taken back here, in `undo`. Where and by whom, its `TunnelPlace` knows.
 * @module
 */
import { InternalError } from '../errors.ts'
import type { ConfigConflict, InnerNetwork } from '../host/types.ts'
import type { EstablishedInfo } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import type { Transport } from '../transport/types.ts'

import type { ChildTerms } from './child-terms.ts'
import type { ConnectOptions } from './options.ts'
import { networksOf } from './tunnel-networks.ts'
import type { PlacedConfig, TunnelPlace } from './tunnel-place.ts'

/** As many as a loop of gateways may have, several addresses each. */
const MAX_ALSO_OUTSIDE = 32

export interface HostSideEnvironment {
  readonly log: Logger
  readonly place: TunnelPlace
  /** All addresses of the gateway that are known: packets to any of them stay outside the tunnel. */
  readonly gatewayAddresses: () => readonly string[]
}

/** A link as the host has to know it. */
export interface AppliedLink {
  readonly info: EstablishedInfo
  /** Of the Child SA that makes the routes. */
  readonly terms: ChildTerms | undefined
  readonly transport: Transport
}

export class HostSide {
  readonly #options: ConnectOptions
  readonly #environment: HostSideEnvironment
  #applied: PlacedConfig | undefined
  #pinned: readonly string[] = []
  /** Addresses of gateways that others have sent us to, the last first. */
  #alsoOutside: readonly string[] = []
  /** What the host was last told of the inner network. */
  #network = ''

  constructor(options: ConnectOptions, environment: HostSideEnvironment) {
    this.#options = options
    this.#environment = environment
  }

  get isApplied(): boolean {
    return this.#applied !== undefined
  }

  get dnsMode(): string | null {
    return this.#applied?.dnsMode ?? null
  }

  /** What could not be set as asked. */
  get notes(): readonly string[] {
    return this.#applied?.conflicts.map(({ message }) => message) ?? []
  }

  /** Tells the host of the tunnel. @throws SystemError and what the place throws */
  async apply(device: string, mtu: number, link: AppliedLink): Promise<void> {
    const { script, netns } = this.#options
    const { place } = this.#environment
    const network = this.#innerNetwork(link)
    this.#pinned = this.#outside(link.transport)
    this.#network = JSON.stringify(network)
    this.#applied = await place.configure({
      interface: device,
      netns,
      ...network,
      mtu,
      // Inside a namespace of its own the tunnel cannot swallow the gateway's packets; a script is told in any case.
      pinned: place.isolated && script === undefined ? [] : this.#pinned
    })
    this.#tell(this.#applied.conflicts, link.transport)
  }

  /** A fresh SA may come with other addresses, other selectors, other name servers. */
  async adjust(link: AppliedLink): Promise<void> {
    const network = this.#innerNetwork(link)
    const text = JSON.stringify(network)
    if (text === this.#network) return
    this.#network = text
    this.#tell((await this.#applied?.reconfigure(network)) ?? [], link.transport)
  }

  setMtu(mtu: number): void {
    this.#applied?.setMtu(mtu).catch((error) => this.#complain(error))
  }

  /** Packets to these addresses must not go into the tunnel: a gateway may be there. */
  async keepOutside(addresses: readonly string[], transport: Transport | undefined): Promise<void> {
    this.#alsoOutside = [...new Set([...addresses, ...this.#alsoOutside])].slice(0, MAX_ALSO_OUTSIDE)
    if (transport !== undefined) await this.updatePinned(transport)
  }

  async updatePinned(transport: Transport): Promise<void> {
    if (this.#applied === undefined || this.#environment.place.isolated) return
    const pinned = this.#outside(transport)
    if (pinned.join() === this.#pinned.join()) return
    this.#pinned = pinned
    try {
      await this.#applied.updatePinned(pinned)
    } catch (error) {
      this.#complain(error)
    }
  }

  /**
   * The network may have changed under us: finds the gateway's way outside the tunnel anew.
   * @returns true if it leads another way now
   */
  async repin(): Promise<boolean> {
    // A script that sets routes would be called again for each of its own changes.
    if (this.#options.script !== undefined) return false
    const changed = await this.#applied?.repin()
    return changed !== undefined && changed.length > 0
  }

  /** Takes everything back. Never rejects: what could not be undone is logged and stays in the journal. */
  async undo(): Promise<void> {
    await this.#applied?.undo().catch((error) => this.#complain(error))
  }

  /** The address in use (a proxy's, maybe) and every other that a move may try: they must not go into the tunnel. */
  #outside(transport: Transport): string[] {
    const known = this.#environment.gatewayAddresses()
    return [...new Set([transport.outerRemote.address, ...known, ...this.#alsoOutside])]
  }

  #innerNetwork({ info, terms }: AppliedLink): InnerNetwork {
    if (terms === undefined)
      throw new InternalError('no-child-sa', 'There is no Child SA to make routes from.')
    const { localTs, remoteTs } = terms
    const assigned = info.config?.addresses ?? []
    // Without virtual addresses the local selectors that are single hosts are ours.
    const addresses =
      assigned.length > 0
        ? assigned
        : networksOf(localTs)
            .filter((cidr) => /\/(32|128)$/.test(cidr))
            .map((cidr) => hostAddress(cidr))
    const routes = networksOf(remoteTs)
    return {
      addresses,
      routes: this.#options.routes ? routes : [],
      dns: this.#options.dns ? dnsSettings(info, routes) : undefined
    }
  }

  #tell(conflicts: readonly ConfigConflict[], transport: Transport): void {
    for (const { kind, subject, message } of conflicts) {
      // Another address of the gateway that this machine has no route to is nothing to worry about.
      const minor = kind === 'gateway-unrouted' && subject !== transport.outerRemote.address
      this.#environment.log.log(minor ? 'debug' : 'warn', message)
    }
  }

  #complain(error: unknown): void {
    this.#environment.log.log('error', error instanceof Error ? error.message : String(error))
  }
}

function hostAddress(cidr: string): { address: string; prefixLength: number } {
  const [address = '', length = ''] = cidr.split('/')
  return { address, prefixLength: Number(length) }
}

/** With everything in the tunnel, its name servers answer everything; else only the domains that it names. */
function dnsSettings(
  info: EstablishedInfo,
  routes: readonly string[]
): { servers: readonly string[]; domains: readonly string[]; exclusive: boolean } | undefined {
  const { dns = [], dnsDomains = [] } = info.config ?? {}
  if (dns.length === 0) return undefined
  const full = routes.includes('0.0.0.0/0') || routes.includes('::/0')
  return { servers: dns, domains: dnsDomains, exclusive: full || dnsDomains.length === 0 }
}
