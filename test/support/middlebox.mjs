/**
 * A middlebox between client and gateway, run inside a namespace: forwards IKE and ESP over UDP 500 and 4500, TCP 4500 and TLS
 * 443 (which it terminates: the gateway sees TCP), except for what it is told to spoil.
 *
 *     node middlebox.mjs <settings as JSON>
 *
 * | setting | what |
 * | --- | --- |
 * | `listen`, `target` | its own address, and the gateway's |
 * | `tls` | `{ key, cert }` in PEM |
 * | `esp` | false: no ESP passes on UDP |
 * | `lastAnswer` | the gateway falls silent behind its answer with this Message ID; -1: it never says anything |
 * | `closeBehind` | a stream ends right behind the gateway's answer with this Message ID |
 * | `noise` | forwards nothing and answers everything with rubbish: `plain` on the TLS port too, or `inside` TLS |
 *
 * Prints `{"listening":true}`, and takes lines on standard input: `reset` resets every stream, `end` ends every stream in good order,
 * `corrupt` loses some bytes of each stream in both directions, as an injection would that TCP let through,
 * `stall` reads nothing more from the streams that there are (a zero window, in time), `rebind` gives every UDP flow another port towards
 * the gateway, as a NAT does that has forgotten it, and `settings <JSON>` changes settings.
 * Ends with its standard input.
 * @module
 */
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { Transform } from 'node:stream'
import { createServer as createTlsServer } from 'node:tls'

const IKE_HEADER_LENGTH = 28
const RESPONSE_FLAG = 0x20
const MARKER_LENGTH = 4

let settings = JSON.parse(process.argv[2] ?? '{}')
const streams = new Set()
const rebinds = new Set()
/** Directions of each stream that are to be spoilt. */
const corrupting = new Map()
const unframed = new Set()

/** @param message from the SPIs on */
function passes(message) {
  if (settings.lastAnswer === undefined) return true
  if (message.length < IKE_HEADER_LENGTH) return false
  return (message[19] & RESPONSE_FLAG) !== 0 && message.readUInt32BE(20) <= settings.lastAnswer
}

function endsHere(message) {
  if (settings.closeBehind === undefined || message.length < IKE_HEADER_LENGTH) return false
  return (message[19] & RESPONSE_FLAG) !== 0 && message.readUInt32BE(20) === settings.closeBehind
}

/** IKE or ESP by the non-ESP marker (RFC 3948 section 2.2). @returns the IKE message, undefined for anything else */
function ikeOf(packet) {
  return packet.length > MARKER_LENGTH && packet.readUInt32BE(0) === 0
    ? packet.subarray(MARKER_LENGTH)
    : undefined
}

function serveUdp(port) {
  const flows = new Map()
  const socket = createSocket('udp4')
  const isIke = (packet) => port === 500 || packet.length <= 1 || ikeOf(packet) !== undefined
  socket.on('message', (packet, from) => {
    if (settings.noise) {
      for (const answer of noise(packet, port)) socket.send(answer, from.port, from.address)
      return
    }
    if (settings.esp === false && !isIke(packet)) return
    const key = `${from.address} ${from.port}`
    const flow = flows.get(key)
    if (flow === undefined) {
      const flow = createSocket('udp4')
      flow.on('error', () => {})
      flow.on('message', (answer) => {
        const message = port === 500 ? answer : ikeOf(answer)
        if (
          message === undefined
            ? settings.esp === false || settings.lastAnswer !== undefined
            : !passes(message)
        )
          return
        socket.send(answer, from.port, from.address)
      })
      flow.connect(port, settings.target)
      flows.set(key, flow)
      flow.once('connect', () => flow.send(packet))
      return
    }
    flow.send(packet, () => {})
  })
  rebinds.add(() => {
    for (const flow of flows.values()) flow.close()
    flows.clear()
  })
  return new Promise((resolve) => socket.bind(port, settings.listen, resolve))
}

