/**
 * The options about sockets, which `connect`, `gateway` and `relay` have in common.
 * @module
 */
import type { Logger } from '../log.ts'
import {
  BUFFER_BOUNDS,
  parseCongestionControl,
  type SocketSettings,
  UNSENT_BOUNDS
} from '../transport/socket-settings.ts'
import { congestionControlProblem } from '../transport/socket-tuning.ts'

export const SOCKET_OPTIONS = [
  {
    flags: '--socket-buffer <bytes>',
    description: "socket buffers, each way (default: 4 MiB on UDP, the kernel's own tuning on streams)",
    number: BUFFER_BOUNDS
  },
  {
    flags: '--notsent-lowat <bytes>',
    description: 'bytes that a stream may hold unsent (default: 128 KiB, less on slow lines)',
    number: UNSENT_BOUNDS
  },
  {
    flags: '--congestion-control <name>',
    description:
      'of the TCP streams (default: cubic until something is lost, then bbr, where the kernel has that)'
  }
] as const

/** Options as commander leaves them. */
export interface SocketFlags {
  readonly socketBuffer?: number | undefined
  readonly notsentLowat?: number | undefined
  readonly congestionControl?: string | undefined
}

/** Says so where the kernel lacks what was asked for: its own setting is kept. @throws UsageError */
export function socketSettings(flags: SocketFlags, log: Logger): SocketSettings {
  const { socketBuffer, notsentLowat, congestionControl } = flags
  const settings: SocketSettings = {
    bufferBytes: socketBuffer,
    unsentBytes: notsentLowat,
    congestionControl: congestionControl === undefined ? undefined : parseCongestionControl(congestionControl)
  }
  const problem = congestionControlProblem(settings)
  if (problem !== undefined) log.log('warn', problem)
  return settings
}
