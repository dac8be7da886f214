/**
 * Sends numbered ESP-like datagrams from 127.0.0.7 to a port of 127.0.0.1, a few at a time so that no buffer overflows.
 *
 *     node numbered-datagrams.mjs <port> <count>
 */
import { createSocket } from 'node:dgram'

const [port, count] = process.argv.slice(2).map(Number)
const AT_A_TIME = 20
const socket = createSocket('udp4')
socket.bind(0, '127.0.0.7', () => sendFrom(0))

function sendFrom(first) {
  const last = Math.min(first + AT_A_TIME, count)
  let pending = last - first
  if (pending === 0) {
    socket.close()
    return
  }
  for (let number = first; number < last; number++) {
    const datagram = Buffer.alloc(12, 1)
    datagram.writeUInt32BE(number, 4)
    socket.send(datagram, port, '127.0.0.1', () => {
      pending--
      if (pending === 0) setTimeout(() => sendFrom(last), 1)
    })
  }
}
