/**
 * Which address of this machine packets to a peer would carry now: the kernel's own answer, without sending anything.
 * @module
 */
import { NativeUnavailableError } from '../native/libc.ts'
import { UdpSocket } from './udp-socket.ts'

const ANY_PORT = 4500

/** @returns the address; `none` when no route leads there; undefined when it cannot be found out */
export function sourceAddressFor(remote: string): string | 'none' | undefined {
  try {
    const socket = UdpSocket.open({ remote: { address: remote, port: ANY_PORT }, bufferBytes: 0 })
    const { address } = socket.local
    socket.close()
    return address
  } catch (error) {
    return error instanceof NativeUnavailableError ? undefined : 'none'
  }
}
