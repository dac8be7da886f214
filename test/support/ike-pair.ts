/**
 * Two IKE sessions in memory: configurations, paths, and an end that records what its session emits.
 * @module
 */
import { DEFAULT_ESP_PROPOSALS, DEFAULT_IKE_PROPOSALS } from '../../src/crypto/proposal.ts'
import type { ChildSaParameters } from '../../src/esp/types.ts'
import { identityFromText } from '../../src/ike/auth/identity.ts'
import type { LocalAuth, RemoteAuth } from '../../src/ike/auth/types.ts'
import { NONCE_LENGTH } from '../../src/ike/options.ts'
import type { RestoreInputs } from '../../src/ike/restore.ts'
import { DEFAULT_TIMERS, IkeSession } from '../../src/ike/session.ts'
import type { IkeOutput, InitiatorConfig, ResponderConfig, ResponderPolicy } from '../../src/ike/types.ts'
import { Secret } from '../../src/secret.ts'
import type { Endpoint, Path } from '../../src/wire/endpoint.ts'
import { parseTrafficSelector } from '../../src/wire/traffic-selectors.ts'
import { SeededRandom } from './seeded-random.ts'

export const CLIENT: Endpoint = { address: '198.51.100.2', port: 4500 }
export const GATEWAY: Endpoint = { address: '203.0.113.1', port: 4500 }

export function selectors(...texts: string[]) {
  return texts.map((text) => {
    const selector = parseTrafficSelector(text)
    if (selector === undefined) throw new Error(`not a selector: ${text}`)
    return selector
  })
}

export const PSK: LocalAuth & RemoteAuth = { method: 'psk', secret: new Secret('correct horse') }

export function initiatorConfig(changes: Partial<InitiatorConfig> = {}): InitiatorConfig {
  return {
    role: 'initiator',
    ikeProposals: DEFAULT_IKE_PROPOSALS,
    espProposals: DEFAULT_ESP_PROPOSALS,
    timers: DEFAULT_TIMERS,
    fragmentSize: 1280,
    mobike: true,
    haSync: true,
    localIdentity: identityFromText('alice@example.org'),
    remoteIdentity: identityFromText('gw.example.org'),
    localAuth: PSK,
    remoteAuth: PSK,
    configRequest: { ipv4: true, ipv6: true, dns: true },
    localTs: selectors('0.0.0.0/0', '::/0'),
    remoteTs: selectors('0.0.0.0/0', '::/0'),
    ...changes
  }
}

export function responderPolicy(changes: Partial<ResponderPolicy> = {}): ResponderPolicy {
  return {
    authenticationFor: () => ({
      localIdentity: identityFromText('gw.example.org'),
      localAuth: PSK,
      remoteAuth: PSK
    }),
    assign: () => ({
      addresses: [
        { address: '10.9.0.5', prefixLength: 32 },
        { address: 'fd09::5', prefixLength: 128 }
      ],
      dns: ['10.9.0.1'],
      dnsDomains: ['example.org'],
      subnets: ['10.0.0.0/8']
    }),
    release: () => undefined,
    localTs: selectors('10.0.0.0/8', 'fd00::/8'),
    ...changes
  }
}

export function responderConfig(
  changes: Partial<ResponderConfig> = {},
  policy: Partial<ResponderPolicy> = {}
): ResponderConfig {
  return {
    role: 'responder',
    ikeProposals: DEFAULT_IKE_PROPOSALS,
    espProposals: DEFAULT_ESP_PROPOSALS,
    timers: DEFAULT_TIMERS,
    fragmentSize: 1280,
    mobike: true,
    haSync: true,
    policy: responderPolicy(policy),
    cookies: 'auto',
    cookieThreshold: 10,
    maxHalfOpen: 100,
    maxHalfOpenPerAddress: 10,
    ...changes
  }
}

let lastPathId = 0

