/**
 * Sends every UDP datagram back to where it came from. Argument: the port.
 * @module
 */
import { createSocket } from 'node:dgram'

const socket = createSocket('udp4')
socket.on('message', (message, { address, port }) => socket.send(message, port, address))
socket.bind(Number(process.argv[2]), () => process.stdout.write('listening\n'))
