/**
 * What makes the data path fast and may be missing: each is in use or there is a reason why not, and each can be switched
 * off by an environment variable, to find a fault in it and for tests. Without any of them everything works, slower.
 * @module
 */

/** In use, or why not: one sentence for people, without a full stop. */
export interface Facility {
  readonly inUse: boolean
  readonly why: string | null
}

export const IN_USE: Facility = { inUse: true, why: null }

export function notInUse(why: string): Facility {
  return { inUse: false, why }
}

/**
 * - `libcrypto`: OpenSSL's functions called directly; `tun-offload`: super-packets and unfinished checksums of the TUN
 *   device, `uso`: only those of UDP; `udp-segmentation`, `udp-coalescing`: UDP_SEGMENT and UDP_GRO;
 *   `direct-streams`: the descriptors of TCP connections read and written without Node's streams in between.
 */
export type Speedup =
  | 'libcrypto'
  | 'tun-offload'
  | 'uso'
  | 'udp-segmentation'
  | 'udp-coalescing'
  | 'direct-streams'

/** @returns why it must not be used, if somebody wants it so: `IKESTREAM_NO_UDP_SEGMENTATION=1` and so on */
export function switchedOff(speedup: Speedup): string | undefined {
  const name = `IKESTREAM_NO_${speedup.replaceAll('-', '_').toUpperCase()}`
  const value = process.env[name]
  return value === undefined || value === '' || value === '0' ? undefined : `switched off by ${name}`
}
