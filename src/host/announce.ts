/**
 * Sends an Ethernet frame out of an interface, to tell neighbours that an address has moved here.
 * @module
 */
import { checked, libc } from '../native/libc.ts'
import { AddressFamily, SocketType } from '../native/libc-constants.ts'
import { addressOf } from '../native/memory.ts'
import { encodeLinkSockaddr } from '../native/sockaddr.ts'

/** @throws SystemCallError (without CAP_NET_RAW, for one), NativeUnavailableError */
export function sendFrame(interfaceName: string, frame: Uint8Array): void {
  const index = libc().ifNameToIndex(interfaceName)
  if (index === 0) return
  // Protocol 0: the socket receives nothing.
  const type = SocketType.RAW | SocketType.NONBLOCK | SocketType.CLOEXEC
  const fd = checked('socket', libc().socket(AddressFamily.PACKET, type, 0))
  try {
    const sockaddr = encodeLinkSockaddr(index)
    checked('bind', libc().bind(fd, addressOf(sockaddr), sockaddr.length))
    const bytes = Uint8Array.from(frame)
    checked('send', libc().send(fd, addressOf(bytes), bytes.length, 0))
  } finally {
    libc().close(fd)
  }
}
