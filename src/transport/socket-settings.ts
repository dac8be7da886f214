/**
 * What a user may set about the sockets that carry the tunnel, with the measured defaults.
 *
 * What the kernel refuses never fails a session: the system's own setting is kept, and somebody is told.
 * @module
 */
import { readFileSync } from 'node:fs'
import { UsageError } from '../errors.ts'

/** Everything that is absent has its default. */
export interface SocketSettings {
  /**
   * Bytes wanted of the kernel in each direction, UDP and streams. Default: `DEFAULT_UDP_BUFFER_BYTES` on UDP; on streams
   * the kernel's own tuning, which a fixed size would switch off.
   */
  readonly bufferBytes?: number | undefined
  /** Bytes that a stream may hold unsent (TCP_NOTSENT_LOWAT); `DEFAULT_UNSENT_BYTES`. */
  readonly unsentBytes?: number | undefined
  /** Of TCP, such as `bbr` or `cubic`; default: where the kernel has BBR, what `stream-governor.ts` finds best. */
  readonly congestionControl?: string | undefined
}

/** Some 10 ms at 3 Gbit/s. */
export const DEFAULT_UDP_BUFFER_BYTES = 4 * 1024 * 1024
/** What waits longer should wait in front of the tunnel, where flows take turns. On slow lines less: `unsent-limit.ts`. */
export const DEFAULT_UNSENT_BYTES = 131_072
/** RFC 9329 section 9.1: loss must not shrink the outer window as CUBIC lets it. */
export const DEFAULT_CONGESTION_CONTROL = 'bbr'

/** For option parsers: whole numbers of bytes. */
export const BUFFER_BOUNDS = { min: 16_384, max: 1_073_741_824, whole: true } as const
export const UNSENT_BOUNDS = { min: 4_096, max: 1_073_741_824, whole: true } as const

/** TCP_CA_NAME_MAX is 16 with the zero at the end. */
const CONGESTION_CONTROL_NAME = /^[A-Za-z0-9_.-]{1,15}$/
/** What is loaded; more can be loaded as a module by those who may. */
const AVAILABLE = '/proc/sys/net/ipv4/tcp_available_congestion_control'

/** @param text as given with `--congestion-control` @throws UsageError for what cannot be a name */
export function parseCongestionControl(text: string): string {
  if (CONGESTION_CONTROL_NAME.test(text)) return text
  throw new UsageError(
    'bad-congestion-control',
    `--congestion-control ${text} is not the name of an algorithm.`,
    { hint: `Examples: ${availableCongestionControls().join(', ') || 'cubic, bbr'}.` }
  )
}

/** Algorithms that the kernel has loaded; empty where it does not tell. */
export function availableCongestionControls(): readonly string[] {
  try {
    return readFileSync(AVAILABLE, 'latin1')
      .split(/\s+/)
      .filter((name) => name !== '')
  } catch {
    return []
  }
}
