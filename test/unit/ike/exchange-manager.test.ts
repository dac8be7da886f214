import { describe, expect, it } from 'vitest'
import { ExchangeManager } from '../../../src/ike/exchange-manager.ts'
import { FragmentReassembler, FragmentRoom } from '../../../src/ike/fragments.ts'
import {
  DEFAULT_TIMERS,
  FRAGMENT_OVERHEAD_BYTES,
  MAX_FRAGMENTS,
  MAX_HELD_FRAGMENT_BYTES,
  REASSEMBLY_TIMEOUT_MS
} from '../../../src/ike/options.ts'
import { Timers } from '../../../src/ike/timers.ts'

const NO_JITTER = { bytes: (length: number) => new Uint8Array(length) }
const packet = (byte: number) => [Uint8Array.of(byte)]
const UDP = false
const STREAM = true

describe('requests of ours', () => {
  it('are retransmitted on UDP with doubling pauses, then given up', () => {
    const exchanges = new ExchangeManager(DEFAULT_TIMERS, NO_JITTER)
    exchanges.begin(0, 37, packet(1), UDP)
    const times: number[] = []
    for (let action = 'retransmit'; action === 'retransmit'; ) {
      const at = exchanges.deadline ?? Number.NaN
      action = exchanges.timeout(at, UDP)
      times.push(at)
    }
    expect(times).toEqual([500, 1500, 3500, 7500, 15_500, 31_500, 63_500])
    expect(exchanges.deadline).toBeUndefined()
  })

  it('are repeated slowly on a stream, and given up after its own time', () => {
    const exchanges = new ExchangeManager(DEFAULT_TIMERS, NO_JITTER)
    exchanges.begin(0, 37, packet(1), STREAM)
    const times: number[] = []
    for (let action = 'retransmit'; action === 'retransmit'; ) {
      const at = exchanges.deadline ?? Number.NaN
      action = exchanges.timeout(at, STREAM)
      times.push(at)
    }
    expect(times).toEqual([10_000, 30_000, 60_000])
  })

  it.each([
    ['IKE_SA_INIT', 34, 0, [1_000, 3_000, 7_000, 15_000, 31_000, 60_000]],
    ['IKE_SESSION_RESUME', 38, 0, [1_000, 3_000, 7_000, 15_000, 31_000, 60_000]],
    ['the first IKE_AUTH', 35, 1, [1_000, 3_000, 7_000, 15_000, 31_000, 60_000]],
    ['the second IKE_AUTH', 35, 2, [10_000, 30_000, 60_000]]
  ])('are repeated sooner on a stream while the peer was not heard: %s', (_, exchangeType, messageId, at) => {
    const exchanges = new ExchangeManager(DEFAULT_TIMERS, NO_JITTER)
    exchanges.skipTo(messageId)
    exchanges.begin(0, exchangeType, packet(1), STREAM)
    const times: number[] = []
    for (let action = 'retransmit'; action === 'retransmit'; ) {
      const deadline = exchanges.deadline ?? Number.NaN
      action = exchanges.timeout(deadline, STREAM)
      times.push(deadline)
    }
    expect(times).toEqual(at)
  })

  it('wait without a path, and begin anew on the next one', () => {
    const exchanges = new ExchangeManager(DEFAULT_TIMERS, NO_JITTER)
    exchanges.begin(0, 37, packet(1), UDP)
    exchanges.pathChanged(100, undefined)
    expect(exchanges.deadline).toBeUndefined()
    exchanges.pathChanged(1_000_000, UDP)
    expect(exchanges.deadline).toBe(1_000_500)
    expect(exchanges.outstandingPackets).toEqual(packet(1))
  })

  it('have Message IDs of their own that count up with each answer', () => {
    const exchanges = new ExchangeManager(DEFAULT_TIMERS, NO_JITTER)
    for (let id = 0; id < 3; id++) {
      exchanges.begin(0, 37, packet(id), UDP)
      expect(exchanges.expectsResponse(id, 37)).toBe(true)
      expect(exchanges.expectsResponse(id, 36)).toBe(false)
      expect(exchanges.expectsResponse(id + 1, 37)).toBe(false)
      exchanges.complete()
      expect(exchanges.expectsResponse(id, 37)).toBe(false)
    }
    expect(exchanges.nextRequestId).toBe(3)
  })
})

