/**
 * Who is at the other end of a UNIX socket, as the kernel noted it down when they connected (SO_PEERCRED, unix(7)).
 * @module
 */
import type { Socket } from 'node:net'
import { descriptorOf } from '../native/descriptor.ts'
import { libc } from '../native/libc.ts'
import { SocketLevel, SocketOption } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'

export interface PeerCredentials {
  readonly pid: number
  /** As this process's user namespace numbers it. */
  readonly uid: number
  readonly gid: number
}

/** `struct ucred`: three 32-bit numbers. */
const UCRED_LENGTH = 12

/** @returns undefined where the kernel does not tell. @throws NativeUnavailableError */
export function peerCredentials(socket: Socket): PeerCredentials | undefined {
  const fd = descriptorOf(socket)
  if (fd === undefined) return undefined
  const value = nativeBuffer(UCRED_LENGTH)
  const length = nativeBuffer(4)
  length.writeUInt32LE(UCRED_LENGTH)
  const level = SocketLevel.SOCKET
  if (libc().getsockopt(fd, level, SocketOption.PEERCRED, addressOf(value), addressOf(length)) < 0)
    return undefined
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) }
}
