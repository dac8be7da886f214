/**
 * One node of a gateway cluster: drives the election (`cluster-node.ts`), replicates what the active node knows
 * (`cluster-replicator.ts`) to the standby (`cluster-store.ts`), and makes this node serve or step back.
 *
 * Invariants: sessions live here only while this node is active; the service addresses are held only while it serves; what
 * takes time (addresses, listeners) happens one after the other, and looks again whether it is still wanted.
 * @module
 */
import { networkInterfaces } from 'node:os'
import { SystemError } from '../errors.ts'
import { SystemCommandRunner } from '../host/commands.ts'
import { ServiceAddresses } from '../host/service-addresses.ts'
import type { IkeSession } from '../ike/session.ts'
import type { SessionSnapshot } from '../ike/snapshot.ts'
import type { Logger } from '../log.ts'
import { addressToBytes } from '../wire/address.ts'
import type { Path } from '../wire/endpoint.ts'
import { ClusterLink } from './cluster-link.ts'
import { ClusterNode, type NodeOutput, type NodeReason } from './cluster-node.ts'
import { type ClusterOptions, linkKey } from './cluster-options.ts'
import { ClusterReplicator } from './cluster-replicator.ts'
import { ClusterStore } from './cluster-store.ts'
import { takeoverOf } from './cluster-takeover.ts'
import type { CoreWatcher, GatewayCore, GatewayEnvironment } from './gateway-core.ts'
import type { GatewayOptions } from './options.ts'
import { settingsFingerprint } from './settings-fingerprint.ts'

/** How often counters are told, which is what a takeover may not know; and how often slow things are looked at. */
const COUNTERS_MS = 200
const LOOK_MS = 1_000
/** How often somebody else's address management is looked at. */
const ADDRESS_LOOK_MS = 100

export class Cluster implements CoreWatcher {
  readonly #options: ClusterOptions
  readonly #environment: GatewayEnvironment
  readonly #log: Logger
  readonly #node: ClusterNode
  readonly #store: ClusterStore
  readonly #replicator: ClusterReplicator
  readonly #onServing: () => void
  #core: GatewayCore | undefined
  #link: ClusterLink | undefined
  #addresses: ServiceAddresses | undefined
  #timer: { cancel(): void } | undefined
  readonly #ticks: { cancel(): void }[] = []
  #draining = false
  #closed = false
  /** Takeovers and retreats, one after the other. */
  #work: Promise<void> = Promise.resolve()
  #serving = false
  #copyWanted = false
  #cookieVersion: number | undefined
  #stopped: 'handed-over' | 'alone' = 'alone'

