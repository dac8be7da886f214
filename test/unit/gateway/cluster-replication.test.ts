import { describe, expect, it } from 'vitest'
import { OutboundSa } from '../../../src/esp/outbound-sa.ts'
import { Sad } from '../../../src/esp/sad.ts'
import type { ReplicaMessage } from '../../../src/gateway/cluster-node.ts'
import {
  ClusterDeframer,
  type ClusterMessage,
  encodeClusterMessage
} from '../../../src/gateway/cluster-protocol.ts'
import { ClusterReplicator } from '../../../src/gateway/cluster-replicator.ts'
import { ClusterStore } from '../../../src/gateway/cluster-store.ts'
import { SEQUENCE_JUMP, takeoverOf } from '../../../src/gateway/cluster-takeover.ts'
import { EncryptionId, IntegrityId } from '../../../src/wire/ike-constants.ts'
import { Pair, pathPair } from '../../support/ike-pair.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

/** Where the clock of a pair begins. */
const T = 1_000

/** A gateway with one client that is up, its data plane, and what it tells a standby. */
function active(haSync: boolean | 'message-ids' = true) {
  const path = pathPair()
  const pair = new Pair({ gateway: { haSync } }).connect(path)
  const { gateway } = pair
  const sad = new Sad({ random: new SeededRandom(5), backend: 'node' })
  const told: ClusterMessage[] = []
  const sent: number[] = []
  const state = { activity: 0 }
  const follow = () => {
    for (const child of gateway.children.values())
      if (sad.find(child.inbound.spi) === undefined)
        sad.install({ ...child, inbound: copyOf(child.inbound), outbound: copyOf(child.outbound) })
  }
  follow()
  const replicator = new ClusterReplicator({
    tell: (message) => told.push(...(new ClusterDeframer().push(encodeClusterMessage(message)) ?? [])),
    send: (message) => sent.push(message[0] ?? -1),
    sessions: () => [gateway.session],
    dataOf: () => ({ children: sad.children, activity: state.activity })
  })
  const say = (byte: number) => replicator.say(Uint8Array.of(byte), path.gateway, gateway.session)
  /** Something that the standby has to know. */
  const change = () => {
    pair.client.session.rekeyIke(pair.now)
    pair.settle()
  }
  return { pair, gateway, sad, told, sent, state, replicator, say, change, path: path.gateway, follow }
}

type Half =
  ReturnType<Sad['children']['at']> extends infer C ? (C extends { parameters: infer P } ? P : never) : never
function copyOf(half: Half['inbound']): Half['inbound'] {
  return {
    ...half,
    encryptionKey: Uint8Array.from(half.encryptionKey),
    integrityKey: Uint8Array.from(half.integrityKey)
  }
}

function store() {
  const leases: string[] = []
  const problems: string[] = []
  const made = new ClusterStore({
    onPut: ({ peerName }) => leases.push(`put ${peerName}`),
    onDrop: ({ peerName }) => leases.push(`drop ${peerName}`),
    onMalformed: (problem) => problems.push(problem)
  })
  const hear = (now: number, messages: readonly ClusterMessage[]) => {
    for (const message of messages) made.apply(now, message as ReplicaMessage)
  }
  return { store: made, leases, problems, hear }
}

