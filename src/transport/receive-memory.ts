/**
 * Where packets are received: one buffer for all transports of the process, in the memory that packets are worked on in.
 * @module
 */
import { addressOf } from '../native/memory.ts'
import { packetBuffer } from '../native/packet-memory.ts'

export interface ReceiveMemory {
  readonly buffer: Buffer
  readonly address: number
}

let shared: ReceiveMemory | undefined

/** As much as one read of a UDP socket brings with UDP_GRO. */
export const RECEIVE_BYTES = 65_536
/** Of one read of a stream: what it brings is still in the processor's cache when it is decrypted. */
export const STREAM_RECEIVE_BYTES = 131_072

/** What is in it is only valid until the next read of any transport: handlers are done with it when their call returns. */
export function receiveMemory(): ReceiveMemory {
  if (shared === undefined) {
    const memory = packetBuffer(STREAM_RECEIVE_BYTES)
    const buffer = Buffer.from(memory.buffer, memory.byteOffset, memory.length)
    shared = { buffer, address: addressOf(buffer) }
  }
  return shared
}
