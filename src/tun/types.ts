/**
 * What the data plane sees of a TUN device: frames in, frames out, in batches.
 *
 * A frame is a virtio-net header of `VNET_HEADER_LENGTH` bytes (see `vnet-header.ts`) followed by an IP packet, which may be a
 * super-packet of many segments where the device has offloads. Devices without them use the same layout with an empty header.
 * @module
 */
import type { Facility } from '../native/speedups.ts'

/** Largest IP packet that a device hands over or takes. */
export const MAX_PACKET_LENGTH = 65_535

export interface TunHandlers {
  /** Frames are there: call `read` until it returns 0 or a bound is reached; what is left is told again. */
  onReadable(): void
  /** The device is gone, exactly once: nothing can be read or written any more. */
  onGone(reason: string): void
}

/** What the kernel leaves to us and takes from us: each saves work for every packet. */
export interface TunOffloads {
  /** Unfinished checksums. */
  readonly checksum: Facility
  /** Super-packets of TCP, of UDP. */
  readonly tcp: Facility
  readonly udp: Facility
}

export interface Tun {
  readonly name: string
  /** What may be read, and written. */
  readonly offloads: TunOffloads
  /** The frame that `read` returned last, from offset 0; its owner may change it until the next `read`. */
  readonly readBuffer: Uint8Array
  setHandlers(handlers: TunHandlers): void
  /** Starts and stops telling that frames are there. Off at first. */
  setReading(on: boolean): void
  /** @returns length of the next frame in `readBuffer`, or 0: none now */
  read(): number
  /**
   * Hands over the frame at `buffer[offset, offset + length)`. It is taken at once or dropped.
   * @returns false when the device did not take it
   */
  write(buffer: Uint8Array, offset: number, length: number): boolean
  /** Closes the device, which ends with it. */
  release(): void
}