/** A path as both of its ends see it. */
export function pathPair(
  transport: Path['transport'] = 'udp',
  client: Endpoint = CLIENT,
  gateway: Endpoint = GATEWAY
): { client: Path; gateway: Path } {
  const common = { transport, reliable: transport !== 'udp' }
  return {
    client: { ...common, id: ++lastPathId, local: client, remote: gateway },
    gateway: { ...common, id: ++lastPathId, local: gateway, remote: client }
  }
}

/** UDP 500 that floats to 4500. */
export function floatingPathPair(): { client: Path; gateway: Path; natT: { client: Path; gateway: Path } } {
  const on500 = pathPair('udp', { ...CLIENT, port: 500 }, { ...GATEWAY, port: 500 })
  const natT = pathPair('udp')
  return { client: { ...on500.client, natT: natT.client }, gateway: on500.gateway, natT }
}

/** Seeded, but the first byte of coming nonces can be set, which decides collisions. */
export class NonceRandom extends SeededRandom {
  readonly nonceStarts: number[] = []

  override bytes(length: number): Uint8Array {
    const bytes = super.bytes(length)
    const start = length === NONCE_LENGTH ? this.nonceStarts.shift() : undefined
    if (start !== undefined) bytes[0] = start
    return bytes
  }
}

type SendOutput = Extract<IkeOutput, { type: 'send' }>

/** One end: a session, the messages it wants sent, its Child SAs as a data plane would hold them, and its events. */
export class End {
  readonly config: InitiatorConfig | ResponderConfig
  readonly session: IkeSession
  readonly sent: SendOutput[] = []
  readonly events: Exclude<IkeOutput, { type: 'send' | 'log' }>[] = []
  readonly logs: string[] = []
  readonly children = new Map<number, ChildSaParameters>()
  /** Inbound SPI of the Child SA that is sent on, by childId. */
  readonly sendingOn = new Map<number, number>()
  waiting: Promise<void>[] = []
  readonly random: NonceRandom

  /** @param restore takes a session over from another end instead of beginning one */
  constructor(
    config: InitiatorConfig | ResponderConfig,
    seed: number,
    options: { logKeys?: boolean; restore?: { now: number; inputs: RestoreInputs } } = {}
  ) {
    this.config = config
    this.random = new NonceRandom(seed)
    const environment = { random: this.random, wallClockMs: () => Date.UTC(2026, 5, 1) }
    const { restore, logKeys = false } = options
    const session =
      restore === undefined
        ? new IkeSession(config, environment, { logKeys })
        : IkeSession.restore(restore.now, config, environment, restore.inputs, { logKeys })
    if (session === undefined) throw new Error('the snapshot makes no sense')
    this.session = session
  }

  drain(): void {
    for (let output = this.session.poll(); output !== undefined; output = this.session.poll()) {
      this.#take(output)
    }
  }

  /** What it has said since the last call, such as `CREATE_CHILD_SA request 2 [ SA NONCE TSi TSr ]`. */
  said(): string[] {
    const lines = this.logs.filter((line) => line.startsWith('debug sending '))
    const fresh = lines.slice(this.#saidBefore)
    this.#saidBefore = lines.length
    return fresh.map((line) => line.slice('debug sending '.length))
  }

  #saidBefore = 0

  /** Events of a type, in order. */
  of<T extends IkeOutput['type']>(type: T): Extract<IkeOutput, { type: T }>[] {
    return this.events.filter(
      (event): event is Extract<IkeOutput, { type: T }> & typeof event => event.type === type
    )
  }

  #take(output: IkeOutput): void {
    switch (output.type) {
      case 'send':
        this.sent.push(output)
        return
      case 'log':
        this.logs.push(`${output.level} ${output.message}`)
        return
      case 'child-up':
        if (this.children.has(output.child.inbound.spi)) throw new Error('an inbound SPI was used twice')
        this.children.set(output.child.inbound.spi, output.child)
        break
      case 'child-outbound': {
        const child = this.children.get(output.spiIn)
        if (child === undefined) throw new Error('child-outbound for a Child SA that is not there')
        this.sendingOn.set(child.childId, output.spiIn)
        break
      }
      case 'child-down': {
        const child = this.children.get(output.spiIn)
        if (child?.outbound.spi !== output.spiOut)
          throw new Error('child-down for a Child SA that is not there')
        this.children.delete(output.spiIn)
        if (this.sendingOn.get(child.childId) === output.spiIn) this.sendingOn.delete(child.childId)
        break
      }
      case 'wait':
        this.waiting.push(output.until)
        break
      default:
    }
    this.events.push(output)
  }
}