describe('requests of the peer', () => {
  it('are new once, then in progress, then answered, then outside the window', () => {
    const exchanges = new ExchangeManager(DEFAULT_TIMERS, NO_JITTER)
    expect(exchanges.classifyRequest(0)).toBe('new')
    expect(exchanges.classifyRequest(1)).toBe('outside')
    exchanges.accept()
    expect(exchanges.classifyRequest(0)).toBe('in-progress')
    exchanges.storeResponse(packet(9))
    expect(exchanges.classifyRequest(0)).toBe('answered')
    expect(exchanges.storedResponse).toEqual(packet(9))
    expect(exchanges.classifyRequest(1)).toBe('new')
    exchanges.accept()
    exchanges.storeResponse(packet(8))
    expect(exchanges.classifyRequest(0)).toBe('outside')
  })

  it('of a cluster continue wherever it says (RFC 6311)', () => {
    const exchanges = new ExchangeManager(DEFAULT_TIMERS, NO_JITTER)
    exchanges.begin(0, 37, packet(1), UDP)
    exchanges.synchronise(7, 5)
    expect(exchanges.outstandingId).toBeUndefined()
    expect(exchanges.deadline).toBeUndefined()
    expect([exchanges.nextRequestId, exchanges.expectedRequestId]).toEqual([7, 5])
    expect(exchanges.classifyRequest(4)).toBe('answered')
    expect(exchanges.storedResponse).toEqual([])
  })
})

