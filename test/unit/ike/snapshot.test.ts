import { describe, expect, it } from 'vitest'
import { IkeSession } from '../../../src/ike/session.ts'
import { disposeSnapshot } from '../../../src/ike/snapshot.ts'
import { decodeSnapshot, encodeSnapshot, SNAPSHOT_VERSION } from '../../../src/ike/snapshot-codec.ts'
import { Pair, pathPair } from '../../support/ike-pair.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

function snapshotOf(pair: Pair) {
  const snapshot = pair.gateway.session.snapshot(pair.now)
  if (snapshot === undefined) throw new Error('no snapshot')
  return snapshot
}

/** In the middle of as much as possible: a replaced IKE SA, rekeyed and doubled Child SAs. */
function busyPair(): Pair {
  const pair = new Pair().connect()
  const { client, gateway } = pair
  const [child] = client.children.values()
  if (child === undefined) throw new Error('no Child SA')
  client.session.createChild(pair.now, child.localTs, child.remoteTs)
  pair.settle()
  client.session.rekeyChild(pair.now, [...client.sendingOn.values()][0] ?? 0)
  pair.drain()
  pair.pass(client)
  gateway.session.rekeyIke(pair.now)
  pair.drain()
  return pair
}

describe('a snapshot', () => {
  it('is the same after a journey as bytes', () => {
    for (const pair of [new Pair().connect(), busyPair()]) {
      const snapshot = snapshotOf(pair)
      const decoded = decodeSnapshot(encodeSnapshot(snapshot))
      if (!decoded.ok) throw decoded.error
      expect(plain(decoded.value)).toEqual(plain(snapshot))
    }
  })

  it('differs in its lasting part only when more than Message IDs and time have changed', () => {
    const pair = new Pair().connect()
    const before = encodeSnapshot(snapshotOf(pair))
    pair.client.session.checkLiveness(pair.now)
    pair.settle()
    pair.advance(3_000)
    const after = encodeSnapshot(snapshotOf(pair))
    expect(after.lasting).toEqual(before.lasting)
    expect(after.passing).not.toEqual(before.passing)
    pair.client.session.rekeyIke(pair.now)
    pair.settle()
    expect(encodeSnapshot(snapshotOf(pair)).lasting).not.toEqual(before.lasting)
  })

  it('of the wrong version, cut short or too long is refused, never believed', () => {
    const { lasting, passing } = encodeSnapshot(snapshotOf(busyPair()))
    const future = Uint8Array.from(lasting)
    future[0] = SNAPSHOT_VERSION + 1
    expect(decodeSnapshot({ lasting: future, passing }).ok).toBe(false)
    for (let length = 0; length < lasting.length; length++)
      expect(decodeSnapshot({ lasting: lasting.subarray(0, length), passing }).ok).toBe(false)
    for (let length = 0; length < passing.length; length++)
      expect(decodeSnapshot({ lasting, passing: passing.subarray(0, length) }).ok).toBe(false)
    const longer = (bytes: Uint8Array) => Uint8Array.of(...bytes, 0)
    expect(decodeSnapshot({ lasting: longer(lasting), passing }).ok).toBe(false)
    expect(decodeSnapshot({ lasting, passing: longer(passing) }).ok).toBe(false)
  })

  it('holds copies of the keys, which can be overwritten without hurting the session', () => {
    const pair = new Pair().connect()
    const snapshot = snapshotOf(pair)
    disposeSnapshot(snapshot)
    for (const { keys } of snapshot.sas)
      for (const key of Object.values(keys)) expect(key.every((byte: number) => byte === 0)).toBe(true)
    pair.client.session.rekeyIke(pair.now)
    pair.settle()
    expect(pair.client.of('rekeyed')).toHaveLength(1)
  })

  it('is not taken of a session that is not there yet, nor of one that ends', () => {
    const pair = new Pair()
    expect(pair.gateway.session.snapshot(0)).toBeUndefined()
    pair.connect()
    pair.gateway.session.close(pair.now)
    expect(pair.gateway.session.snapshot(pair.now)).toBeUndefined()
    pair.settle()
    expect(pair.gateway.session.snapshot(pair.now)).toBeUndefined()
  })
})

describe('taking over from a snapshot that makes no sense', () => {
  it.each([
    ['keys that fit no cipher', 'skEi', 3],
    ['a key for the next one that is missing', 'skD', 0],
    ['an integrity key where there is none', 'skAr', 20]
  ] as const)('is refused: %s', (_what, key, length) => {
    const pair = new Pair().connect()
    const snapshot = snapshotOf(pair)
    const spoiled = {
      ...snapshot,
      sas: snapshot.sas.map((sa) => ({ ...sa, keys: { ...sa.keys, [key]: new Uint8Array(length) } }))
    }
    const take = (taken: typeof snapshot) =>
      IkeSession.restore(
        pair.now,
        pair.gateway.config,
        { random: new SeededRandom(1), wallClockMs: () => 0 },
        {
          snapshot: taken,
          esp: new Map(),
          path: pathPair().gateway,
          isOpen: true,
          ageMs: 0,
          replayDelta: 0n
        }
      )
    expect(take(spoiled)).toBeUndefined()
    expect(take(snapshot)).toBeDefined()
  })
})

/** With byte strings as text, whatever class of array they are. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, item: unknown) =>
      typeof item === 'bigint'
        ? `${item}n`
        : item instanceof Uint8Array
          ? Buffer.from(item).toString('hex')
          : item
    )
  )
}
