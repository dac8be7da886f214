/**
 * Segmentation offload of one UDP socket in both directions: what may be used of it, and what is.
 * @module
 */
import { type Facility, IN_USE, notInUse, type Speedup, switchedOff } from '../native/speedups.ts'
import { NO_FACTS, type TransportFacts } from './types.ts'
import type { UdpSocket } from './udp-socket.ts'

/** UDP_SEGMENT: the kernel is asked with the first run of packets. @param wanted false: never */
export function segmentationWanted(wanted: boolean): Facility {
  return refusal(wanted, 'udp-segmentation') ?? IN_USE
}

export function coalescingWanted(wanted: boolean): boolean {
  return refusal(wanted, 'udp-coalescing') === undefined
}

/** UDP_GRO on this socket, where it is wanted. */
export function enableCoalescing(socket: UdpSocket, wanted: boolean): Facility {
  return refusal(wanted, 'udp-coalescing') ?? socket.enableCoalescing()
}

export function udpFacts(socket: UdpSocket, segmentation: Facility, coalescing: Facility): TransportFacts {
  const { send, receive } = socket.bufferBytes
  return {
    ...NO_FACTS,
    udpSegmentation: segmentation,
    udpCoalescing: coalescing,
    sendBufferBytes: send,
    receiveBufferBytes: receive
  }
}

function refusal(wanted: boolean, speedup: Speedup): Facility | undefined {
  const off = wanted ? switchedOff(speedup) : 'not wanted'
  return off === undefined ? undefined : notInUse(off)
}
