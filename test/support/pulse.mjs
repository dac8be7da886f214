/**
 * A pulse through a tunnel: small numbered UDP datagrams that come back, and how long they did not.
 *
 *     node pulse.mjs server <port> <address>...         answers each with itself, from the address that was asked
 *     node pulse.mjs client <host> <port> <interval>    a line for each answer: its number, and when it came (ms since 1970)
 * @module
 */
import { createSocket } from 'node:dgram'

const [mode, ...args] = process.argv.slice(2)

if (mode === 'server') {
  const [port, ...addresses] = args
  for (const own of addresses) {
    const socket = createSocket('udp4')
    socket.on('message', (message, from) => socket.send(message, from.port, from.address))
    await new Promise((resolve) => socket.bind(Number(port), own, resolve))
  }
  process.stdout.write('listening\n')
} else {
  const [host, port, interval] = [args[0], Number(args[1]), Number(args[2])]
  const socket = createSocket('udp4')
  let number = 0
  socket.on('message', (message) => process.stdout.write(`${message.readUInt32BE(0)} ${Date.now()}\n`))
  // While nothing carries it, the system may refuse to send: that is the outage, and no error.
  socket.on('error', () => undefined)
  socket.bind(0, () => {
    setInterval(() => {
      const datagram = Buffer.alloc(100)
      datagram.writeUInt32BE(++number, 0)
      socket.send(datagram, port, host, () => undefined)
    }, interval)
  })
}
