/**
 * A UDP transport on the loopback device of its own network namespace, for tests of the path MTU. Uses the compiled modules.
 *
 *     node udp-path-mtu.mjs <address of the loopback device>
 *
 * Expects a loopback device with an MTU of 1400, lowers it to 1280 in the middle, and prints one JSON line with what happened.
 * @module
 */
import { execFileSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { openUdp } from '../../dist/transport/udp.js'

const address = process.argv[2]
const ipv6 = address.includes(':')
const received = []
const server = createSocket(ipv6 ? 'udp6' : 'udp4')
server.on('message', (message) => received.push(message.length))
await new Promise((resolve) => server.bind(0, address, resolve))
const { port } = server.address()

const transport = await openUdp({ remoteAddress: address, ikePort: port, natTPort: port })
const told = []
const ignore = () => undefined
transport.setHandlers({
  onIke: ignore,
  onEsp: ignore,
  onEspBatchEnd: ignore,
  onWritable: ignore,
  onClose: ignore,
  onMaxEspLength: (length) => told.push(length)
})

async function send(...lengths) {
  const before = received.length
  const droppedBefore = transport.stats.espDropped
  for (const length of lengths) {
    const at = transport.esp.reserve(length)
    transport.esp.buffer.fill(1, at, at + length)
    transport.esp.commit(length)
  }
  transport.esp.flush()
  const dropped = transport.stats.espDropped - droppedBefore
  while (received.length < before + lengths.length - dropped) await new Promise(setImmediate)
  return { received: received.slice(before), dropped }
}

const result = { before: transport.maxEspLength }
const overhead = ipv6 ? 48 : 28
result.fits = await send(1400 - overhead, 1400 - overhead, 100)
execFileSync('ip', ['link', 'set', 'dev', 'lo', 'mtu', '1280'])
result.tooLong = await send(1400 - overhead, 1400 - overhead, 100)
result.after = transport.maxEspLength
result.fitsNow = await send(1280 - overhead, 1280 - overhead, 100)
const count = received.length
transport.sendIke(new Uint8Array(5000), transport.path)
while (received.length === count) await new Promise(setImmediate)
result.ike = received.at(-1)
result.stillStrict = await send(1400 - overhead)
result.told = told
process.stdout.write(`${JSON.stringify(result)}\n`)
await transport.close()
server.close()
