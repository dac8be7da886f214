/**
 * Hands open descriptors to another process over a UNIX socket (SCM_RIGHTS, unix(7)), together with a short text.
 * @module
 */
import { checked, libc } from './libc.ts'
import { AddressFamily, Errno, MessageFlag, SocketLevel, SocketType } from './libc-constants.ts'
import { addressOf, nativeBuffer } from './memory.ts'
import { MessageHeader } from './message-header.ts'

/** Ancillary data of level SOL_SOCKET: open descriptors. */
const SCM_RIGHTS = 1
/** What comes in is closed on exec, like everything else here. */
const MSG_CMSG_CLOEXEC = 0x4000_0000
const DESCRIPTOR_BYTES = 4
/** Longest text that goes along. */
const MAX_TEXT_BYTES = 16_384

export interface PassedDescriptors {
  readonly text: string
  readonly descriptors: readonly number[]
}

/** Two connected sockets that do not block; both are closed on exec. @throws SystemCallError, NativeUnavailableError */
export function socketPair(): [number, number] {
  const pair = nativeBuffer(8)
  const type = SocketType.STREAM | SocketType.NONBLOCK | SocketType.CLOEXEC
  checked('socketpair', libc().socketpair(AddressFamily.UNIX, type, 0, addressOf(pair)))
  return [pair.readInt32LE(0), pair.readInt32LE(4)]
}

/** Sends all of it in one piece; the descriptors stay open here. @throws SystemCallError */
export function sendDescriptors(socketFd: number, { text, descriptors }: PassedDescriptors): void {
  const bytes = Buffer.from(text)
  const data = nativeBuffer(bytes.length)
  data.set(bytes)
  const rights = Buffer.alloc(descriptors.length * DESCRIPTOR_BYTES)
  for (const [index, fd] of descriptors.entries()) rights.writeInt32LE(fd, index * DESCRIPTOR_BYTES)
  const header = new MessageHeader()
  header.setData(addressOf(data), data.length)
  if (descriptors.length > 0) header.addControl(SocketLevel.SOCKET, SCM_RIGHTS, rights)
  checked('sendmsg', libc().sendmsg(socketFd, header.address, MessageFlag.NOSIGNAL))
}

/**
 * Takes what has come. Descriptors belong to the caller from here on.
 * @param count of descriptors that are expected with a message
 * @returns undefined: nothing yet; an empty text: the other end has closed
 * @throws SystemCallError
 */
export function receiveDescriptors(socketFd: number, count: number): PassedDescriptors | undefined {
  const data = nativeBuffer(MAX_TEXT_BYTES)
  const header = new MessageHeader()
  header.setData(addressOf(data), data.length)
  header.prepareReceive()
  header.nameLength = 0
  const c = libc()
  const length = c.recvmsg(socketFd, header.address, MessageFlag.DONTWAIT | MSG_CMSG_CLOEXEC)
  if (length < 0 && c.errno() === Errno.EAGAIN) return undefined
  checked('recvmsg', length)
  const at = header.findControl(SocketLevel.SOCKET, SCM_RIGHTS)
  const descriptors =
    at < 0
      ? []
      : Array.from({ length: count }, (_, index) => header.control.readInt32LE(at + index * DESCRIPTOR_BYTES))
  return { text: data.toString('utf8', 0, length), descriptors }
}
