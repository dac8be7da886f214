/**
 * ICMP echo over a raw socket (RFC 792): a fresh machine need not have `ping`.
 * @module
 */

import { checked, libc } from '../native/libc.ts'
import { AddressFamily, SocketType } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { watch } from '../native/poller.ts'
import { encodeSockaddr } from '../native/sockaddr.ts'
import { internetChecksum } from '../wire/checksum.ts'

const IPPROTO_ICMP = 1
const ECHO_REQUEST = 8
const ECHO_REPLY = 0
const MESSAGE_LENGTH = 64

/** Sends one echo request to an IPv4 address and waits. @returns the round trip in milliseconds, undefined: no answer */
export async function ping(
  address: Uint8Array,
  sequence: number,
  timeoutMs: number
): Promise<number | undefined> {
  const c = libc()
  const fd = checked(
    'socket',
    c.socket(AddressFamily.INET, SocketType.RAW | SocketType.NONBLOCK | SocketType.CLOEXEC, IPPROTO_ICMP)
  )
  try {
    const peer = encodeSockaddr({ address, port: 0 })
    checked('connect', c.connect(fd, addressOf(peer), peer.length))
    const identifier = process.pid & 0xffff
    const request = nativeBuffer(MESSAGE_LENGTH)
    request[0] = ECHO_REQUEST
    request.writeUInt16BE(identifier, 4)
    request.writeUInt16BE(sequence, 6)
    request.writeUInt16BE(internetChecksum(request, 0, request.length), 2)
    const sentAt = performance.now()
    checked('send', c.send(fd, addressOf(request), request.length, 0))
    return await answer(fd, identifier, sequence, sentAt, timeoutMs)
  } finally {
    c.close(fd)
  }
}

function answer(
  fd: number,
  identifier: number,
  sequence: number,
  sentAt: number,
  timeoutMs: number
): Promise<number | undefined> {
  const c = libc()
  const packet = nativeBuffer(2048)
  return new Promise((resolve) => {
    const finish = (result: number | undefined): void => {
      clearTimeout(timer)
      watching.close()
      resolve(result)
    }
    const timer = setTimeout(() => finish(undefined), timeoutMs)
    const watching = watch(fd, { readable: true }, () => {
      for (;;) {
        const length = c.recv(fd, addressOf(packet), packet.length, 0)
        if (length < 0) return
        const icmp = ((packet[0] ?? 0) & 0x0f) * 4
        if (length < icmp + 8 || packet[icmp] !== ECHO_REPLY) continue
        if (packet.readUInt16BE(icmp + 4) !== identifier || packet.readUInt16BE(icmp + 6) !== sequence)
          continue
        return finish(performance.now() - sentAt)
      }
    })
  })
}
