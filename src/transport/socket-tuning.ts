/**
 * Options of TCP sockets that Node has no words for. All are wishes: what the kernel refuses is left as it was.
 * @module
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock } from '../clock.ts'
import { descriptorOf } from '../native/descriptor.ts'
import { libc, NativeUnavailableError } from '../native/libc.ts'
import { AddressFamily, SocketLevel, SocketOption, SocketType, TcpOption } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import {
  availableCongestionControls,
  DEFAULT_CONGESTION_CONTROL,
  DEFAULT_UNSENT_BYTES,
  type SocketSettings
} from './socket-settings.ts'
import { StreamGovernor } from './stream-governor.ts'
import { TcpInfo } from './tcp-info.ts'

/** Idle time after which the kernel asks whether the peer is there; never counts as liveness (RFC 9329 section 6.7). */
const KEEP_ALIVE_MS = 30_000
/** TCP_CA_NAME_MAX. */
const CONGESTION_CONTROL_NAME_LENGTH = 16

/** What holds for a socket now; undefined: not known, or the system's own setting. */
export interface AppliedTuning {
  readonly unsentBytes: number | undefined
  readonly congestionControl: string | undefined
}

const UNKNOWN: AppliedTuning = { unsentBytes: undefined, congestionControl: undefined }

/** Tunes what is a TCP socket with a descriptor; anything else is left alone. */
export function tuneStream(stream: Duplex, settings: SocketSettings = {}): AppliedTuning {
  if (stream instanceof Socket) {
    stream.setNoDelay(true)
    stream.setKeepAlive(true, KEEP_ALIVE_MS)
  }
  const fd = descriptorOf(stream)
  if (fd === undefined) return UNKNOWN
  try {
    const { bufferBytes } = settings
    if (bufferBytes !== undefined) setBuffers(fd, bufferBytes)
    const unsentBytes = settings.unsentBytes ?? DEFAULT_UNSENT_BYTES
    const { congestionControl } = settings
    // The system's own stays only where the kernel has neither.
    if (congestionControl === undefined || !setCongestionControl(fd, congestionControl))
      setCongestionControl(fd, DEFAULT_CONGESTION_CONTROL)
    return {
      unsentBytes: setNumber(fd, SocketLevel.TCP, TcpOption.NOTSENT_LOWAT, unsentBytes)
        ? unsentBytes
        : undefined,
      congestionControl: congestionControlOf(fd)
    }
  } catch (error) {
    if (error instanceof NativeUnavailableError) return UNKNOWN
    throw error
  }
}

/**
 * Asks the kernel, with a socket that is never connected, for what is set on the command line.
 * @returns a sentence about what it does not have, for the log; undefined: nothing
 */
export function congestionControlProblem({ congestionControl: wanted }: SocketSettings): string | undefined {
  if (wanted === undefined) return undefined
  const socket = new ProbeSocket()
  try {
    if (socket.fd === undefined) return `The congestion control of TCP cannot be set here; not ${wanted}`
    if (setCongestionControl(socket.fd, wanted)) return undefined
    const used = setCongestionControl(socket.fd, DEFAULT_CONGESTION_CONTROL)
      ? DEFAULT_CONGESTION_CONTROL
      : congestionControlOf(socket.fd)
    const others = availableCongestionControls().join(', ')
    return `The kernel has no congestion control ${wanted} for us: ${used ?? "the system's"} is used (available: ${others})`
  } finally {
    socket.close()
  }
}

/** @returns what adapts a connection that was tuned with these settings to its path; undefined: no socket of this kernel */
export function governed(
  stream: { readonly fd: number },
  settings: SocketSettings,
  clock: Clock
): StreamGovernor | undefined {
  try {
    const socket = {
      info: new TcpInfo(stream),
      setUnsentBytes: (bytes: number) =>
        void setNumber(stream.fd, SocketLevel.TCP, TcpOption.NOTSENT_LOWAT, bytes),
      setCongestionControl: (name: string) => setCongestionControl(stream.fd, name)
    }
    return new StreamGovernor(socket, {
      unsentBytes: settings.unsentBytes === undefined ? DEFAULT_UNSENT_BYTES : undefined,
      chooseControl:
        settings.congestionControl === undefined &&
        congestionControlOf(stream.fd) === DEFAULT_CONGESTION_CONTROL,
      now: () => clock.now()
    })
  } catch (error) {
    if (error instanceof NativeUnavailableError) return undefined
    throw error
  }
}

class ProbeSocket {
  readonly fd: number | undefined

  constructor() {
    try {
      const fd = libc().socket(AddressFamily.INET, SocketType.STREAM | SocketType.CLOEXEC, 0)
      this.fd = fd < 0 ? undefined : fd
    } catch (error) {
      if (!(error instanceof NativeUnavailableError)) throw error
      this.fd = undefined
    }
  }

  close(): void {
    if (this.fd !== undefined) libc().close(this.fd)
  }
}

function setCongestionControl(fd: number, name: string): boolean {
  const bytes = nativeBuffer(name.length)
  bytes.write(name, 'latin1')
  return setOption(fd, SocketLevel.TCP, TcpOption.CONGESTION, bytes)
}

function congestionControlOf(fd: number): string | undefined {
  const value = nativeBuffer(CONGESTION_CONTROL_NAME_LENGTH + 4)
  value.writeUInt32LE(CONGESTION_CONTROL_NAME_LENGTH, CONGESTION_CONTROL_NAME_LENGTH)
  const address = addressOf(value)
  const lengthAddress = address + CONGESTION_CONTROL_NAME_LENGTH
  if (libc().getsockopt(fd, SocketLevel.TCP, TcpOption.CONGESTION, address, lengthAddress) !== 0)
    return undefined
  const end = value.indexOf(0)
  return value.toString('latin1', 0, Math.min(end, CONGESTION_CONTROL_NAME_LENGTH))
}

/** Forcing needs CAP_NET_ADMIN; without it the kernel caps silently at net.core.rmem_max and wmem_max. */
function setBuffers(fd: number, bytes: number): void {
  const { SOCKET } = SocketLevel
  const { RCVBUF, RCVBUFFORCE, SNDBUF, SNDBUFFORCE } = SocketOption
  if (!setNumber(fd, SOCKET, RCVBUFFORCE, bytes)) setNumber(fd, SOCKET, RCVBUF, bytes)
  if (!setNumber(fd, SOCKET, SNDBUFFORCE, bytes)) setNumber(fd, SOCKET, SNDBUF, bytes)
}

function setNumber(fd: number, level: number, option: number, value: number): boolean {
  const bytes = nativeBuffer(4)
  bytes.writeInt32LE(value)
  return setOption(fd, level, option, bytes)
}

function setOption(fd: number, level: number, option: number, value: Buffer): boolean {
  return libc().setsockopt(fd, level, option, addressOf(value), value.length) === 0
}
