/**
 * Two nodes of a cluster and the link between them in virtual time: the link breaks and heals, programs die, sleep and
 * start again as a test says.
 * @module
 */
import { ClusterNode, type NodeOptions, type NodeOutput } from '../../src/gateway/cluster-node.ts'
import type { ClusterMessage } from '../../src/gateway/cluster-protocol.ts'

const BASE: NodeOptions = {
  name: 'left',
  priority: 200,
  preempt: false,
  heartbeatMs: 100,
  deadMs: 500,
  takeover: 'self'
}
const DELAY_MS = 1
const STEP_MS = 10

export class TestNode {
  readonly options: NodeOptions
  readonly outputs: NodeOutput[] = []
  node: ClusterNode
  /** Not running: what comes waits for it. */
  isAsleep = false
  isRunning = true
  fingerprint = Uint8Array.of(1)

  constructor(options: NodeOptions) {
    this.options = options
    this.node = new ClusterNode(options, this.fingerprint)
  }

  get role() {
    return this.node.role
  }

  of<T extends NodeOutput['type']>(type: T): Extract<NodeOutput, { type: T }>[] {
    return this.outputs.filter((one): one is Extract<NodeOutput, { type: T }> => one.type === type)
  }

  get reasons(): string[] {
    return [...this.outputs].flatMap((one) =>
      one.type === 'activate' || one.type === 'deactivate' ? [`${one.type} ${one.reason}`] : []
    )
  }
}

export class NodePair {
  readonly left: TestNode
  readonly right: TestNode
  now = 1_000
  #isLinked = false
  #onTheWay: { readonly at: number; readonly to: TestNode; readonly message: ClusterMessage }[] = []

  constructor(left: Partial<NodeOptions> = {}, right: Partial<NodeOptions> = {}) {
    this.left = new TestNode({ ...BASE, ...left })
    this.right = new TestNode({ ...BASE, name: 'right', priority: 100, ...right })
  }

  start(...nodes: readonly TestNode[]): this {
    for (const one of nodes.length === 0 ? [this.left, this.right] : nodes) one.node.start(this.now)
    return this
  }

  link(): this {
    this.#isLinked = true
    for (const one of [this.left, this.right]) one.node.linkUp(this.now)
    this.#drain()
    return this
  }

  /** The link is gone; what was under way is lost. */
  cut(): this {
    this.#isLinked = false
    this.#onTheWay = []
    for (const one of [this.left, this.right]) if (one.isRunning && !one.isAsleep) one.node.linkDown(this.now)
    this.#drain()
    return this
  }

  kill(one: TestNode): this {
    one.isRunning = false
    return this.cut()
  }

  /** Starts a killed program anew. */
  restart(one: TestNode): this {
    one.isRunning = true
    one.node = new ClusterNode(one.options, one.fingerprint)
    one.node.start(this.now)
    return this
  }

  say(from: TestNode, message: ClusterMessage): this {
    this.#send(from, message)
    return this
  }

  run(durationMs: number): this {
    const until = this.now + durationMs
    while (this.now < until) {
      this.now += STEP_MS
      for (const one of [this.left, this.right]) {
        if (!one.isRunning || one.isAsleep) continue
        const at = one.node.nextTimeout()
        if (at !== undefined && at <= this.now) one.node.timeout(this.now)
      }
      this.#drain()
      this.#deliver()
    }
    return this
  }

  #deliver(): void {
    const due = this.#onTheWay.filter(({ at, to }) => at <= this.now && !to.isAsleep)
    this.#onTheWay = this.#onTheWay.filter((one) => !due.includes(one))
    for (const { to, message } of due) if (to.isRunning) to.node.receive(this.now, message)
    this.#drain()
  }

  #drain(): void {
    for (const one of [this.left, this.right]) {
      for (let output = one.node.poll(); output !== undefined; output = one.node.poll()) {
        one.outputs.push(output)
        if (output.type === 'send') this.#send(one, output.message)
        if (output.type === 'close-link') this.cut()
      }
    }
  }

  #send(from: TestNode, message: ClusterMessage): void {
    if (!this.#isLinked || !from.isRunning) return
    const to = from === this.left ? this.right : this.left
    this.#onTheWay.push({ at: this.now + DELAY_MS, to, message })
  }
}
