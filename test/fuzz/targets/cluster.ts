/**
 * Targets of what the nodes of a cluster tell each other.
 * @module
 */

import { Sad } from '../../../src/esp/sad.ts'
import { decodeEspSnapshots, encodeEspSnapshots } from '../../../src/esp/snapshot.ts'
import {
  ClusterDeframer,
  type ClusterMessage,
  encodeClusterMessage
} from '../../../src/gateway/cluster-protocol.ts'
import { readBlob, readFlag, readList, readOptional, readText } from '../../../src/wire/blob.ts'
import { decodeResult } from '../../../src/wire/errors.ts'
import { Reader } from '../../../src/wire/reader.ts'
import { CLUSTER_MESSAGES } from '../../support/cluster-messages.ts'
import { ALL_SUITES, EVERYTHING, saParameters } from '../../support/esp-parameters.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { bounded, type FuzzTarget, holds, same } from '../target.ts'

const some = (...values: number[]) => Uint8Array.of(...values)

const protocol: FuzzTarget = {
  name: 'cluster-protocol',
  covers: [
    'gateway/cluster-protocol.ts#ClusterDeframer',
    'wire/blob.ts#readBlob',
    'wire/blob.ts#readText',
    'wire/blob.ts#readList',
    'wire/blob.ts#readOptional',
    'wire/blob.ts#readFlag'
  ],
  weight: 3,
  corpus: () => {
    const frames = CLUSTER_MESSAGES.map(encodeClusterMessage)
    return [...frames, Uint8Array.from(Buffer.concat(frames))]
  },
  open: () => (input, random) => {
    const whole = new ClusterDeframer().push(input.slice())
    const pieces = new ClusterDeframer()
    const found: ClusterMessage[] = []
    let broken = false
    for (let at = 0; at < input.length && !broken; ) {
      const size = 1 + random.below(30)
      const messages = pieces.push(input.slice(at, at + size))
      if (messages === undefined) broken = true
      else found.push(...messages)
      at += size
    }
    holds(broken === (whole === undefined), 'it does not matter where a stream is cut')
    if (whole === undefined) return
    holds(same(found, whole), 'nor for what it says')
    bounded(whole, input)
    for (const message of whole) {
      const again = new ClusterDeframer().push(encodeClusterMessage(message))
      holds(same(again, [message]), 'a message survives writing and reading')
    }
  }
}

const espSnapshot: FuzzTarget = {
  name: 'esp-snapshot',
  covers: ['esp/snapshot.ts#decodeEspSnapshots', 'esp/sad.ts#Sad'],
  weight: 2,
  corpus: () =>
    ALL_SUITES.map(([, ids]) => {
      const half = (spi: number) => ({ ...saParameters(ids, { spi }), sequence: 5n })
      return encodeEspSnapshots([{ inbound: half(1), outbound: half(2) }])
    }),
  open: () => (input) => {
    const decoded = decodeEspSnapshots(input)
    if (!decoded.ok) return
    bounded(decoded.value, input)
    const again = decodeEspSnapshots(encodeEspSnapshots(decoded.value))
    if (!again.ok) throw again.error
    holds(same(again.value, decoded.value), 'a snapshot survives writing and reading')
    const sad = new Sad({ random: new SeededRandom(1) })
    for (const { inbound, outbound } of decoded.value)
      sad.install({ childId: 1, inbound, outbound, localTs: EVERYTHING, remoteTs: EVERYTHING })
    for (const child of sad.children) sad.remove(child.inbound.spi)
  }
}

/** The fields that formats of our own are made of, read one after the other as the input says. */
const fields: FuzzTarget = {
  name: 'own-fields',
  covers: ['wire/reader.ts#Reader'],
  weight: 8,
  corpus: () => [
    some(1, 0, 0, 0, 2, 7, 8, 0, 5, 3, 0, 0, 0, 1, 65),
    some(4, 0, 0, 0, 3, 1, 2, 3),
    some(2, 1, 9, 9, 9, 9)
  ],
  open: () => (input) => {
    const result = decodeResult(() => {
      const r = new Reader(input, 'fields')
      const values: unknown[] = []
      while (r.remaining > 0) {
        const before = r.position
        switch (r.u8('kind') % 6) {
          case 0:
            values.push(readFlag(r, 'flag'))
            break
          case 1:
            values.push(readBlob(r, 'blob'))
            break
          case 2:
            values.push(readOptional(r, 'optional', () => r.u32('value')))
            break
          case 3:
            values.push(readText(r, 'text'))
            break
          case 4:
            values.push(readList(r, 'list', () => r.u8('item')))
            break
          default:
            values.push(r.u64('number'))
        }
        holds(r.position > before && r.position <= r.end, 'reading goes on, and ends at the end')
      }
      return values
    })
    if (result.ok) bounded(result.value, input)
    else holds(result.error.offset <= input.length, 'the offset of an error is inside')
  }
}

export const CLUSTER_TARGETS: readonly FuzzTarget[] = [protocol, espSnapshot, fields]
