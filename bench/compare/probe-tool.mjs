/**
 * Asks an echo server until it answers, and prints when that was. Arguments: its address and port.
 *
 * It is started before the tunnel's command: until the tunnel's route is there, each datagram is refused by the kernel at once.
 * Times are nanoseconds of the monotonic clock, which all processes of a machine share.
 * @module
 */
import { createSocket } from 'node:dgram'

/** The finest time that is told apart. */
const EVERY_MS = 2

const [address, port] = [process.argv[2], Number(process.argv[3])]
const socket = createSocket('udp4')
const request = Buffer.from('first packet?')
// Unreachable, not permitted: not yet.
const ignore = () => undefined
socket.on('error', ignore)
socket.on('message', () => {
  process.stdout.write(`answered ${process.hrtime.bigint()}\n`)
  process.exit(0)
})
socket.bind(() => {
  setInterval(() => socket.send(request, port, address, ignore), EVERY_MS)
  process.stdout.write('asking\n')
})