/**
 * Two ends joined by a wire on which nothing is lost. Messages wait in `sent` of their sender until `pass` or `settle`
 * delivers them, so that a test can cross, drop and repeat them.
 */
export class Pair {
  readonly client: End
  readonly gateway: End
  now = 1000
  /** The other end's view of each path. */
  readonly #opposite = new Map<number, Path>()

  constructor(
    options: {
      client?: Partial<InitiatorConfig>
      gateway?: Partial<ResponderConfig>
      policy?: Partial<ResponderPolicy>
      seed?: number
      logKeys?: boolean
    } = {}
  ) {
    const seed = options.seed ?? 1
    const logging = { logKeys: options.logKeys ?? false }
    this.client = new End(initiatorConfig(options.client), seed * 2, logging)
    this.gateway = new End(responderConfig(options.gateway, options.policy), seed * 2 + 1, logging)
  }

  addPath(pair: { client: Path; gateway: Path }): void {
    this.#opposite.set(pair.client.id, pair.gateway)
    this.#opposite.set(pair.gateway.id, pair.client)
  }

  /** Connects on a fresh UDP path, up to an established session. */
  connect(path = pathPair()): this {
    this.addPath(path)
    this.client.session.connect(this.now, path.client)
    this.settle()
    return this
  }

  /** Delivers the oldest waiting message of an end and drains both; @returns the message. */
  pass(from: End): Uint8Array {
    const output = from.sent.shift()
    if (output === undefined) throw new Error('nothing to deliver')
    this.deliver(from, output)
    return output.message
  }

  deliver(from: End, output: SendOutput): void {
    const to = from === this.client ? this.gateway : this.client
    const path = this.#opposite.get(output.path.id)
    if (path !== undefined) to.session.receive(this.now, output.message, path)
    this.drain()
  }

  /** Delivers until nobody has anything to say. */
  settle(): void {
    this.drain()
    for (let count = 0; count < 1000; count++) {
      const from = this.client.sent.length > 0 ? this.client : this.gateway
      if (from.sent.length === 0) return
      this.pass(from)
    }
    throw new Error('the two ends do not come to rest')
  }

  /** Lets time pass, firing timers of both ends in order and delivering what they cause. */
  advance(durationMs: number, options: { deliver?: boolean } = {}): void {
    const until = this.now + durationMs
    for (let count = 0; count < 10_000; count++) {
      const next = Math.min(
        this.client.session.nextTimeout() ?? Number.POSITIVE_INFINITY,
        this.gateway.session.nextTimeout() ?? Number.POSITIVE_INFINITY
      )
      if (next > until) {
        this.now = until
        return
      }
      this.now = Math.max(this.now, next)
      this.client.session.timeout(this.now)
      this.gateway.session.timeout(this.now)
      if (options.deliver ?? true) this.settle()
      else this.drain()
    }
    throw new Error('timers do not come to rest')
  }

  drain(): void {
    this.client.drain()
    this.gateway.drain()
  }
}

/** Two Child SAs are halves of one pair: SPIs crossed, keys equal. */
export function arePaired(a: ChildSaParameters, b: ChildSaParameters): boolean {
  return sameDirection(a.inbound, b.outbound) && sameDirection(a.outbound, b.inbound)
}

function sameDirection(a: ChildSaParameters['inbound'], b: ChildSaParameters['inbound']): boolean {
  return (
    a.spi === b.spi &&
    a.encryptionId === b.encryptionId &&
    a.esn === b.esn &&
    Buffer.from(a.encryptionKey).equals(b.encryptionKey) &&
    Buffer.from(a.integrityKey).equals(b.integrityKey)
  )
}
