/**
 * What has to hold about time, sizes and agreement, looked at now and then: both ends' beliefs, what they keep, and whether they agree.
 * @module
 */
import type { SessionInfo } from '../../../src/ike/session.ts'
import { type Auditor, hex, type WatchedChild } from './auditor.ts'
import type { ClientMachine } from './client-machine.ts'
import type { GatewayMachine } from './gateway-machine.ts'
import type { Network } from './network.ts'
import type { World } from './world.ts'

/** The gateway keeps an SA without a path for five minutes (RFC 4555 section 3.11), after it has asked whether its peer lives. */
export const ORPHAN_MS = 400_000
/** The same for the client, of time in which it could have found out. */
const CLIENT_ORPHAN_MS = 90_000
/** More than any sound session of these needs. */
const LIMITS = {
  sessions: 16,
  children: 24,
  'half-open': 16,
  streams: 48,
  paths: 512,
  transports: 32,
  timers: 256,
  queuedBytes: 4_194_304
} as const

export interface Watched {
  readonly world: World
  readonly network: Network
  readonly auditor: Auditor
  readonly gateway: GatewayMachine
  client(): ClientMachine
}

export class Watch {
  readonly #around: Watched
  readonly #missingSince = new Map<WatchedChild, number>()

  constructor(around: Watched) {
    this.#around = around
  }

  /** Once a simulated second. */
  look(): void {
    this.#beliefs()
    this.#leaks()
    this.#memory()
  }

  /** @returns in what the two ends do not agree just now; undefined: in nothing */
  disagreement(): string | undefined {
    const { gateway, auditor } = this.#around
    const client = this.#around.client()
    const session = client.ike
    if (session === undefined) return 'the client has no session'
    const mine = auditor.of(session)
    const ours = auditor.childrenOf('client').filter(({ owner }) => owner === mine)
    if (ours.length === 0) return 'the client has no Child SA'
    const halves = ours.map((child) => auditor.otherHalf(child))
    const peer = halves.find((half) => half !== undefined)?.owner.session
    if (peer === undefined) return 'a Child SA of the client has no other half'
    const [a, b] = [session.info(), peer.info()]
    const [here, there] = [spisOf(a, 'spiIn', 'spiOut'), spisOf(b, 'spiOut', 'spiIn')]
    if (here !== there) return `the client has the Child SAs ${here}, the gateway ${there}`
    for (const info of [a, b]) {
      if (info.state !== 'ESTABLISHED') return `an IKE SA is ${info.state}`
      if (info.predecessors.length > 0) return 'a replaced IKE SA was left behind'
      if (info.tasksActive.length + info.tasksQueued.length > 0) return `${info.tasksActive.join()} goes on`
    }
    if (a.initiatorSpi !== b.initiatorSpi || a.responderSpi !== b.responderSpi) return 'different IKE SAs'
    if (a.nextRequestId !== b.expectedRequestId || b.nextRequestId !== a.expectedRequestId)
      return 'the Message IDs differ'
    return gateway.isServing === true ? undefined : 'the gateway is not there'
  }

  /** Every SA that one end believes in is known to the other, or given up within its bound. */
  #beliefs(): void {
    const { world, auditor, network, gateway } = this.#around
    const client = this.#around.client()
    const couldTell =
      network.filters.size === 0 &&
      network.clientAddress !== undefined &&
      client.clock.isRunning &&
      gateway.isServing
    const held = client.children
    const mine = auditor.childrenOf('client').filter((child) => held.has(child.parameters.inbound.spi))
    for (const child of [...mine, ...auditor.childrenOf('gateway')]) {
      if (auditor.otherHalf(child) !== undefined) {
        this.#missingSince.delete(child)
        continue
      }
      const isClient = child.owner.side === 'client'
      if (isClient && !couldTell) {
        this.#missingSince.delete(child)
        continue
      }
      const since = this.#missingSince.get(child) ?? world.now
      this.#missingSince.set(child, since)
      const forMs = world.now - since
      if (forMs > (isClient ? CLIENT_ORPHAN_MS : ORPHAN_MS))
        world.broken('beliefs', `the ${child.owner.side} believed for ${forMs} ms in an SA of its own`)
    }
  }

  /** What the data plane holds, its engine has set up and not taken down. */
  #leaks(): void {
    const { world, auditor } = this.#around
    const client = this.#around.client()
    const up = new Set(auditor.childrenOf('client').map(({ parameters }) => parameters.inbound.spi))
    // At its end it forgets all of them together.
    for (const spi of client.session.stopping ? [] : client.children)
      if (!up.has(spi)) world.broken('spis', `the client still holds ${hex(spi)}, which is down`)
  }

  #memory(): void {
    const { world, network, gateway, auditor } = this.#around
    const client = this.#around.client()
    const { core } = gateway
    const queued = [...client.connections, ...gateway.connections].reduce(
      (sum, one) => sum + one.queuedBytes,
      0
    )
    const { responder } = core ?? {}
    const sizes: Record<keyof typeof LIMITS, number> = {
      sessions: responder?.sessions.length ?? 0,
      'half-open': responder?.halfOpen ?? 0,
      children: Math.max(auditor.childrenOf('client').length, auditor.childrenOf('gateway').length),
      streams: core?.carriers.streamCount ?? 0,
      paths: gateway.pathCount,
      transports: client.connections.size + network.socketCount,
      timers: Math.max(client.clock.armed, gateway.clock?.armed ?? 0),
      queuedBytes: queued
    }
    for (const [what, limit] of Object.entries(LIMITS)) {
      const size = sizes[what as keyof typeof LIMITS]
      if (size > limit) world.broken('memory', `${size} ${what}, and ${limit} are enough`)
    }
  }
}

/** Those that are not about to go. */
function spisOf({ childSas }: SessionInfo, first: 'spiIn' | 'spiOut', second: 'spiIn' | 'spiOut'): string {
  return childSas
    .filter(({ state }) => state !== 'DELETED')
    .map((child) => `${child[first]}/${child[second]}`)
    .sort()
    .join(' ')
}