describe('the active node', () => {
  it('without a standby sends at once and tells nobody', () => {
    const { replicator, say, change, sent, told } = active()
    change()
    say(1)
    replicator.settle(T)
    replicator.tellCounters()
    expect(sent).toEqual([1])
    expect(told).toEqual([])
  })

  it('tells a standby everything when it comes, then what changes', () => {
    const { replicator, say, change, told } = active()
    replicator.copy(T)
    expect(told.map(({ type }) => type)).toEqual(['begin', 'put', 'complete'])
    say(1)
    replicator.settle(T)
    expect(told).toHaveLength(3)
    change()
    say(2)
    replicator.settle(T)
    expect(told.slice(3)).toMatchObject([{ type: 'put', session: 1 }])
  })

  it('holds back what follows from a change until the standby knows it, in order', () => {
    const { replicator, say, change, sent } = active()
    replicator.copy(T)
    replicator.acknowledged(2)
    say(1)
    replicator.settle(T + 10)
    expect(sent).toEqual([1])
    change()
    say(2)
    say(3)
    replicator.settle(T + 20)
    say(4)
    replicator.settle(T + 30)
    expect(sent).toEqual([1])
    expect(replicator.waitingSince).toBe(T + 20)
    replicator.acknowledged(2)
    expect(sent).toEqual([1])
    replicator.acknowledged(3)
    expect(sent).toEqual([1, 2, 3, 4])
    expect(replicator.waitingSince).toBeUndefined()
  })

  it('sends what it held back when the standby is lost, and nothing when it steps back itself', () => {
    const lost = active()
    lost.replicator.copy(T)
    lost.say(1)
    lost.replicator.settle(T)
    expect(lost.sent).toEqual([])
    lost.replicator.standbyLost()
    expect(lost.sent).toEqual([1])
    const yields = active()
    yields.replicator.copy(T)
    yields.say(1)
    yields.replicator.settle(T)
    yields.replicator.clear()
    yields.replicator.acknowledged(99)
    yields.replicator.settle(T)
    expect(yields.sent).toEqual([])
  })

  it('says that a session is gone', () => {
    const { replicator, gateway, told } = active()
    replicator.copy(T)
    gateway.session.replaced()
    replicator.touch(gateway.session)
    replicator.settle(T)
    expect(told.at(-1)).toMatchObject({ type: 'drop', session: 1 })
  })

  it('tells counters of what has moved, and only of that', () => {
    const { replicator, state, sad, told, pair, say } = active()
    replicator.copy(T)
    told.length = 0
    replicator.tellCounters()
    expect(told).toEqual([])
    sad.children[0]?.outbound.addToSequence(41n)
    state.activity++
    replicator.tellCounters()
    expect(told).toMatchObject([{ type: 'counters', sessions: [{ session: 1, esp: [{ sent: 41n }] }] }])
    pair.client.session.checkLiveness(pair.now)
    pair.settle()
    say(1)
    replicator.settle(T)
    told.length = 0
    replicator.tellCounters()
    expect(told).toMatchObject([{ type: 'counters', sessions: [{ messageIds: [{ expectedRequestId: 3 }] }] }])
  })

  it('does not use sequence numbers that a lost standby would use, if it lived on', () => {
    const { replicator, sad, gateway } = active()
    replicator.copy(T)
    replicator.standbyLost()
    const [child] = sad.children
    const spiIn = child?.inbound.spi
    child?.outbound.addToSequence(SEQUENCE_JUMP / 2n - 1n)
    expect(replicator.overstretched()).toEqual([])
    child?.outbound.addToSequence(1n)
    expect(replicator.overstretched()).toEqual([{ session: gateway.session, spiIn, isOver: false }])
    child?.outbound.addToSequence((SEQUENCE_JUMP * 7n) / 16n)
    expect(replicator.overstretched()).toEqual([{ session: gateway.session, spiIn, isOver: true }])
    // A standby is told in time.
    replicator.copy(T)
    expect(replicator.overstretched()).toEqual([])
  })
})

describe('the standby', () => {
  it('has what it was told, with the latest counters', () => {
    const { replicator, told, sad, state, pair, say } = active()
    const { store: kept, hear, leases } = store()
    replicator.copy(T)
    hear(100, told.splice(0))
    expect(kept.size).toBe(1)
    expect(leases).toEqual(['put alice@example.org'])
    sad.children[0]?.outbound.addToSequence(41n)
    state.activity++
    pair.client.session.checkLiveness(pair.now)
    pair.settle()
    say(1)
    replicator.settle(T)
    replicator.tellCounters()
    hear(200, told)
    const [session, ...others] = kept.take()
    expect(others).toEqual([])
    expect(session).toMatchObject({ toldAt: 100, countedAt: 200 })
    expect(session?.esp[0]?.outbound.sequence).toBe(41n)
    // The answer that it has is not the answer to that request.
    expect(session?.snapshot.sas[0]).toMatchObject({ expectedRequestId: 3, response: [] })
    expect(kept.size).toBe(0)
  })

  it('forgets what is dropped, and what a new copy does not mention, and overwrites the keys', () => {
    const { replicator, told, gateway } = active()
    const { store: kept, hear, leases } = store()
    replicator.copy(T)
    hear(0, told.splice(0))
    gateway.session.replaced()
    replicator.copy(T)
    hear(0, told)
    expect(kept.size).toBe(0)
    expect(leases).toEqual(['put alice@example.org', 'drop alice@example.org'])
  })

  it('does not keep what it cannot read', () => {
    const { store: kept, hear, problems } = store()
    const record = { ike: { lasting: Uint8Array.of(9), passing: new Uint8Array(0) }, esp: new Uint8Array(4) }
    hear(0, [{ type: 'put', serial: 1, session: 1, record }])
    expect(kept.size).toBe(0)
    expect(problems).toHaveLength(1)
  })
})

