/**
 * A client and a cluster of two gateway nodes on a virtual network: the active node replicates before what it says
 * leaves, may die at any moment, and the other goes on from what it heard last.
 * @module
 */

import { Sad } from '../../src/esp/sad.ts'
import type { EspSaParameters } from '../../src/esp/types.ts'
import type { ReplicaMessage } from '../../src/gateway/cluster-node.ts'
import {
  ClusterDeframer,
  type ClusterMessage,
  encodeClusterMessage
} from '../../src/gateway/cluster-protocol.ts'
import { ClusterReplicator } from '../../src/gateway/cluster-replicator.ts'
import { ClusterStore } from '../../src/gateway/cluster-store.ts'
import { takeoverOf } from '../../src/gateway/cluster-takeover.ts'
import type { RestoreInputs } from '../../src/ike/restore.ts'
import type { IkeTimers } from '../../src/ike/types.ts'
import type { Path } from '../../src/wire/endpoint.ts'
import { arePaired, End, initiatorConfig, pathPair, responderConfig } from './ike-pair.ts'
import { SeededRandom } from './seeded-random.ts'
import { areAtRest, disagreementAtRest } from './session-checks.ts'
import { type NetworkQuality, VirtualNetwork } from './virtual-network.ts'

export interface ClusterOptions {
  readonly seed: number
  readonly transport?: 'udp' | 'tcp'
  readonly quality?: NetworkQuality
  readonly timers?: Partial<IkeTimers>
  readonly client?: Parameters<typeof initiatorConfig>[0]
}

/** What of its last deed the dying node got done. */
export type Death =
  /** Nothing: the message never reached it. */
  | 'before'
  /** It worked it off, but nobody heard of that. */
  | 'untold'
  /** The other node knows, the client does not. */
  | 'replicated'
  /** All of it. */
  | 'after'

const CLEAN: NetworkQuality = { loss: 0, duplication: 0, minDelayMs: 10, maxDelayMs: 10 }
/** From a crash to the other node's being at the address. */
const TAKEOVER_MS = 300
const MAX_STEPS = 20_000

/** The active node: its engine, its SAs, and what it tells the other one. */
interface Node {
  readonly end: End
  readonly sad: Sad
  readonly replicator: ClusterReplicator
  seen: number
}

export class SimulatedCluster {
  readonly client: End
  readonly network: VirtualNetwork
  readonly random: SeededRandom
  /** The node that is active; undefined between a crash and the takeover. */
  gateway: End | undefined
  /** Nodes that have died. */
  readonly dead: End[] = []
  /** Whether the standby hears of Message IDs that nothing else changed with. */
  tellsCounters = false
  /** Dies at its n-th deed from now on; a deed is a message or a deadline. */
  doom: { left: number; how: Death } | undefined
  /** Deeds of the active node so far. */
  deeds = 0
  readonly #options: ClusterOptions
  readonly #store: ClusterStore
  readonly #deframer = new ClusterDeframer()
  #told: ClusterMessage[] = []
  #node: Node
  #path: { client: Path; gateway: Path }
  #takeoverAt: number | undefined
  #nodes = 0