  constructor(
    options: ClusterOptions,
    gateway: GatewayOptions,
    environment: GatewayEnvironment,
    onServing: () => void
  ) {
    this.#options = options
    this.#environment = environment
    this.#log = environment.log.child('cluster')
    this.#onServing = onServing
    const { node: name, priority, preempt, heartbeatMs, deadMs, takeover } = options
    this.#node = new ClusterNode(
      { name, priority, preempt, heartbeatMs, deadMs, takeover },
      settingsFingerprint(gateway)
    )
    this.#store = new ClusterStore({
      onPut: (snapshot) => this.#lease(snapshot, true),
      onDrop: (snapshot) => this.#lease(snapshot, false),
      onMalformed: (problem) =>
        this.#log.log('error', 'a session of the other node cannot be read: is it of another version?', {
          problem
        })
    })
    this.#replicator = new ClusterReplicator({
      tell: (message) => this.#link?.send(message),
      send: (message, path, session) => this.#core?.carriers.send(message, path, session),
      sessions: () => this.#core?.driver.sessions ?? [],
      dataOf: (session) => this.#core?.clients?.dataOf(session) ?? { children: [], activity: 0 }
    })
  }

  /** @throws SystemError `listen-failed`, and for interfaces that are not there */
  async start(core: GatewayCore): Promise<void> {
    this.#core = core
    const { listen, peer, secret, takeover, addresses } = this.#options
    if (takeover === 'self') {
      const runner = new SystemCommandRunner(this.#environment.log.child('host'))
      this.#addresses = new ServiceAddresses(addresses, { runner, clock: core.clock, log: this.#log })
      await this.#addresses.check()
    }
    this.#input((node, now) => node.start(now))
    this.#link = await ClusterLink.open(
      { listen, peer, key: linkKey(secret), clock: core.clock, log: this.#log },
      {
        onUp: () => this.#input((node, now) => node.linkUp(now)),
        onMessage: (message) => this.#input((node, now) => node.receive(now, message)),
        onDown: () => this.#input((node, now) => node.linkDown(now)),
        onPeerGone: () => this.#input((node, now) => node.peerGone(now))
      }
    )
    this.#every(COUNTERS_MS, () => this.#replicator.tellCounters())
    this.#every(LOOK_MS, () => this.#look())
    if (takeover === 'external') this.#every(ADDRESS_LOOK_MS, () => this.#lookForAddress())
    this.#tell('started')
  }

  /** The clean end of this node. @returns whether the other node goes on with the sessions */
  async stop(): Promise<'handed-over' | 'alone'> {
    if (this.#core !== undefined) this.#input((node, now) => node.stop(now))
    await this.#work
    return this.#stopped
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    for (const tick of this.#ticks) tick.cancel()
    await this.#work
    await this.#addresses?.drop()
    await this.#link?.close()
    this.#store.clear()
  }

  // ---- what the core sees

  onSend(message: Uint8Array, path: Path, session: IkeSession | undefined): void {
    this.#replicator.say(message, path, session)
  }

  onSessionEvent(session: IkeSession): void {
    this.#replicator.touch(session)
  }

  onSettled(): void {
    this.#replicator.settle(this.#now)
  }

  // ---- the node

  get #now(): number {
    return this.#core?.clock.now() ?? 0
  }

  #input(apply: (node: ClusterNode, now: number) => void): void {
    if (this.#closed) return
    apply(this.#node, this.#now)
    // What an output leads to may be an input again: the outer loop picks that up.
    if (this.#draining) return
    this.#draining = true
    try {
      for (let output = this.#node.poll(); output !== undefined; output = this.#node.poll())
        this.#handle(output)
    } finally {
      this.#draining = false
    }
    this.#arm()
  }

  #handle(output: NodeOutput): void {
    switch (output.type) {
      case 'send':
        this.#link?.send(output.message)
        return
      case 'activate':
        this.#enqueue(() => this.#activate(output.reason))
        return
      case 'flush':
        this.#replicator.tellCounters()
        return
      case 'deactivate':
        this.#deactivate(output.reason)
        return
      case 'copy':
        this.#copyWanted = true
        this.#copyIfReady()
        return
      case 'acknowledged':
        this.#replicator.acknowledged(output.serial)
        return
      case 'replica':
        this.#store.apply(this.#now, output.message)
        if (output.message.type === 'complete') this.#tell('ready')
        return
      case 'peer':
        if (output.state === 'lost') this.#peerLost()
        this.#tell(output.state === 'lost' ? 'peer-lost' : 'peer-linked')
        return
      case 'close-link':
        this.#link?.drop()
        return
      case 'stopped':
        this.#stopped = output.handedOver ? 'handed-over' : 'alone'
        return
      case 'log':
        this.#log.log(output.level, output.message, output.fields)
    }
  }

  #arm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const at = this.#node.nextTimeout()
    if (at === undefined || this.#closed) return
    this.#timer = this.#core?.clock.setTimer(at - this.#now, () => {
      this.#timer = undefined
      this.#input((node, now) => node.timeout(now))
    })
  }

  // ---- taking over and stepping back

  #enqueue(step: () => Promise<void>): void {
    this.#work = this.#work.then(step).catch((cause: unknown) => {
      const error =
        cause instanceof SystemError
          ? cause
          : new SystemError('takeover-failed', 'This node cannot serve.', { cause })
      this.#core?.fail(error)
    })
  }

  get #isActive(): boolean {
    return this.#node.role === 'active' && !this.#closed
  }

  async #activate(reason: NodeReason): Promise<void> {
    const core = this.#core
    if (core === undefined || !this.#isActive) return
    const since = this.#now
    await this.#addresses?.take()
    if (this.#isActive) await core.serve()
    if (!this.#isActive) return
    // From here on in one turn: nothing may come in before the sessions that it belongs to are there.
    this.#serving = true
    this.#addresses?.announce()
    const { resumed, lost } = this.#resumeSessions(core)
    const tookMs = Math.round(this.#now - since)
    this.#log.log('info', 'this node is active', { reason, resumed, lost, tookMs })
    this.#copyIfReady()
    this.#onServing()
    this.#tell(reason)
  }

  #resumeSessions(core: GatewayCore): { resumed: number; lost: number } {
    const now = this.#now
    const { cookies } = this.#store
    if (cookies !== undefined) {
      const { secrets, toldAt } = cookies
      core.responder.useCookieSecrets(now, { ...secrets, ageMs: secrets.ageMs + (now - toldAt) })
    }
    let resumed = 0
    const sessions = this.#store.take()
    for (const stored of sessions) {
      const { path, isOpen } = core.pathOf(stored.snapshot.path)
      if (core.adopt(takeoverOf(now, stored, path, isOpen))) resumed++
      else this.#lease(stored.snapshot, false)
    }
    return { resumed, lost: sessions.length - resumed }
  }

  #deactivate(reason: NodeReason): void {
    const core = this.#core
    this.#serving = false
    this.#copyWanted = false
    // At once, so that nothing leaves that the other node would not know of.
    this.#replicator.clear()
    core?.abandon()
    this.#replicator.clear()
    this.#store.clear()
    this.#enqueue(async () => {
      if (this.#isActive) return
      await this.#addresses?.drop()
      await core?.stopServing()
    })
    this.#log.log('info', 'this node is not active any more', { reason })
    this.#tell(reason)
  }

  #peerLost(): void {
    this.#copyWanted = false
    this.#replicator.standbyLost()
  }

  /** A takeover that is under way comes first. */
  #copyIfReady(): void {
    if (!this.#copyWanted || !this.#serving) return
    this.#copyWanted = false
    this.#replicator.copy(this.#now)
    this.#cookieVersion = undefined
    this.#tellCookies()
  }

  // ---- now and then

  #every(intervalMs: number, callback: () => void): void {
    const index = this.#ticks.length
    const arm = (): void => {
      const timer = this.#core?.clock.setTimer(intervalMs, () => {
        callback()
        if (!this.#closed) arm()
      })
      if (timer !== undefined) this.#ticks[index] = timer
    }
    arm()
  }

  #look(): void {
    this.#tellCookies()
    const { waitingSince } = this.#replicator
    if (waitingSince !== undefined && this.#now - waitingSince > this.#options.deadMs) {
      this.#log.log('warn', 'the standby does not keep up; going on without it')
      this.#link?.drop()
    }
    for (const { session, spiIn, isOver } of this.#replicator.overstretched())
      this.#core?.driver.input(session, (one, now) => {
        if (isOver) one.deleteChild(now, spiIn)
        else one.childLimitReached(now, spiIn, 'packets')
      })
  }

  #tellCookies(): void {
    if (!this.#serving || this.#core === undefined) return
    const secrets = this.#core.responder.cookieSecrets(this.#now)
    if (secrets.version === this.#cookieVersion) return
    this.#cookieVersion = secrets.version
    this.#link?.send({ type: 'cookies', secrets })
  }

  #lookForAddress(): void {
    const own = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
    const isHeld = this.#options.addresses.every(({ address }) => own.some((one) => one.address === address))
    this.#input((node, now) => node.addressHeld(now, isHeld))
  }

  /** A standby's pool is as the active node's: nobody gets the address of somebody else after a takeover. */
  #lease({ peerName, assigned }: SessionSnapshot, isTaken: boolean): void {
    for (const { address } of assigned?.addresses ?? []) {
      const bytes = addressToBytes(address)
      if (bytes === undefined) continue
      if (isTaken) this.#core?.pool.adopt(peerName, bytes)
      else this.#core?.pool.release(peerName, bytes)
    }
  }

  #tell(reason: string): void {
    const { role, term, peer, hasCopy } = this.#node
    const sessions = role === 'active' ? (this.#core?.clients?.size ?? 0) : this.#store.size
    this.#environment.onEvent({
      event: 'cluster',
      node: this.#options.node,
      role,
      reason,
      term,
      peer: peer ?? null,
      ready: role === 'active' ? this.#serving : hasCopy,
      sessions
    })
  }
}
