/**
 * Targets of the IKE engine, in both roles and in every state: what nobody signed must change nothing, and what a peer that holds
 * the keys says must be answered, or end the session.
 * @module
 */

import { InitProbe } from '../../../src/check/init-probe.ts'
import { cipherSuite } from '../../../src/crypto/cipher-suite.ts'
import { createIkeCipher } from '../../../src/crypto/ike-cipher.ts'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import type { IkeCipher } from '../../../src/crypto/types.ts'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import { type Fragment, FragmentReassembler } from '../../../src/ike/fragments.ts'
import { MAX_FRAGMENTS, MAX_REASSEMBLED_LENGTH } from '../../../src/ike/options.ts'
import { IkeResponder } from '../../../src/ike/responder.ts'
import { IkeSession } from '../../../src/ike/session.ts'
import { decodeSnapshot, encodeSnapshot } from '../../../src/ike/snapshot-codec.ts'
import { Secret } from '../../../src/secret.ts'
import type { Path } from '../../../src/wire/endpoint.ts'
import { decodeHeader, encodeEncrypted } from '../../../src/wire/ike-codec.ts'
import { EapType, ExchangeType } from '../../../src/wire/ike-constants.ts'
import type { IkeHeader } from '../../../src/wire/ike-message.ts'
import { type End, Pair, PSK, pathPair, responderConfig } from '../../support/ike-pair.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { recordedChains, recordedMessages } from '../corpus.ts'
import { bounded, type FuzzTarget, holds, same } from '../target.ts'
import { withTrueLength } from './wire.ts'

type Role = 'client' | 'gateway'

/** A pair with the path that joins it: the same numbers each time, so that a replay is one. */
interface Scene {
  readonly pair: Pair
  readonly path: { readonly client: Path; readonly gateway: Path }
  /** Everything that was said, in order; none of it is foreign. */
  readonly said: { readonly from: Role; readonly message: Uint8Array }[]
}

function scene(changes: ConstructorParameters<typeof Pair>[0] = {}): Scene {
  const fresh = pathPair()
  const path = { client: { ...fresh.client, id: 1001 }, gateway: { ...fresh.gateway, id: 1002 } }
  const pair = new Pair({ logKeys: true, ...changes })
  pair.addPath(path)
  pair.client.session.connect(pair.now, path.client)
  pair.drain()
  return { pair, path, said: [] }
}

/** Delivers what waits, so many messages at most. */
function deliver({ pair, said }: Scene, count = Number.POSITIVE_INFINITY): void {
  for (let passed = 0; passed < count; passed++) {
    const from = pair.client.sent.length > 0 ? 'client' : 'gateway'
    if (pair[from].sent.length === 0) return
    said.push({ from, message: pair.pass(pair[from]) })
  }
}

const EAP = {
  client: {
    localAuth: { method: 'eap', credentials: { user: 'alice', password: new Secret('wonderland') } }
  },
  policy: {
    authenticationFor: (_initiator: unknown, _responder: unknown, kind: string) =>
      kind === 'eap'
        ? {
            localIdentity: identityFromText('gw.example.org'),
            localAuth: PSK,
            remoteAuth: {
              method: 'eap' as const,
              server: { methods: [EapType.MSCHAPV2], passwordOf: () => new Secret('wonderland') }
            }
          }
        : undefined
  }
} satisfies ConstructorParameters<typeof Pair>[0]

const childOf = (end: End): number => [...end.children.keys()][0] ?? 0

/** States that a session can be in when something comes; each is made in a few messages. */
const STATES: Readonly<Record<string, () => Scene>> = {
  established: () => after(scene(), () => undefined),
  'half open': () => partly(scene(), 2),
  'in EAP': () => partly(scene(EAP), 6),
  'rekeying the Child SA': () =>
    after(scene(), ({ pair }) => pair.client.session.rekeyChild(pair.now, childOf(pair.client))),
  'rekeying the IKE SA': () => after(scene(), ({ pair }) => pair.gateway.session.rekeyIke(pair.now)),
  'both rekeying': () =>
    after(scene(), ({ pair }) => {
      pair.client.session.rekeyIke(pair.now)
      pair.gateway.session.rekeyIke(pair.now)
    }),
  'looking for life': () => after(scene(), ({ pair }) => pair.client.session.checkLiveness(pair.now)),
  moving: () => after(scene(), ({ pair, path }) => pair.client.session.movePath(pair.now, path.client)),
  closing: () => after(scene(), ({ pair }) => pair.gateway.session.close(pair.now))
}

