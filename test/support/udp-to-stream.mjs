/**
 * The relay turned around, for a client that knows UDP only: datagrams to a local port leave in one TCP or TLS stream for
 * each source (RFC 9329). Written for tests, against the RFC and not against the relay's own framing code.
 *
 *     node udp-to-stream.mjs <listen address> <listen port> <host> <port> tcp|tls
 * @module
 */
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'

const [listenAddress, listenPort, host, port, kind] = process.argv.slice(2)
const udp = createSocket('udp4')
const streams = new Map()

function openStream(source) {
  const at = { host, port: Number(port) }
  const stream =
    kind === 'tls' ? connectTls({ ...at, rejectUnauthorized: false }) : connect({ ...at, noDelay: true })
  stream.write('IKETCP')
  let held = Buffer.alloc(0)
  stream.on('data', (chunk) => {
    held = Buffer.concat([held, chunk])
    while (held.length >= 2 && held.length >= held.readUInt16BE(0)) {
      const end = held.readUInt16BE(0)
      udp.send(held.subarray(2, end), source.port, source.address)
      held = held.subarray(end)
    }
  })
  stream.on('error', () => {})
  stream.on('close', () => streams.delete(`${source.address}:${source.port}`))
  return stream
}

udp.on('message', (datagram, source) => {
  const key = `${source.address}:${source.port}`
  let stream = streams.get(key)
  if (stream === undefined) {
    stream = openStream(source)
    streams.set(key, stream)
  }
  const length = Buffer.alloc(2)
  length.writeUInt16BE(datagram.length + 2)
  stream.write(Buffer.concat([length, datagram]))
})
udp.bind(Number(listenPort), listenAddress, () => process.stdout.write('ready\n'))