/** Rubbish that looks ever more like an answer. */
function noise(packet, port) {
  const marker = port === 500 ? 0 : MARKER_LENGTH
  const answer = Buffer.from(packet)
  if (answer.length < marker + IKE_HEADER_LENGTH) return []
  answer.fill(0xa5, marker + 8)
  const header = Buffer.from(answer)
  header[marker + 16] = 33
  header[marker + 17] = 0x20
  header[marker + 18] = 34
  header[marker + 19] = RESPONSE_FLAG
  header.writeUInt32BE(0, marker + 20)
  header.writeUInt32BE(header.length - marker, marker + 24)
  return [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), answer, header, header.subarray(0, marker + 20)]
}

function onStream(socket) {
  streams.add(socket)
  socket.on('error', () => {})
  socket.on('close', () => streams.delete(socket))
  if (settings.noise) {
    socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'))
    return
  }
  const upstream = connect(4500, settings.target)
  upstream.on('error', () => socket.destroy())
  upstream.on('close', () => socket.end())
  socket.on('close', () => upstream.destroy())
  const spoiling = new Transform({
    transform: (chunk, _encoding, done) => done(null, spoilt(socket, 'up', chunk))
  })
  socket.pipe(spoiling).pipe(upstream)
  let rest = Buffer.alloc(0)
  upstream.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk])
    if (corrupting.get(socket)?.has('down')) {
      socket.write(spoilt(socket, 'down', rest))
      rest = Buffer.alloc(0)
      // From here on the boundaries are not known.
      unframed.add(socket)
    }
    if (unframed.has(socket)) {
      socket.write(rest)
      rest = Buffer.alloc(0)
    }
    while (rest.length >= 2 && rest.length >= rest.readUInt16BE(0)) {
      const length = rest.readUInt16BE(0)
      if (length < 2) return socket.destroy()
      const frame = rest.subarray(0, length)
      rest = rest.subarray(length)
      const message = ikeOf(frame.subarray(2))
      if (message === undefined ? settings.lastAnswer !== undefined : !passes(message)) continue
      socket.write(frame)
      if (message !== undefined && endsHere(message)) {
        socket.end()
        upstream.destroy()
        return
      }
    }
  })
}

/**
 * Loses bytes in the middle, once for each direction after it was asked for: more than the header of an ESP packet has, whose zeros would
 * be read as a Length, which ends the stream at once (RFC 9329 section 3.2).
 */
function spoilt(socket, direction, bytes) {
  if (bytes.length < 120 || !corrupting.get(socket)?.delete(direction)) return bytes
  const middle = bytes.length >>> 1
  return Buffer.concat([bytes.subarray(0, middle), bytes.subarray(middle + 41)])
}

/** The connection stays, and takes and gives nothing any more. */
function stall(socket) {
  socket.unpipe()
  socket.pause()
  socket.write = () => true
  streams.delete(socket)
}

function serveStream(server, port) {
  server.on('error', () => {})
  server.on('tlsClientError', () => {})
  return new Promise((resolve) => server.listen(port, settings.listen, resolve))
}

await Promise.all([
  serveUdp(500),
  serveUdp(4500),
  serveStream(createServer({ noDelay: true }, onStream), 4500),
  serveStream(
    settings.noise === 'plain'
      ? createServer(onStream)
      : createTlsServer({ ...settings.tls, noDelay: true }, onStream),
    443
  )
])
process.stdout.write('{"listening":true}\n')

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  if (line.startsWith('settings ')) settings = { ...settings, ...JSON.parse(line.slice(9)) }
  else if (line === 'reset') for (const socket of streams) (socket._parent ?? socket).resetAndDestroy()
  else if (line === 'end') for (const socket of streams) socket.end()
  else if (line === 'rebind') for (const rebind of rebinds) rebind()
  else if (line === 'corrupt') for (const socket of streams) corrupting.set(socket, new Set(['up', 'down']))
  else if (line === 'stall') for (const socket of streams) stall(socket)
})
lines.on('close', () => process.exit(0))