function partly(made: Scene, messages: number): Scene {
  deliver(made, messages)
  return made
}

/** Established, then `act`, with its first message on the way. */
function after(made: Scene, act: (scene: Scene) => void): Scene {
  deliver(made)
  act(made)
  made.pair.drain()
  return made
}

/** What of a session only its peer may change. */
function essence(end: End, now: number): unknown {
  const { session } = end
  const {
    lastHeardMs: _,
    tasksQueued: __,
    tasksActive: ___,
    nextRequestId: ____,
    ...info
  } = session.info(now)
  return [JSON.stringify(info), session.nextTimeout() === undefined, end.children.size, end.events.length]
}

/** Everything that both ends of all scenes have said: spoiled, it still has the right SPIs. */
function conversations(): Uint8Array[] {
  const made = Object.values(STATES).map((make) => make())
  for (const one of made) deliver(one, 4)
  return made.flatMap(({ said }) => said.map(({ message }) => message))
}

const SCENES = Object.keys(STATES)

const unauthenticated: FuzzTarget = {
  name: 'session-unauthenticated',
  covers: ['ike/session.ts#IkeSession', 'ike/messenger.ts#openMessage', 'ike/messenger.ts#isAuthentic'],
  weight: 1,
  episode: 400,
  maxLength: 8192,
  corpus: () => [...conversations(), ...recordedMessages().slice(0, 10)],
  repair: withTrueLength,
  open: () => {
    const scenes = SCENES.map((name) => {
      const made = (STATES[name] ?? scene)()
      return { name, ...made }
    })
    const genuine = new Set(conversations().map((message) => Buffer.from(message).toString('latin1')))
    return (input, random) => {
      const chosen = scenes[random.below(scenes.length)]
      if (chosen === undefined || genuine.has(Buffer.from(input).toString('latin1'))) return
      const { pair, path, name } = chosen
      const role = random.below(2) === 0 ? 'client' : 'gateway'
      const end = pair[role]
      // Nothing protects the first exchange (RFC 7296 section 2.21.1).
      if (name === 'half open' && isInit(input)) return
      const before = essence(end, pair.now)
      const sentBefore = end.sent.length
      end.logs.length = 0
      end.session.receive(pair.now, input, path[role])
      end.drain()
      holds(same(essence(end, pair.now), before), `a ${role} that is ${name} stays as it is`)
      holds(end.sent.length - sentBefore <= 1, 'a message that nobody signed has one answer at most')
      const answer = end.sent.at(-1)?.message.length ?? 0
      if (end.sent.length > sentBefore) holds(answer <= 2_000, 'and that is short')
      end.sent.length = sentBefore
    }
  }
}

function isInit(message: Uint8Array): boolean {
  const header = decodeHeader(message)
  return header.ok && header.header.exchangeType === ExchangeType.IKE_SA_INIT
}

/** Seals whatever bytes as a peer that holds the keys could. */
class RawPeer {
  readonly #cipher: IkeCipher
  readonly #blockSize: number
  readonly #header: Pick<IkeHeader, 'spiI' | 'spiR' | 'fromInitiator'>
  #iv = 1n << 40n

  constructor(end: End, isInitiator: boolean) {
    const keys = end.of('keys').at(-1)?.keys
    const suite = keys && cipherSuite(keys.encryptionId, keys.encryptionKeyBits, keys.integrityId)
    if (keys === undefined || suite === undefined) throw new Error('no keys')
    this.#cipher = isInitiator
      ? createIkeCipher(suite, keys.skEi, keys.skAi)
      : createIkeCipher(suite, keys.skEr, keys.skAr)
    this.#blockSize = this.#cipher.blockSize
    this.#header = { spiI: keys.spiI, spiR: keys.spiR, fromInitiator: isInitiator }
  }

