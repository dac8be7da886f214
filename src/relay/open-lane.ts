/**
 * Takes a client's stream over from Node where that can be.
 * @module
 */
import type { Duplex } from 'node:stream'
import type { Facility } from '../native/speedups.ts'
import { facilityOf, takeOver } from '../transport/takeover.ts'
import { DirectLane } from './direct-lane.ts'
import type { Lane, LaneEvents } from './lane.ts'
import { NodeLane } from './node-lane.ts'

export interface OpenedLane {
  readonly lane: Lane
  /** Whether it is direct. */
  readonly directStream: Facility
}

/**
 * @param stream connected and paused; owned by the lane from here on
 * @param head bytes of the stream that were read before
 */
export function openLane(stream: Duplex, head: Uint8Array, events: LaneEvents): OpenedLane {
  const taken = takeOver(stream)
  const lane =
    'inUse' in taken
      ? new NodeLane(stream, head, events)
      : new DirectLane(taken.stream, [head, taken.head], events)
  return { lane, directStream: facilityOf(taken) }
}
