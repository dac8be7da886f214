import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ClusterDeframer,
  type ClusterMessage,
  encodeClusterMessage,
  MAX_FRAME_BYTES
} from '../../../src/gateway/cluster-protocol.ts'
import { CLUSTER_MESSAGES } from '../../support/cluster-messages.ts'

describe('what nodes say to each other', () => {
  it('is the same at the other end, in pieces of any size', () => {
    const stream = Buffer.concat(CLUSTER_MESSAGES.map(encodeClusterMessage))
    for (const size of [1, 3, 7, 64, stream.length]) {
      const deframer = new ClusterDeframer()
      const heard: ClusterMessage[] = []
      for (let at = 0; at < stream.length; at += size)
        heard.push(...(deframer.push(stream.subarray(at, at + size)) ?? []))
      expect(heard).toEqual(CLUSTER_MESSAGES)
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
    const stream = Buffer.concat(CLUSTER_MESSAGES.map(encodeClusterMessage))
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