  /** @param padding what the last byte says */
  seal(
    exchangeType: number,
    isResponse: boolean,
    messageId: number,
    firstInner: number,
    content: Uint8Array,
    fragment?: { number: number; total: number },
    padding?: number
  ): Uint8Array {
    const length = Math.ceil((content.length + 1) / this.#blockSize) * this.#blockSize
    const padded = new Uint8Array(length)
    padded.set(content)
    padded[length - 1] = padding ?? length - content.length - 1
    const iv = new Uint8Array(this.#cipher.ivLength)
    new DataView(iv.buffer).setBigUint64(iv.length - 8, this.#iv++)
    const header = { ...this.#header, majorVersion: 2, minorVersion: 0, exchangeType, isResponse, messageId }
    const head = encodeEncrypted(header, firstInner, iv.length + length + this.#cipher.icvLength, fragment)
    return Uint8Array.from(Buffer.concat([head, iv, this.#cipher.seal(head, iv, padded)]))
  }
}

const EXCHANGES = [ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL, ExchangeType.IKE_AUTH, 99]

/** Exchange, then the type of the first payload, then payloads: of everything that was ever said inside of SK. */
function innerConversations(): Uint8Array[] {
  return recordedChains().flatMap(({ firstType, bytes }) =>
    EXCHANGES.map((_, index) => Uint8Array.of(index, firstType, ...bytes))
  )
}

interface Talk {
  readonly pair: Pair
  readonly end: End
  readonly peer: RawPeer
  readonly path: Path
  messageId: number
}

function talk(role: Role): Talk {
  const { pair, path } = STATES['established']?.() ?? scene()
  const end = pair[role]
  return {
    pair,
    end,
    peer: new RawPeer(end, role === 'gateway'),
    path: path[role],
    messageId: end.session.info(pair.now).expectedRequestId
  }
}

const ACTS: readonly ((talk: Talk) => void)[] = [
  ({ end, pair }) => end.session.rekeyChild(pair.now, childOf(end)),
  ({ end, pair }) => end.session.rekeyIke(pair.now),
  ({ end, pair }) => end.session.checkLiveness(pair.now),
  ({ end, pair, path }) => end.session.movePath(pair.now, path),
  ({ end, pair }) => {
    const [child] = end.children.values()
    if (child !== undefined) end.session.createChild(pair.now, child.localTs, child.remoteTs)
  }
]
/** More than any session of this target needs; a peer that asks for more is told so. */
const MAX_CHILDREN = 70

const hostilePeer: FuzzTarget = {
  name: 'session-hostile-peer',
  covers: [
    'ike/session.ts#IkeSession',
    'ike/tasks/config.ts#readAssignedConfig',
    'ike/tasks/create-child-response.ts#answerCreateChild'
  ],
  weight: 0.2,
  episode: 60,
  maxLength: 3000,
  corpus: innerConversations,
  open: () => {
    const talks: Record<Role, Talk> = { client: talk('client'), gateway: talk('gateway') }
    return (input, random) => {
      const role: Role = random.below(2) === 0 ? 'client' : 'gateway'
      let one = talks[role]
      if (one.end.of('closed').length > 0) one = talks[role] = talk(role)
      const { pair, end, peer, path } = one
      const exchange = EXCHANGES[(input[0] ?? 0) % EXCHANGES.length] ?? 37
      const firstType = input[1] ?? 0
      const content = input.subarray(2)
      end.sent.length = 0
      end.logs.length = 0
      const padding = random.below(30) === 0 ? random.below(256) : undefined
      if (random.below(3) > 0) {
        const message = peer.seal(exchange, false, one.messageId, firstType, content, undefined, padding)
        end.session.receive(pair.now, message, path)
        end.drain()
        const { expectedRequestId } = end.session.info(pair.now)
        const taken = expectedRequestId !== one.messageId
        const isOver = end.of('closed').length > 0
        holds(!taken || isOver || end.sent.length > 0, 'a request that was taken is answered')
        one.messageId = isOver ? one.messageId : expectedRequestId
      } else {
        ACTS[random.below(ACTS.length)]?.(one)
        end.drain()
        const asked = decodeHeader(end.sent[0]?.message ?? new Uint8Array(0))
        if (!asked.ok) return
        const { exchangeType, messageId } = asked.header
        end.session.receive(pair.now, peer.seal(exchangeType, true, messageId, firstType, content), path)
        end.drain()
      }
      holds(end.children.size <= MAX_CHILDREN, 'the number of Child SAs is bounded')
      // A new IKE SA has keys that this peer does not follow.
      if (end.of('rekeyed').length > 0) talks[role] = talk(role)
    }
  }
}

/** What RFC 7383 section 2.6 says, for one message after the other. */
function naiveReassembly(fragments: readonly Fragment[]): string[] {
  const whole: string[] = []
  let current: Fragment[] = []
  for (const fragment of fragments) {
    const { messageId, totalFragments, fragmentNumber } = fragment
    if (fragmentNumber < 1 || fragmentNumber > totalFragments || totalFragments > MAX_FRAGMENTS) continue
    const first = current[0]
    const isOther =
      first === undefined || first.messageId !== messageId || first.totalFragments < totalFragments
    if (!isOther && first.totalFragments > totalFragments) continue
    if (isOther) current = []
    if (current.some((one) => one.fragmentNumber === fragmentNumber)) continue
    const length = current.reduce((sum, { plaintext }) => sum + plaintext.length, fragment.plaintext.length)
    if (length > MAX_REASSEMBLED_LENGTH) {
      current = []
      continue
    }
    current.push({ ...fragment, plaintext: fragment.plaintext.slice() })
    if (current.length < totalFragments) continue
    current.sort((a, b) => a.fragmentNumber - b.fragmentNumber)
    whole.push(
      `${current[0]?.firstInner}:${current.map(({ plaintext }) => Buffer.from(plaintext).toString('hex')).join('')}`
    )
    current = []
  }
  return whole
}

const reassembly: FuzzTarget = {
  name: 'skf-reassembly',
  covers: ['ike/fragments.ts#FragmentReassembler', 'ike/fragments.ts#plausibleFragment'],
  weight: 2,
  maxLength: 600,
  corpus: () => [
    Uint8Array.from([0, 1, 3, 9, 0, 2, 3, 9, 0, 3, 3, 9]),
    Uint8Array.from([1, 2, 2, 200, 1, 1, 2, 200, 1, 1, 1, 4, 2, 1, 4, 1]),
    Uint8Array.from([0, 1, 2, 5, 0, 1, 3, 5, 0, 2, 3, 5, 0, 3, 3, 5, 0, 255, 255, 1])
  ],
  open: () => (input) => {
    const fragments: Fragment[] = []
    for (let at = 0; at + 4 <= input.length; at += 4) {
      const [messageId = 0, fragmentNumber = 0, totalFragments = 0, size = 0] = input.subarray(at, at + 4)
      const plaintext = new Uint8Array(size * 64).fill(at)
      fragments.push({ messageId, fragmentNumber, totalFragments, firstInner: size, plaintext })
    }
    const reassembler = new FragmentReassembler()
    const expected = naiveReassembly(fragments)
    const whole = fragments
      .map((fragment) => reassembler.add(0, { ...fragment, plaintext: fragment.plaintext.slice() }))
      .filter((message) => message !== undefined)
      .map(({ firstInner, plaintext }) => `${firstInner}:${Buffer.from(plaintext).toString('hex')}`)
    holds(same(whole, expected), 'messages are put together as by the twin')
  }
}

const HALF_OPEN = 20

const responder: FuzzTarget = {
  name: 'responder',
  covers: ['ike/responder.ts#IkeResponder'],
  weight: 0.5,
  episode: 300,
  maxLength: 4096,
  corpus: () => conversations().filter((message) => isInit(message) || message.length < 400),
  repair: withTrueLength,
  open: () => {
    const environment = { random: new SeededRandom(5), wallClockMs: () => 0 }
    const config = responderConfig({ maxHalfOpen: HALF_OPEN, maxHalfOpenPerAddress: 5, cookieThreshold: 10 })
    const under = new IkeResponder(config, environment)
    let now = 1000
    return (input, random) => {
      now += random.below(2000)
      under.timeout(now)
      const path = pathPair().gateway
      const address = `198.51.100.${random.below(12)}`
      const from = { ...path, id: 2000 + random.below(12), remote: { address, port: 4500 } }
      let answers = 0
      let answerBytes = 0
      while (under.poll() !== undefined);
      under.receive(now, input, random.below(2) === 0 ? from : { ...from, transport: 'tcp', reliable: true })
      for (let next = under.poll(); next !== undefined; next = under.poll()) {
        if (next.output.type !== 'send') continue
        answers++
        answerBytes += next.output.message.length
      }
      holds(answers <= 1, 'one datagram has one answer at most')
      holds(answerBytes <= 3 * input.length + 500, 'an answer is not much longer than the question')
      holds(under.sessions.length <= HALF_OPEN, 'half-open IKE SAs are bounded')
    }
  }
}

const PROBE = { address: '203.0.113.1', port: 500 }

const initProbe: FuzzTarget = {
  name: 'init-probe',
  covers: ['check/init-probe.ts#InitProbe'],
  weight: 0.1,
  corpus: () => {
    const { pair, said } = scene()
    deliver({ pair, path: pathPair(), said }, 2)
    return [...said.map(({ message }) => message), ...recordedMessages().slice(0, 30)]
  },
  repair: (bytes) => {
    const copy = withTrueLength(bytes)
    if (copy.length < 28) return copy
    const own = copy.slice()
    // An answer to the question of the probe: its SPI, IKE_SA_INIT, a response.
    own.set(new SeededRandom(11).bytes(8), 0)
    own.set([0x20, ExchangeType.IKE_SA_INIT, 0x20, 0, 0, 0, 0], 17)
    return own
  },
  open: () => (input) => {
    const probe = new InitProbe(
      { proposals: parseProposals(['aes128-sha256-x25519'], 'ike'), real: true, remote: PROBE },
      new SeededRandom(11)
    )
    const first = probe.receive(input)
    bounded(first, input)
    bounded(probe.message, input, 4, 2_000)
    probe.receive(input)
  }
}

/** Both parts of a snapshot, with the length of the first in front. */
function snapshots(): Uint8Array[] {
  const scenes = ['established', 'rekeying the Child SA', 'rekeying the IKE SA'].map(
    (name) => STATES[name]?.() ?? scene()
  )
  return scenes.flatMap(({ pair }) => {
    const snapshot = pair.gateway.session.snapshot(pair.now)
    if (snapshot === undefined) return []
    const { lasting, passing } = encodeSnapshot(snapshot)
    return [Uint8Array.of(lasting.length >>> 8, lasting.length, ...lasting, ...passing)]
  })
}

const snapshot: FuzzTarget = {
  name: 'snapshot',
  covers: [
    'ike/snapshot-codec.ts#decodeSnapshot',
    'ike/restore.ts#restoreState',
    'ike/restore.ts#canSkipSequences'
  ],
  weight: 0.5,
  corpus: snapshots,
  open: () => {
    const path = { ...pathPair().gateway, id: 1002 }
    return (input) => {
      const length = ((input[0] ?? 0) << 8) | (input[1] ?? 0)
      const parts = { lasting: input.slice(2, 2 + length), passing: input.slice(2 + length) }
      const decoded = decodeSnapshot(parts)
      if (!decoded.ok) return
      bounded(decoded.value, input)
      const again = decodeSnapshot(encodeSnapshot(decoded.value))
      if (!again.ok) throw again.error
      holds(same(again.value, decoded.value), 'a snapshot survives writing and reading')
      const environment = { random: new SeededRandom(3), wallClockMs: () => 0 }
      const inputs = {
        snapshot: decoded.value,
        esp: new Map(),
        path,
        isOpen: true,
        ageMs: 0,
        replayDelta: 1000n
      }
      const session = IkeSession.restore(5000, responderConfig(), environment, inputs)
      if (session === undefined) return
      let outputs = 0
      while (session.poll() !== undefined) outputs++
      holds(outputs <= 20 + input.length, 'taking a session over says a bounded number of things')
      for (let count = 0, now = 5000; count < 20; count++) {
        now = session.nextTimeout() ?? now
        session.timeout(now)
        while (session.poll() !== undefined);
      }
    }
  }
}

export const ENGINE_TARGETS: readonly FuzzTarget[] = [
  unauthenticated,
  hostilePeer,
  reassembly,
  responder,
  initProbe,
  snapshot
]