describe('fragments of a message', () => {
  const part = (fragmentNumber: number, totalFragments: number, text: string, messageId = 1) => ({
    messageId,
    fragmentNumber,
    totalFragments,
    firstInner: fragmentNumber === 1 ? 41 : 0,
    plaintext: new TextEncoder().encode(text)
  })
  const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes)

  it('are put together in any order', () => {
    const reassembler = new FragmentReassembler()
    expect(reassembler.add(0, part(3, 3, 'c'))).toBeUndefined()
    expect(reassembler.add(0, part(1, 3, 'a'))).toBeUndefined()
    expect(reassembler.wants(1, 1, 3)).toBe(false)
    const whole = reassembler.add(0, part(2, 3, 'b'))
    expect(whole?.firstInner).toBe(41)
    expect(text(whole?.plaintext)).toBe('abc')
  })

  it('give way to a set with more of them, and not to one with fewer (RFC 7383 section 2.6)', () => {
    const reassembler = new FragmentReassembler()
    reassembler.add(0, part(1, 2, 'old'))
    expect(reassembler.add(0, part(1, 3, 'a'))).toBeUndefined()
    expect(reassembler.wants(1, 2, 2)).toBe(false)
    expect(reassembler.add(0, part(2, 2, 'old'))).toBeUndefined()
    reassembler.add(0, part(2, 3, 'b'))
    expect(text(reassembler.add(0, part(3, 3, 'c'))?.plaintext)).toBe('abc')
  })

  it('with impossible or too large numbers are not wanted', () => {
    const reassembler = new FragmentReassembler()
    for (const [number, total] of [
      [0, 2],
      [3, 2],
      [0, 0],
      [1, MAX_FRAGMENTS + 1]
    ] as const) {
      expect(reassembler.wants(1, number, total)).toBe(false)
    }
  })

  it('never hold more than 64 KB', () => {
    const reassembler = new FragmentReassembler()
    for (let number = 1; number <= 100; number++) reassembler.add(0, part(number, 200, 'x'.repeat(1000)))
    // Once the bound was passed everything was thrown away and begun anew.
    expect(reassembler.wants(1, 1, 200)).toBe(true)
  })

  it('of any number of peers never hold more than their room, and an honest message gets through meanwhile', () => {
    const room = new FragmentRoom()
    const flood = Array.from({ length: 3000 }, () => new FragmentReassembler(room))
    const honest = new FragmentReassembler(room)
    const sizes = [0, 1, 700, 1200, 30_000, 65_000]
    let most = 0
    let whole: string | undefined
    for (const [index, reassembler] of flood.entries()) {
      const bytes = 'x'.repeat(sizes[index % sizes.length] ?? 0)
      // First fragments, of one message after the other, and middle ones that nothing follows.
      for (const messageId of [1, 2, 3]) {
        reassembler.add(0, part(1, 255, bytes, messageId))
        reassembler.add(0, part(2 + (index % 250), 255, bytes, messageId))
        most = Math.max(most, room.heldBytes)
      }
      if (index >= 2900 && index < 2903) whole = text(honest.add(0, part(index - 2899, 3, 'abc'))?.plaintext)
    }
    expect(most).toBeLessThanOrEqual(MAX_HELD_FRAGMENT_BYTES)
    expect(most).toBeGreaterThan(MAX_HELD_FRAGMENT_BYTES / 2)
    expect(whole).toBe('abcabcabc')
    for (const reassembler of flood) reassembler.reset()
    expect(room.heldBytes).toBe(0)
  })

  it('give up the message that was begun first when there is no room, also their own', () => {
    const room = new FragmentRoom(3 * (FRAGMENT_OVERHEAD_BYTES + 1))
    const [first, second, third] = [1, 2, 3].map(() => new FragmentReassembler(room))
    first?.add(0, part(1, 3, 'a'))
    second?.add(0, part(1, 3, 'a'))
    second?.add(0, part(2, 3, 'b'))
    third?.add(0, part(1, 3, 'a'))
    expect([first, second, third].map((one) => one?.messageId)).toEqual([-1, 1, 1])
    second?.add(0, part(3, 3, 'c'))
    expect(second?.messageId).toBe(-1)
    expect(room.heldBytes).toBe(FRAGMENT_OVERHEAD_BYTES + 1)
    expect(first?.add(0, part(1, 1, 'x'.repeat(60_000)))).toBeUndefined()
    expect(first?.messageId).toBe(-1)
    expect(room.heldBytes).toBeLessThanOrEqual(3 * (FRAGMENT_OVERHEAD_BYTES + 1))
  })

  it('of another message, or left over from long ago, are forgotten', () => {
    const reassembler = new FragmentReassembler()
    reassembler.add(0, part(1, 2, 'a'))
    expect(reassembler.add(0, part(2, 2, 'z', 2))).toBeUndefined()
    expect(text(reassembler.add(0, part(1, 2, 'y', 2))?.plaintext)).toBe('yz')
    reassembler.add(0, part(1, 2, 'a', 3))
    expect(reassembler.add(REASSEMBLY_TIMEOUT_MS + 1, part(2, 2, 'b', 3))).toBeUndefined()
  })
})

describe('timers', () => {
  it('are taken in order, once, and only when due', () => {
    const timers = new Timers()
    timers.set('close', 0, 30)
    timers.set('retransmit', 1, 10)
    timers.set('retransmit', 2, 20)
    timers.set('retransmit', 2, 25)
    timers.set('liveness', 0, Number.POSITIVE_INFINITY)
    expect(timers.next()).toBe(10)
    expect(timers.takeDue(5)).toBeUndefined()
    expect(timers.takeDue(26)).toMatchObject({ kind: 'retransmit', subject: 1 })
    expect(timers.takeDue(26)).toMatchObject({ kind: 'retransmit', subject: 2, at: 25 })
    expect(timers.takeDue(26)).toBeUndefined()
    timers.clear('close', 0)
    expect(timers.next()).toBeUndefined()
  })
})
