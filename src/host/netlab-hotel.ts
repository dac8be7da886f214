/**
 * A network that behaves like a hotel's: hosts inside, hosts outside, and a router between them that can swallow, refuse or
 * cut what it forwards. Built on {@link NetLab}; the faults are policy routing rules, so that no firewall is needed.
 *
 * | fault | how | what a client sees |
 * | --- | --- | --- |
 * | `drop` | rule with action `blackhole` | silence |
 * | `refuse` | sent to a namespace that owns every address and listens on nothing | UDP: ICMP port unreachable, TCP: RST, each from the server's own address |
 * | `prohibit` | rule with action `prohibit` | ICMP "administratively prohibited" from the router (EHOSTUNREACH; EACCES in IPv6) |
 * | `unreachable` | rule with action `unreachable` | ICMP "network unreachable" from the router (ENETUNREACH for TCP) |
 *
 * A program that listens in `wall` turns `refuse` into a captive portal: it answers in the name of any address.
 * @module
 */
import type { LinkOptions } from './link/lab-link.ts'
import { hasIpv6, type LabNamespace, NetLab, type NetLabOptions } from './netlab.ts'
import { attach, changeRouteMtu, type LabHost, makeRouter, makeWall } from './netlab-wiring.ts'

export type { LabHost } from './netlab-wiring.ts'

type FaultAction = 'drop' | 'refuse' | 'prohibit' | 'unreachable'

export interface Fault {
  readonly protocol: 'udp' | 'tcp' | 'all'
  /** Ports of the server; all of them when absent. Must be absent for `all`. */
  readonly ports?: readonly (number | PortRange)[]
  readonly action: FaultAction
}

/** From and to, both included. */
export type PortRange = readonly [number, number]

export interface HotelOptions extends NetLabOptions {
  /** False leaves IPv6 out. */
  readonly ipv6?: boolean
  /** The first client's cable is an emulated link: forward is from the client to the router. */
  readonly clientLink?: LinkOptions | undefined
}

const ACTION_OF: Readonly<Record<FaultAction, string>> = {
  drop: 'blackhole',
  refuse: 'lookup 100',
  prohibit: 'prohibit',
  unreachable: 'unreachable'
}
/** Rules live here, before the main table's 32766; a new set goes behind the old one until that is gone. */
const FAULT_PREFERENCES = [1000, 6000] as const
const MTU_PREFERENCE = 900

/** The router, the hosts on both sides, and the faults between them. */
export class HotelNetwork {
  readonly lab: NetLab
  /** The router itself. */
  readonly middle: LabNamespace
  /** Where refused packets end; a listener in here is a captive portal. */
  readonly wall: LabNamespace
  /** The first host inside. */
  readonly client: LabHost
  /** The first host outside. */
  readonly gateway: LabHost
  readonly #inside: LabHost[] = []
  readonly #outside: LabHost[] = []
  readonly #ipv6: boolean
  #faults: readonly Fault[] = []
  #rules: RuleSet = { generation: 0, lines: [] }
  #mtuRules: string[] = []

  private constructor(lab: NetLab, ipv6: boolean, parts: HotelParts) {
    this.lab = lab
    this.#ipv6 = ipv6
    this.middle = parts.middle
    this.wall = parts.wall
    this.client = parts.client
    this.gateway = parts.gateway
    this.#inside.push(parts.client)
    this.#outside.push(parts.gateway)
  }