describe('a takeover', () => {
  function stored(haSync: boolean | 'message-ids' = true) {
    const { replicator, told, path } = active(haSync)
    const { store: kept, hear } = store()
    replicator.copy(T)
    hear(1_000, told)
    const [session] = kept.take()
    if (session === undefined) throw new Error('nothing was kept')
    return { session, path }
  }

  it('leaves out sequence numbers that may have been used, in both directions', () => {
    const { session, path } = stored()
    const { esp, replayDelta, ageMs } = takeoverOf(3_000, session, path, true)
    const [one] = esp.values()
    expect(one?.outbound.sequence).toBe(SEQUENCE_JUMP)
    expect(one?.inbound.sequence).toBe(replayDelta)
    expect(replayDelta).toBe(2n ** 24n)
    expect(ageMs).toBe(2_000)
  })

  it('never begins again with numbers that were used, however often nodes take over', () => {
    let { session } = stored()
    const { path } = stored()
    const starts: bigint[] = []
    for (let takeover = 0; takeover < 6; takeover++) {
      const [one] = takeoverOf(3_000, session, path, true).esp.values()
      if (one === undefined) throw new Error('there is no SA')
      const keys = {
        encryptionId: EncryptionId.AES_GCM_16,
        encryptionKeyBits: 128,
        integrityId: IntegrityId.NONE
      }
      const encryptionKey = new Uint8Array(20)
      const integrityKey = new Uint8Array(0)
      const half = {
        ...keys,
        spi: 1,
        esn: false,
        encryptionKey,
        integrityKey,
        sequence: one.outbound.sequence ?? 0n
      }
      const { sequence } = new OutboundSa(half, { bytes: (length) => new Uint8Array(length) })
      starts.push(sequence)
      const esp = session.esp.map((other) => ({ ...other, outbound: { ...other.outbound, sequence } }))
      session = { ...session, esp }
    }
    const last = 2n ** 32n - 1n
    expect(starts).toEqual([1n, 2n, 3n].map((times) => times * SEQUENCE_JUMP).concat([last, last, last]))
  })

  it('leaves out more after a long time without news', () => {
    const { session, path } = stored()
    expect(takeoverOf(60_000, session, path, true).replayDelta).toBe(SEQUENCE_JUMP)
  })

  it('asks for what an earlier takeover left out as well, if the client has not heard of it', () => {
    const { session, path } = stored()
    const pending = 2n ** 24n
    const [one, ...others] = session.esp
    if (one === undefined || others.length > 0) throw new Error('one Child SA was expected')
    const jumped = { ...one, inbound: { ...one.inbound, sequence: 5n + pending } }
    const snapshot = { ...session.snapshot, pendingReplayDelta: pending }
    const second = takeoverOf(3_000, { ...session, snapshot, esp: [jumped] }, path, true)
    // The client, which has come to 5 at least, goes on above the window.
    expect(second.replayDelta).toBe(pending + 2n ** 24n)
    expect([...second.esp.values()][0]?.inbound.sequence).toBe(5n + pending + 2n ** 24n)
  })

  it('never asks for more than a sequence number can hold', () => {
    const { session, path } = stored()
    const snapshot = { ...session.snapshot, pendingReplayDelta: 2n ** 32n - 2n }
    const asked = (esn: boolean) => {
      const esp = session.esp.map((one) => ({ ...one, inbound: { ...one.inbound, esn } }))
      return takeoverOf(3_000, { ...session, snapshot, esp }, path, true).replayDelta
    }
    expect(asked(false)).toBe(2n ** 32n - 1n)
    expect(asked(true)).toBe(2n ** 32n - 2n + 2n ** 24n)
  })

  it('takes everything above what is known from a client that cannot skip numbers', () => {
    const { session, path } = stored('message-ids')
    const [one] = takeoverOf(3_000, session, path, true).esp.values()
    expect(one?.inbound.sequence).toBe(0n)
    expect(one?.outbound.sequence).toBe(SEQUENCE_JUMP)
  })
})
