/**
 * Which of two nodes is active: elections, heartbeats, takeovers (sans-IO; `cluster.ts` drives it).
 *
 * Rules, in the order in which they decide:
 *  1. A node that starts waits for the other one; it is active at once if the other one's machine says that nobody is there.
 *  2. Of two that start, the one with the higher priority is active, then the one whose name comes later.
 *  3. A standby becomes active when it hears nothing of the active node for the dead time, when that node's machine says that
 *     its program is gone, or when that node hands over or has started anew.
 *  4. Two active nodes that find each other (they could not talk, and both served): the one with the higher term, that is the
 *     one that took over last and whom the neighbours therefore reach, stays; the other one gives everything up.
 *
 * A node that was not run for long (a stopped process, a sleeping machine) first hears what the other one has said meanwhile.
 * Where somebody else assigns the address, holding it makes a node active, and none of these rules does.
 * @module
 */
import type { LogFields, LogLevel } from '../log.ts'
import type { ClusterMessage, NodeRole, NodeStatus } from './cluster-protocol.ts'

export interface NodeOptions {
  readonly name: string
  /** 0 to 255; higher is preferred. */
  readonly priority: number
  /** A preferred node that comes back takes over again, once it has everything. */
  readonly preempt: boolean
  readonly heartbeatMs: number
  readonly deadMs: number
  /** Who takes the service addresses: this program, or another one such as keepalived. */
  readonly takeover: 'self' | 'external'
}

export type NodeReason =
  | 'alone'
  | 'elected'
  | 'peer-dead'
  | 'peer-gone'
  | 'peer-restarted'
  | 'handover'
  | 'address'
  | 'split-brain'
  | 'preempted'
  | 'stopped'

export type NodeOutput =
  | { readonly type: 'send'; readonly message: ClusterMessage }
  /** Go on with what the store holds. */
  | { readonly type: 'activate'; readonly reason: NodeReason }
  /** Tell the standby how things stand, one last time. */
  | { readonly type: 'flush' }
  /** Forget all sessions without a word to the clients, and give the addresses up. */
  | { readonly type: 'deactivate'; readonly reason: NodeReason }
  /** A standby is there: tell it everything. */
  | { readonly type: 'copy' }
  /** The standby has everything up to here. */
  | { readonly type: 'acknowledged'; readonly serial: number }
  /** For the store of a standby. */
  | { readonly type: 'replica'; readonly message: ReplicaMessage }
  | { readonly type: 'peer'; readonly state: 'linked' | 'lost'; readonly name: string }
  /** The peer is linked and says nothing: end the link. */
  | { readonly type: 'close-link' }
  /** `stop` is done. `handedOver`: the peer has the sessions, the clients must not be told anything. */
  | { readonly type: 'stopped'; readonly handedOver: boolean }
  | { readonly type: 'log'; readonly level: LogLevel; readonly message: string; readonly fields?: LogFields }

export type ReplicaMessage = Extract<
  ClusterMessage,
  { type: 'begin' | 'complete' | 'put' | 'drop' | 'counters' | 'cookies' }
>

interface PeerState extends NodeStatus {
  readonly name: string
  readonly priority: number
}

/** A starting node waits this many dead times for the other one: as long as that needs to be sure of itself. */
const START_PATIENCE = 3
/** A preferred node that came back takes over when all has been quiet for this long. */
const PREEMPT_AFTER_MS = 5_000

export class ClusterNode {
  readonly #options: NodeOptions
  readonly #fingerprint: Uint8Array
  readonly #outputs: NodeOutput[] = []
  #role: NodeRole = 'starting'
  #term = 0
  #hasCopy = false
  #linked = false
  #peer: PeerState | undefined
  #lastHeardAt = 0
  #lastRunAt: number | undefined
  #beatAt = 0
  #startDeadline = 0
  #preemptAt: number | undefined
  /** The link broke; when the peer counts as dead. */
  #deadAt: number | undefined

  constructor(options: NodeOptions, fingerprint: Uint8Array) {
    this.#options = options
    this.#fingerprint = fingerprint
  }

  get role(): NodeRole {
    return this.#role
  }

  get term(): number {
    return this.#term
  }

  /** Name of the peer, while it is linked. */
  get peer(): string | undefined {
    return this.#peer?.name
  }

  /** A standby that could go on with every session. */
  get hasCopy(): boolean {
    return this.#hasCopy
  }

  start(now: number): void {
    this.#run(now)
    this.#startDeadline = now + this.#options.deadMs * START_PATIENCE
  }

  linkUp(now: number): void {
    this.#run(now)
    this.#linked = true
    this.#lastHeardAt = now
    this.#deadAt = undefined
    this.#beatAt = now + this.#options.heartbeatMs
    const { name: node, priority } = this.#options
    this.#send({ type: 'hello', node, priority, fingerprint: this.#fingerprint, ...this.#status() })
  }