  constructor(options: ClusterOptions) {
    this.#options = options
    this.random = new SeededRandom(options.seed)
    this.network = new VirtualNetwork(this.random, options.quality ?? CLEAN)
    const base = initiatorConfig(options.client)
    const timers = { ...base.timers, ...options.timers }
    this.client = new End(initiatorConfig({ ...options.client, timers }), options.seed * 10)
    this.#store = new ClusterStore({
      onPut: () => undefined,
      onDrop: () => undefined,
      onMalformed: (problem) => {
        throw new Error(problem)
      }
    })
    this.#node = this.#begin()
    this.gateway = this.#node.end
    this.#path = pathPair(options.transport ?? 'udp')
    this.network.join(this.client, this.#path.client, this.gateway, this.#path.gateway)
    this.client.session.connect(this.network.now, this.#path.client)
    this.runFor(5_000, () => this.client.of('established').length > 0)
  }

  get now(): number {
    return this.network.now
  }

  /** Runs until the time is over, or until the condition holds. */
  runFor(durationMs: number, isDone: () => boolean = () => false): void {
    const { network } = this
    const until = network.now + durationMs
    for (let steps = 0; ; steps++) {
      if (steps > MAX_STEPS) throw new Error('the ends do not come to rest')
      this.#drain()
      if (isDone()) return
      const next = Math.min(
        network.nextArrival() ?? Number.POSITIVE_INFINITY,
        this.client.session.nextTimeout() ?? Number.POSITIVE_INFINITY,
        this.gateway?.session.nextTimeout() ?? Number.POSITIVE_INFINITY,
        this.#takeoverAt ?? Number.POSITIVE_INFINITY
      )
      if (next > until) break
      network.now = Math.max(network.now, next)
      this.#step()
    }
    network.now = until
  }

  /** Lets the active node do something by itself, as one of its deeds. */
  act(apply: (gateway: End) => void): void {
    this.#deed((gateway) => apply(gateway))
    this.#drain()
  }

  /** The active node is gone, here and now. */
  crash(): void {
    const { gateway } = this
    if (gateway === undefined) return
    this.dead.push(gateway)
    this.gateway = undefined
    this.doom = undefined
    this.network.cut(this.#path.gateway)
    this.#takeoverAt = this.now + TAKEOVER_MS
  }

  /** The client finds itself elsewhere, on a path of the same kind. */
  moveClient(): void {
    const old = this.#path
    const { gateway } = this
    if (gateway === undefined) return
    this.#path = pathPair(this.#options.transport ?? 'udp', {
      address: '198.51.100.9',
      port: 1024 + this.random.integer(60_000)
    })
    this.network.join(this.client, this.#path.client, gateway, this.#path.gateway)
    this.network.cut(old.client, old.gateway)
    this.client.session.pathLost(this.now, old.client)
    if (old.gateway.reliable) gateway.session.pathLost(this.now, old.gateway)
    this.client.session.movePath(this.now, this.#path.client)
  }

  /** Quiet for long; @returns what is wrong afterwards */
  settle(): string | undefined {
    this.network.quality = CLEAN
    this.runFor(100_000)
    const { gateway, client } = this
    if (gateway === undefined) return 'nobody has taken over'
    for (const end of [client, gateway]) {
      const [closed] = end.of('closed')
      if (closed !== undefined) return `closed: ${closed.reason} ${closed.error?.message ?? ''}`
    }
    this.runFor(60_000, () => this.network.nextArrival() === undefined && areAtRest(client, gateway))
    return this.disagreement() ?? disagreementAtRest(client, gateway)
  }

  /** Two ends that have different keys for the same Child SA. */
  disagreement(): string | undefined {
    for (const child of this.client.children.values()) {
      const other = this.gateway?.children.get(child.outbound.spi)
      if (other?.outbound.spi === child.inbound.spi && !arePaired(child, other)) return 'different keys'
    }
    return undefined
  }

  /** Can both ends hear what the other sends? */
  get carries(): boolean {
    const { client, gateway } = this
    if (gateway === undefined) return false
    return this.#isHeard(client, gateway) && this.#isHeard(gateway, client)
  }

  #isHeard(from: End, to: End): boolean {
    const spis = [...from.sendingOn.values()]
    return spis.length > 0 && spis.every((spi) => to.children.has(from.children.get(spi)?.outbound.spi ?? 0))
  }

  #step(): void {
    const { network, client } = this
    if (this.#takeoverAt !== undefined && this.#takeoverAt <= network.now) this.#takeOver()
    // One arrival is one deed.
    for (const arrival of network.takeDue()) {
      if (arrival.to === client) client.session.receive(network.now, arrival.message, arrival.path)
      else
        this.#deed((gateway) => {
          if (arrival.to === gateway) gateway.session.receive(network.now, arrival.message, arrival.path)
        })
      this.#drain()
    }
    client.session.timeout(network.now)
    const due = this.gateway?.session.nextTimeout()
    if (due !== undefined && due <= network.now) this.#deed((gateway) => gateway.session.timeout(network.now))
  }

  #deed(apply: (gateway: End) => void): void {
    const { gateway, doom } = this
    if (gateway === undefined) return
    this.deeds++
    if (doom !== undefined) doom.left--
    const isLast = doom?.left === 0
    if (isLast && doom.how === 'before') {
      this.crash()
      return
    }
    apply(gateway)
    this.#settle(isLast ? doom.how : 'after')
    if (isLast) this.crash()
  }

  #drain(): void {
    this.client.drain()
    this.network.collect(this.client)
    if (this.gateway !== undefined) this.#settle('after')
  }

  /** What the engine has said and done goes its ways, as far as the node gets. */
  #settle(how: Death): void {
    const { end, replicator } = this.#node
    end.drain()
    this.#followSad()
    if (end.events.length > this.#node.seen) replicator.touch(end.session)
    this.#node.seen = end.events.length
    for (const { message, path } of end.sent.splice(0)) replicator.say(message, path, end.session)
    replicator.settle(this.now)
    if (this.tellsCounters) replicator.tellCounters()
    if (how === 'untold') return
    const told = this.#told.splice(0)
    for (const message of told) this.#hear(message)
    if (how === 'replicated') return
    const serial = told.findLast((one) => 'serial' in one)?.serial
    if (serial !== undefined) replicator.acknowledged(serial)
    this.network.collect(end)
  }

  /** The data plane follows the engine. */
  #followSad(): void {
    const { end, sad } = this.#node
    for (const { parameters } of sad.children)
      if (!end.children.has(parameters.inbound.spi)) sad.remove(parameters.inbound.spi)
    for (const [spi, child] of end.children)
      if (sad.find(spi) === undefined)
        sad.install({ ...child, inbound: copyOf(child.inbound), outbound: copyOf(child.outbound) })
  }

  /** The standby hears it, through the same bytes as on a link. */
  #hear(message: ClusterMessage): void {
    for (const heard of this.#deframer.push(encodeClusterMessage(message)) ?? [])
      this.#store.apply(this.now, heard as ReplicaMessage)
  }

  #takeOver(): void {
    this.#takeoverAt = undefined
    const [stored] = this.#store.take()
    if (stored === undefined) return
    const { snapshot } = stored
    const isOpen = snapshot.path.transport === 'udp'
    const { client } = this.#path
    const gatewayPath = { ...pathPair(snapshot.path.transport).gateway, ...snapshot.path }
    // Where the client is now, even if the cluster believes it elsewhere: there its messages come from.
    const actualPath =
      this.#path.gateway.remote.port === snapshot.path.remote.port ? gatewayPath : this.#elsewhere()
    const inputs = takeoverOf(this.now, stored, gatewayPath, isOpen)
    this.#node = this.#begin({ now: this.now, inputs })
    const node = this.#node.end
    this.gateway = node
    this.#path = { client, gateway: actualPath }
    this.network.join(this.client, client, node, actualPath)
    if (!isOpen) this.#reconnect(node)
  }

  #elsewhere(): Path {
    const { local, remote } = this.#path.gateway
    return pathPair('udp', remote, local).gateway
  }

  /** A stream died with the node; the client makes another, as its driver does. */
  #reconnect(node: End): void {
    const old = this.#path
    this.network.cut(old.client, old.gateway)
    this.client.session.pathLost(this.now, old.client)
    this.#path = pathPair('tcp')
    this.network.join(this.client, this.#path.client, node, this.#path.gateway)
    this.client.session.movePath(this.now, this.#path.client)
  }

  #begin(restore?: { readonly now: number; readonly inputs: RestoreInputs }): Node {
    const { seed, timers } = this.#options
    const base = responderConfig()
    const config = responderConfig({ timers: { ...base.timers, ...timers } })
    const end = new End(config, seed * 10 + ++this.#nodes, restore === undefined ? {} : { restore })
    const sad = new Sad({ random: end.random, backend: 'node' })
    const replicator = new ClusterReplicator({
      tell: (message) => this.#told.push(copyOfMessage(message)),
      send: (message, path) => end.sent.push({ type: 'send', message, path }),
      sessions: () => [end.session],
      dataOf: () => ({ children: sad.children, activity: 0 })
    })
    // Whoever begins has somebody to tell from its first word on.
    this.#told = []
    replicator.copy(this.now)
    return { end, sad, replicator, seen: 0 }
  }
}

function copyOf(half: EspSaParameters): EspSaParameters {
  return {
    ...half,
    encryptionKey: Uint8Array.from(half.encryptionKey),
    integrityKey: Uint8Array.from(half.integrityKey)
  }
}

/** Told messages are overwritten once they are on their way, as on a real link. */
function copyOfMessage(message: ClusterMessage): ClusterMessage {
  const [copy] = new ClusterDeframer().push(encodeClusterMessage(message)) ?? []
  if (copy === undefined) throw new Error('a message that does not survive its journey')
  return copy
}
