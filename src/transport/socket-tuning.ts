/**
 * Options of TCP sockets that Node has no words for. All are wishes: what the kernel refuses is left as it was.
 * @module
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { libc, NativeUnavailableError } from '../native/libc.ts'
import { SocketLevel, TcpOption } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'

export interface StreamTuning {
  /** Bytes that the kernel may hold unsent: what waits longer should wait in front of the tunnel (TCP_NOTSENT_LOWAT). */
  readonly unsentBytes: number
  /** Tried in order; '' keeps the system's. */
  readonly congestionControl: readonly string[]
  /** Idle time after which the kernel asks whether the peer is there; never counts as liveness (RFC 9329 section 6.7). */
  readonly keepAliveMs: number
}

const DEFAULT_STREAM_TUNING: StreamTuning = {
  unsentBytes: 131072,
  congestionControl: ['bbr'],
  keepAliveMs: 30_000
}

export interface AppliedTuning {
  readonly unsentLimited: boolean
  readonly congestionControl: string | undefined
}

/** Tunes what is a TCP socket with a descriptor; anything else is left alone. */
export function tuneStream(stream: Duplex, tuning: StreamTuning = DEFAULT_STREAM_TUNING): AppliedTuning {
  if (stream instanceof Socket) {
    stream.setNoDelay(true)
    stream.setKeepAlive(true, tuning.keepAliveMs)
  }
  const fd = descriptorOf(stream)
  if (fd === undefined) return { unsentLimited: false, congestionControl: undefined }
  try {
    const value = nativeBuffer(4)
    value.writeInt32LE(tuning.unsentBytes)
    return {
      unsentLimited: setOption(fd, TcpOption.NOTSENT_LOWAT, value),
      congestionControl: tuning.congestionControl.find((name) => setCongestionControl(fd, name))
    }
  } catch (error) {
    if (error instanceof NativeUnavailableError) return { unsentLimited: false, congestionControl: undefined }
    throw error
  }
}

/** Node keeps the descriptor in an undocumented place; where it is not there, there is nothing to tune. */
function descriptorOf(stream: Duplex): number | undefined {
  const handle: unknown = '_handle' in stream ? stream._handle : undefined
  if (typeof handle !== 'object' || handle === null || !('fd' in handle)) return undefined
  return typeof handle.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined
}

function setCongestionControl(fd: number, name: string): boolean {
  const bytes = nativeBuffer(name.length)
  bytes.write(name, 'latin1')
  return setOption(fd, TcpOption.CONGESTION, bytes)
}

function setOption(fd: number, option: number, value: Buffer): boolean {
  return libc().setsockopt(fd, SocketLevel.TCP, option, addressOf(value), value.length) === 0
}
