/**
 * One message of each kind that the nodes of a cluster send each other, and some more.
 * @module
 */
import type { ClusterMessage } from '../../src/gateway/cluster-protocol.ts'

const bytes = (...values: number[]) => Uint8Array.of(...values)

export const CLUSTER_MESSAGES: readonly ClusterMessage[] = [
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
