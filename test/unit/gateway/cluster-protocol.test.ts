import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ClusterDeframer,
  type ClusterMessage,
  encodeClusterMessage,
  MAX_FRAME_BYTES
} from '../../../src/gateway/cluster-protocol.ts'

const bytes = (...values: number[]) => Uint8Array.of(...values)
const MESSAGES: readonly ClusterMessage[] = [
  {
    type: 'hello',
    node: 'left',
    priority: 200,
    role: 'starting',
    term: 3,
    hasCopy: false,
    fingerprint: bytes(1, 2)
  },
  { type: 'beat', role: 'active', term: 0xffff_ffff, hasCopy: true },
  { type: 'handover' },
  { type: 'release' },
  { type: 'begin' },
  { type: 'complete', serial: 7 },
  {
    type: 'put',
    serial: 8,
    session: 9,
    record: { ike: { lasting: bytes(1), passing: bytes() }, esp: bytes(3, 4) }
  },
  { type: 'drop', serial: 10, session: 9 },
  {
    type: 'counters',
    sessions: [
      {
        session: 1,
        messageIds: [{ number: 1, nextRequestId: 2, expectedRequestId: 3 }],
        esp: [{ spiIn: 0xfeed_f00d, sent: 2n ** 40n, received: 0n }]
      },
      { session: 2, messageIds: [], esp: [] }
    ]
  },
  { type: 'cookies', secrets: { version: 255, secret: bytes(1), previous: undefined, ageMs: 5 } },
  { type: 'cookies', secrets: { version: 0, secret: bytes(1), previous: bytes(2), ageMs: 0 } },
  { type: 'ack', serial: 11 }
]

describe('what nodes say to each other', () => {
  it('is the same at the other end, in pieces of any size', () => {
    const stream = Buffer.concat(MESSAGES.map(encodeClusterMessage))
    for (const size of [1, 3, 7, 64, stream.length]) {
      const deframer = new ClusterDeframer()
      const heard: ClusterMessage[] = []
      for (let at = 0; at < stream.length; at += size)
        heard.push(...(deframer.push(stream.subarray(at, at + size)) ?? []))
      expect(heard).toEqual(MESSAGES)
    }
  })

  it('of a type that is not known is skipped', () => {
    const stream = Buffer.concat([
      Buffer.from([0, 0, 0, 3, 99, 1, 2]),
      encodeClusterMessage({ type: 'ack', serial: 1 })
    ])
    expect(new ClusterDeframer().push(stream)).toEqual([{ type: 'ack', serial: 1 }])
  })

  it('ends the link when it makes no sense', () => {
    const spoilt = [
      [0, 0, 0, 0],
      [0xff, 0xff, 0xff, 0xff],
      [
        ...[MAX_FRAME_BYTES + 1].flatMap((length) => [
          length >>> 24,
          length >>> 16,
          length >>> 8,
          length & 255
        ])
      ],
      // An ACK with too little, and with too much in it; a role and a flag that there are not.
      [0, 0, 0, 4, 11, 0, 0, 1],
      [0, 0, 0, 6, 11, 0, 0, 0, 1, 0],
      [0, 0, 0, 7, 2, 9, 0, 0, 0, 1, 0],
      [0, 0, 0, 7, 2, 1, 0, 0, 0, 1, 2]
    ]
    for (const one of spoilt)
      expect(new ClusterDeframer().push(Buffer.from(one)), String(one)).toBeUndefined()
  })

  it('never throws, whatever comes', () => {
    const stream = Buffer.concat(MESSAGES.map(encodeClusterMessage))
    fc.assert(
      fc.property(fc.nat(stream.length - 1), fc.nat(255), (at, value) => {
        const altered = Buffer.from(stream)
        altered[at] = value
        new ClusterDeframer().push(altered)
      }),
      { seed: 6311, numRuns: 2000 }
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        new ClusterDeframer().push(noise)
      }),
      { seed: 6311, numRuns: 2000 }
    )
  })

  it('takes a frame as long as any may be in the smallest pieces, in a time that its length decides', () => {
    // Copying all that is there for every piece would need hours.
    const frame = new Uint8Array(4 + MAX_FRAME_BYTES)
    new DataView(frame.buffer).setUint32(0, MAX_FRAME_BYTES)
    // Of a type that nobody knows.
    frame[4] = 200
    const deframer = new ClusterDeframer()
    let messages = 0
    for (let at = 0; at < frame.length; at++)
      messages += deframer.push(frame.subarray(at, at + 1))?.length ?? 1
    expect(messages).toBe(0)
    expect(deframer.push(encodeClusterMessage({ type: 'begin' }))).toEqual([{ type: 'begin' }])
  })
})
