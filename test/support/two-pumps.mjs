/**
 * Both ends of a tunnel in one process, for tests: two TUN devices in two network namespaces, two pumps, and two
 * transports that are each other's far end. Uses the compiled modules.
 *
 *     node two-pumps.mjs <settings as JSON>
 *
 * Settings: `left`, `right` (paths of the namespaces), `mtu`, `kind`, `encryptionId`, `keyBits`, `integrityId`, `esn`, `offload`,
 * `backend`, `localTs`/`remoteTs` (as seen from the left; default: everything). Prints one JSON line when ready and answers each line on
 * standard input with one: `stats`, `mtu <n>`, `detach` (takes the left transport away), `attach`, `rekey`, `ecn <n>` (outer ECN field of all packets).
 * Ends when its standard input does.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import { memoryTransportPair } from '../../dist/dataplane/memory-transport.js'
import { Pump } from '../../dist/dataplane/pump.js'
import { Sad } from '../../dist/esp/sad.js'
import { silentLogger } from '../../dist/log.js'
import { openTun } from '../../dist/tun/tun-device.js'
import { cidrToSelector } from './two-pumps-selectors.mjs'

const settings = {
  mtu: 1400,
  kind: 'udp',
  encryptionId: 20,
  keyBits: 128,
  integrityId: 0,
  esn: true,
  offload: true,
  localTs: ['0.0.0.0/0', '::/0'],
  remoteTs: ['0.0.0.0/0', '::/0'],
  ...JSON.parse(process.argv[2])
}
const random = { bytes: (length) => randomBytes(length) }
const integrityKeyBytes = { 0: 0, 2: 20, 12: 32, 13: 48, 14: 64 }
const saltBytes = settings.encryptionId === 12 ? 0 : 4

function saParameters(spi) {
  const keys = {
    encryptionKey: randomBytes(settings.keyBits / 8 + saltBytes),
    integrityKey: randomBytes(integrityKeyBytes[settings.integrityId])
  }
  // Each end owns, and in the end overwrites, its own copy.
  return () => ({
    spi,
    encryptionId: settings.encryptionId,
    encryptionKeyBits: settings.keyBits,
    integrityId: settings.integrityId,
    encryptionKey: Uint8Array.from(keys.encryptionKey),
    integrityKey: Uint8Array.from(keys.integrityKey),
    esn: settings.esn
  })
}

const events = { softLimits: 0, inbound: 0 }
function end(netnsPath) {
  const tun = openTun({ netnsPath, mtu: settings.mtu, offload: settings.offload })
  const sad = new Sad({ random, backend: settings.backend, softLimits: settings.softLimits })
  const pump = new Pump({
    tun,
    sad,
    logger: silentLogger,
    mtu: settings.mtu,
    now: () => performance.now(),
    observer: {
      onInboundActivity: () => events.inbound++,
      onSoftLimit: () => events.softLimits++
    }
  })
  return { tun, sad, pump }
}

const left = end(settings.left)
const right = end(settings.right)
const transports = memoryTransportPair({ kind: settings.kind })
let outerEcn
for (const [index, { pump }] of [left, right].entries()) {
  transports[index].setHandlers({
    onIke() {},
    onEsp: (buffer, offset, length, _path, ecn) => pump.handleEsp(buffer, offset, length, outerEcn ?? ecn),
    onEspBatchEnd: () => pump.handleEspBatchEnd(),
    onWritable: () => pump.handleWritable(),
    onClose() {}
  })
  pump.setTransport(transports[index])
  pump.resume()
}

let generation = 0
function installKeys() {
  generation++
  const toRight = saParameters(0x1000 + generation)
  const toLeft = saParameters(0x2000 + generation)
  const local = settings.localTs.map(cidrToSelector)
  const remote = settings.remoteTs.map(cidrToSelector)
  right.sad.install({ childId: 1, inbound: toRight(), outbound: toLeft(), localTs: remote, remoteTs: local })
  left.sad.install({ childId: 1, inbound: toLeft(), outbound: toRight(), localTs: local, remoteTs: remote })
  left.sad.activateOutbound(0x2000 + generation)
  right.sad.activateOutbound(0x1000 + generation)
}
installKeys()

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}
print({
  left: left.tun.name,
  right: right.tun.name,
  offload: left.tun.offload,
  backend: left.sad.children[0].outbound.backend
})

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const [command, argument] = line.split(' ')
  switch (command) {
    case 'mtu':
      for (const { pump } of [left, right]) pump.setMtu(Number(argument))
      break
    case 'detach':
      left.pump.setTransport(undefined)
      break
    case 'attach':
      left.pump.setTransport(transports[0])
      break
    case 'rekey':
      installKeys()
      break
    case 'ecn':
      outerEcn = Number(argument)
      break
  }
  print({ left: left.pump.stats, right: right.pump.stats, events, children: left.sad.children.length })
})
lines.on('close', () => {
  for (const { pump, tun, sad } of [left, right]) {
    pump.stop()
    tun.release()
    sad.clear()
  }
})