  linkDown(now: number): void {
    this.#run(now)
    if (!this.#linked) return
    const { peer } = this
    this.#linked = false
    this.#peer = undefined
    this.#preemptAt = undefined
    if (this.#role === 'standby') this.#deadAt = Math.max(now, this.#lastHeardAt + this.#options.deadMs)
    if (peer !== undefined) this.#outputs.push({ type: 'peer', state: 'lost', name: peer })
  }

  /** The peer's machine answers that no program of ours listens there. */
  peerGone(now: number): void {
    this.#run(now)
    if (this.#linked || this.#options.takeover === 'external') return
    if (this.#role === 'starting') this.#activate(now, 'alone')
    else if (this.#role === 'standby') this.#activate(now, 'peer-gone')
  }

  receive(now: number, message: ClusterMessage): void {
    this.#run(now)
    if (!this.#linked) return
    this.#lastHeardAt = now
    switch (message.type) {
      case 'hello':
        this.#onHello(now, message)
        return
      case 'beat':
        if (this.#peer !== undefined) this.#onStatus(now, message)
        return
      case 'handover':
        if (this.#role === 'standby') this.#activate(now, 'handover')
        return
      case 'release':
        if (this.#role === 'active' && this.#peer?.hasCopy === true) this.#handOver('preempted')
        return
      case 'ack':
        this.#outputs.push({ type: 'acknowledged', serial: message.serial })
        return
      default:
        this.#onReplica(now, message)
    }
  }

  /** Call when `nextTimeout` has come. */
  timeout(now: number): void {
    this.#run(now)
    const { deadMs, heartbeatMs } = this.#options
    if (this.#linked && now - this.#lastHeardAt >= deadMs) {
      this.#outputs.push({ type: 'close-link' })
      this.linkDown(now)
    }
    if (this.#linked && now >= this.#beatAt) {
      this.#beatAt = now + heartbeatMs
      this.#send({ type: 'beat', ...this.#status() })
    }
    if (this.#options.takeover === 'external') return
    if (this.#role === 'standby' && this.#deadAt !== undefined && now >= this.#deadAt)
      this.#activate(now, 'peer-dead')
    if (this.#role === 'starting' && !this.#linked && now >= this.#startDeadline) this.#activate(now, 'alone')
    if (this.#role === 'standby' && this.#preemptAt !== undefined && now >= this.#preemptAt) {
      this.#preemptAt = now + PREEMPT_AFTER_MS
      this.#send({ type: 'release' })
    }
  }

  /** Somebody else gave this machine the service address, or took it away. */
  addressHeld(now: number, isHeld: boolean): void {
    this.#run(now)
    if (this.#options.takeover !== 'external' || this.#role === 'stopped') return
    if (isHeld && this.#role !== 'active') this.#activate(now, 'address')
    else if (!isHeld && this.#role === 'active') {
      this.#outputs.push({ type: 'flush' })
      this.#yield('address')
    } else if (!isHeld && this.#role === 'starting') this.#become('standby')
  }

  /** The clean end: hands over if somebody is there to take over. */
  stop(now: number): void {
    this.#run(now)
    const handedOver =
      this.#role === 'active' && this.#peer?.role === 'standby' && this.#peer.hasCopy === true
    if (handedOver) this.#handOver('stopped')
    this.#become('stopped')
    this.#outputs.push({ type: 'stopped', handedOver })
  }

  poll(): NodeOutput | undefined {
    return this.#outputs.shift()
  }

  nextTimeout(): number | undefined {
    if (this.#role === 'stopped') return undefined
    const isOwn = this.#options.takeover === 'self'
    const deadlines = [
      this.#linked ? this.#beatAt : undefined,
      this.#linked ? this.#lastHeardAt + this.#options.deadMs : undefined,
      isOwn && this.#role === 'standby' ? this.#deadAt : undefined,
      // Run often enough to notice that it was not run.
      this.#deadAt === undefined ? undefined : (this.#lastRunAt ?? 0) + this.#options.heartbeatMs,
      isOwn && this.#role === 'starting' && !this.#linked ? this.#startDeadline : undefined,
      isOwn && this.#role === 'standby' ? this.#preemptAt : undefined
    ].filter((at) => at !== undefined)
    return deadlines.length === 0 ? undefined : Math.min(...deadlines)
  }

  /** Every input begins here. */
  #run(now: number): void {
    const { deadMs, heartbeatMs } = this.#options
    // Asleep for long: what the peer said in the meantime waits to be read, and is to be read first.
    if (this.#lastRunAt !== undefined && now - this.#lastRunAt > Math.max(deadMs / 2, heartbeatMs * 2)) {
      this.#lastHeardAt = Math.max(this.#lastHeardAt, now - deadMs / 2)
      if (this.#deadAt !== undefined) this.#deadAt = Math.max(this.#deadAt, now + deadMs / 2)
    }
    this.#lastRunAt = now
  }

  #onHello(now: number, hello: Extract<ClusterMessage, { type: 'hello' }>): void {
    const { node: name, priority, fingerprint } = hello
    if (name === this.#options.name)
      this.#log('error', 'the other node has the same name: give each its own', { name })
    if (!sameBytes(fingerprint, this.#fingerprint))
      this.#log('warn', 'the other node has other settings: sessions may not survive a takeover', { name })
    const isNew = this.#peer === undefined
    this.#peer = { name, priority, role: 'starting', term: 0, hasCopy: false }
    if (isNew) this.#outputs.push({ type: 'peer', state: 'linked', name })
    this.#onStatus(now, hello)
  }

  #onStatus(now: number, { role, term, hasCopy }: NodeStatus): void {
    const before = this.#peer
    if (before === undefined) return
    const peer: PeerState = { ...before, role, term, hasCopy }
    this.#peer = peer
    if (this.#role === 'active') this.#asActive(peer, before)
    else if (this.#options.takeover === 'external') this.#asFollower(peer)
    else if (this.#role === 'starting') this.#asStarting(now, peer)
    else if (this.#role === 'standby') this.#asStandby(now, peer)
  }

  #asActive(peer: PeerState, before: PeerState): void {
    if (peer.role === 'active') {
      if (this.#options.takeover === 'external') return
      if (this.#outranks(peer, [this.#term], [peer.term])) return
      this.#log('warn', 'both nodes were active; the other one took over later and goes on', {
        peer: peer.name
      })
      this.#yield('split-brain')
      this.#term = Math.max(this.#term, peer.term)
      return
    }
    if (peer.role === 'standby' && before.role !== 'standby') this.#outputs.push({ type: 'copy' })
  }

  #asFollower(peer: PeerState): void {
    this.#term = Math.max(this.#term, peer.term)
  }

  #asStarting(now: number, peer: PeerState): void {
    this.#term = Math.max(this.#term, peer.term)
    if (peer.role === 'starting' && this.#outranks(peer, [], [])) this.#activate(now, 'elected')
    else if (peer.role !== 'stopped') {
      this.#become('standby')
      // Not only with the next heartbeat: a copy waits for it.
      this.#send({ type: 'beat', ...this.#status() })
    }
  }

  #asStandby(now: number, peer: PeerState): void {
    this.#term = Math.max(this.#term, peer.term)
    switch (peer.role) {
      case 'active':
        return
      case 'starting':
        // It has lost what it had; we have a copy of it.
        this.#activate(now, 'peer-restarted')
        return
      case 'standby':
        if (this.#outranks(peer, [Number(this.#hasCopy)], [Number(peer.hasCopy)]))
          this.#activate(now, 'elected')
        return
      case 'stopped':
        this.#activate(now, 'peer-gone')
    }
  }

  #onReplica(now: number, message: ReplicaMessage): void {
    if (this.#role !== 'standby') return
    if (message.type === 'begin') this.#hasCopy = false
    this.#outputs.push({ type: 'replica', message })
    if (message.type === 'put' || message.type === 'drop') this.#send({ type: 'ack', serial: message.serial })
    if (message.type !== 'complete') return
    this.#hasCopy = true
    this.#send({ type: 'ack', serial: message.serial })
    // Not only with the next heartbeat: a clean stop may come before.
    this.#send({ type: 'beat', ...this.#status() })
    const { preempt, priority } = this.#options
    const peer = this.#peer
    if (preempt && peer !== undefined && priority > peer.priority) this.#preemptAt = now + PREEMPT_AFTER_MS
  }

  #activate(now: number, reason: NodeReason): void {
    this.#term++
    this.#become('active')
    this.#outputs.push({ type: 'activate', reason })
    if (!this.#linked) return
    this.#beatAt = now + this.#options.heartbeatMs
    this.#send({ type: 'beat', ...this.#status() })
    if (this.#peer?.role === 'standby') this.#outputs.push({ type: 'copy' })
  }

  #handOver(reason: NodeReason): void {
    this.#outputs.push({ type: 'flush' })
    this.#yield(reason)
    this.#send({ type: 'handover' })
  }

  #yield(reason: NodeReason): void {
    this.#become('standby')
    this.#outputs.push({ type: 'deactivate', reason })
    if (this.#linked && reason !== 'preempted' && reason !== 'stopped')
      this.#send({ type: 'beat', ...this.#status() })
  }

  #become(role: NodeRole): void {
    this.#role = role
    this.#hasCopy = false
    this.#deadAt = undefined
    this.#preemptAt = undefined
  }

  /** Compares first what matters most, then priority, then name. */
  #outranks(peer: PeerState, own: readonly number[], theirs: readonly number[]): boolean {
    const { priority, name } = this.#options
    const ours = [...own, priority]
    const others = [...theirs, peer.priority]
    for (const [index, value] of ours.entries()) {
      const other = others[index] ?? 0
      if (value !== other) return value > other
    }
    return name > peer.name
  }

  #status(): NodeStatus {
    return { role: this.#role, term: this.#term, hasCopy: this.#hasCopy }
  }

  #send(message: ClusterMessage): void {
    if (this.#linked) this.#outputs.push({ type: 'send', message })
  }

  #log(level: LogLevel, message: string, fields: LogFields): void {
    this.#outputs.push({ type: 'log', level, message, fields })
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}