  static async open(options: HotelOptions = {}): Promise<HotelNetwork> {
    const lab = await NetLab.open(options)
    try {
      const ipv6 = (options.ipv6 ?? true) && hasIpv6()
      const middle = await makeRouter(lab, ipv6)
      const wall = await makeWall(lab, middle, ipv6)
      const { clientLink } = options
      const client = await attach(
        lab,
        middle,
        await lab.addNamespace('client'),
        'inside',
        0,
        ipv6,
        clientLink
      )
      const gateway = await attach(lab, middle, await lab.addNamespace('gateway'), 'outside', 0, ipv6)
      return new HotelNetwork(lab, ipv6, { middle, wall, client, gateway })
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  /** Adds a host (or, with `existing`, a second cable to a host, whose default route is worse than the first). */
  async addHost(side: 'inside' | 'outside', label: string, existing?: LabNamespace): Promise<LabHost> {
    const hosts = side === 'inside' ? this.#inside : this.#outside
    const namespace = existing ?? (await this.lab.addNamespace(label))
    const host = await attach(this.lab, this.middle, namespace, side, hosts.length, this.#ipv6)
    hosts.push(host)
    await this.setFaults(this.#faults)
    return host
  }

  /** Replaces the faults, without a moment in which neither the old nor the new ones hold. */
  async setFaults(faults: readonly Fault[]): Promise<void> {
    const old = this.#rules
    const generation = (old.generation + 1) % FAULT_PREFERENCES.length
    const lines = this.#ruleLines(faults, FAULT_PREFERENCES[generation] ?? 0)
    await this.#batch(lines.map((line) => `rule add ${line}`))
    this.#rules = { generation, lines }
    this.#faults = faults
    await this.#batch(old.lines.map((line) => `rule del ${line}`))
  }

  /** Everything passes again, at full size. */
  async restore(): Promise<void> {
    await this.setFaults([])
    await this.setMtu(null)
  }

  /** Nothing passes, in either direction, and nobody is told. */
  async cut(): Promise<void> {
    await this.setFaults([{ protocol: 'all', action: 'drop' }])
  }

  /**
   * The largest packet that the router forwards; null for the cable's own. A `silent` router does not send
   * ICMP "fragmentation needed" or "packet too big".
   */
  async setMtu(mtu: number | null, options: { silent?: boolean } = {}): Promise<void> {
    for (const host of [...this.#inside, ...this.#outside]) {
      await changeRouteMtu(this.middle, host, mtu)
    }
    await this.#batch(this.#mtuRules.splice(0).map((line) => `rule del ${line}`))
    if (mtu === null || options.silent !== true) return
    this.#mtuRules.push(`pref ${MTU_PREFERENCE} iif lo ipproto PROTO blackhole`)
    await this.#batch(this.#mtuRules.map((line) => `rule add ${line}`))
  }

  /** Unplugs or plugs a host's cable at the router's end: the host sees its carrier go. */
  async setLink(host: LabHost, up: boolean): Promise<void> {
    await this.middle.run(['ip', 'link', 'set', 'dev', host.routerDevice, up ? 'up' : 'down'])
    if (up && this.#ipv6 && host.router6 !== null) {
      // The kernel drops IPv6 addresses of a device that goes down.
      const address = [`${host.router6}/64`, 'dev', host.routerDevice, 'nodad']
      await this.middle.run(['ip', '-6', 'addr', 'replace', ...address])
    }
  }

  async close(): Promise<void> {
    await this.client.link?.close()
    await this.lab.close()
  }

  #ruleLines(faults: readonly Fault[], preference: number): string[] {
    const lines: string[] = []
    let next = preference
    for (const fault of faults) {
      const protocol = fault.protocol === 'all' ? '' : ` ipproto ${fault.protocol}`
      const ports: readonly (number | PortRange | null)[] = fault.ports ?? [null]
      // An answer must not slip through either; only the side that asked is told why.
      const back = ACTION_OF.drop
      for (const port of ports) {
        const range = typeof port === 'object' ? port?.join('-') : port
        const [to, from] = port === null ? ['', ''] : [` dport ${range}`, ` sport ${range}`]
        const action = ACTION_OF[fault.action]
        for (const host of this.#inside)
          lines.push(`pref ${next++} iif ${host.routerDevice}${protocol}${to} ${action}`)
        for (const host of this.#outside)
          lines.push(`pref ${next++} iif ${host.routerDevice}${protocol}${from} ${back}`)
      }
    }
    return lines
  }

  /** Runs the lines for each address family; `PROTO` stands for that family's ICMP. */
  async #batch(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return
    for (const family of this.#ipv6 ? ['-4', '-6'] : ['-4']) {
      const icmp = family === '-4' ? 'icmp' : 'ipv6-icmp'
      const input = `${lines.map((line) => line.replace('PROTO', icmp)).join('\n')}\n`
      await this.middle.run(['ip', family, '-batch', '-'], { input })
    }
  }
}

interface RuleSet {
  readonly generation: number
  readonly lines: readonly string[]
}

interface HotelParts {
  readonly middle: LabNamespace
  readonly wall: LabNamespace
  readonly client: LabHost
  readonly gateway: LabHost
}
