/**
 * Two ends of a tunnel in one process, without a network: super-packets of TCP go through one pump into memory, and from there through
 * the other. For benches and for the test that counts what is allocated.
 * @module
 */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { cidrToSelector } from '../../test/support/two-pumps-selectors.mjs'

const VNET_HEADER = 10
/** IPv4 and TCP with timestamps. */
const HEADERS = 52
const AES_GCM = 20
const SPI = { there: 0x2222, back: 0x1111 }

/**
 * @param {{ readonly dist: string, readonly payload: number, readonly frames: number }} options compiled modules; bytes of TCP in a
 *   packet; super-packets in a batch
 */
export async function openPumpPair({ dist, payload, frames }) {
  const from = (file) => import(`${resolve(dist)}/${file}`)
  const { Pump } = await from('dataplane/pump.js')
  const { Sad } = await from('esp/sad.js')
  const { silentLogger } = await from('log.js')
  const { packetBuffer } = await from('native/packet-memory.js')
  const segments = Math.floor(65_000 / payload)
  const length = HEADERS + payload
  const frame = superFrame(payload, segments)

  class MemoryTun {
    name = 'bench'
    offloads = { checksum: { inUse: true }, tcp: { inUse: true }, udp: { inUse: true } }
    readBuffer = packetBuffer(131_072)
    left = 0
    handlers

    setHandlers(handlers) {
      this.handlers = handlers
    }
    setReading() {}
    read() {
      if (this.left-- <= 0) return 0
      this.readBuffer.set(frame)
      return frame.length
    }
    write() {
      return true
    }
    release() {}
  }

  /** Keeps a batch, so that it can be given to the other end. */
  class MemoryTransport {
    kind = 'udp'
    esp = this
    writable = true
    buffer = packetBuffer(frames * segments * (length + 60))
    spans = new Int32Array(2 * frames * segments)
    count = 0
    #at = 0

    reserve() {
      return this.#at
    }
    commit(sealed) {
      this.spans[2 * this.count] = this.#at
      this.spans[2 * this.count++ + 1] = sealed
      this.#at += sealed
    }
    flush() {}
    reset() {
      this.count = this.#at = 0
    }
  }

  let seed = 0
  const random = { bytes: (count) => new Uint8Array(count).fill(++seed) }
  const host = [cidrToSelector('10.1.0.2/32')]
  const network = [cidrToSelector('10.1.0.0/24')]

  function end(localTs, remoteTs, outbound, inbound) {
    const tun = new MemoryTun()
    const sad = new Sad({ random })
    const parameters = {
      ...{ childId: 1, localTs, remoteTs },
      inbound: direction(inbound, String(inbound)),
      outbound: direction(outbound, String(outbound))
    }
    sad.install(parameters)
    sad.activateOutbound(inbound)
    const pump = new Pump({ tun, sad, logger: silentLogger, mtu: length, now: () => performance.now() })
    return { tun, pump, sad }
  }

  const client = end(host, network, SPI.there, SPI.back)
  const gateway = end(network, host, SPI.back, SPI.there)
  const transport = new MemoryTransport()
  client.pump.setTransport(transport)
  client.pump.resume()
  gateway.pump.resume()
  return {
    ...{ client, gateway, transport, segments, length },
    selectors: { host, network },

    /** A batch through the client's pump, into `transport`. */
    sendBatch() {
      transport.reset()
      client.tun.left = frames
      client.tun.handlers.onReadable()
    },

    /** What is in `transport` through the gateway's pump. */
    receiveBatch() {
      const { spans, count, buffer } = transport
      for (let index = 0; index < 2 * count; index += 2)
        gateway.pump.handleEsp(buffer, spans[index], spans[index + 1], 0)
      gateway.pump.handleEspBatchEnd()
    }
  }
}

/** One direction of a Child SA with AES-128-GCM. */
export function direction(spi, name) {
  return {
    ...{ spi, encryptionId: AES_GCM, encryptionKeyBits: 128, integrityId: 0, esn: false },
    ...{ encryptionKey: key(name), integrityKey: new Uint8Array(0) }
  }
}

function key(name) {
  return Uint8Array.from(createHash('sha256').update(name).digest().subarray(0, 20))
}

/** A super-packet as the kernel hands it over; contents that do not matter, the same in every run. */
function superFrame(payload, segments) {
  const frame = Buffer.alloc(VNET_HEADER + HEADERS + segments * payload)
  frame.set([1, 1])
  for (const [at, value] of [
    [2, HEADERS],
    [4, payload],
    [6, 20],
    [8, 16]
  ])
    frame.writeUInt16LE(value, at)
  frame.set([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 2, 10, 1, 0, 1], VNET_HEADER)
  frame.writeUInt16BE(frame.length - VNET_HEADER, VNET_HEADER + 2)
  const tcp = [19, 136, 32, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1]
  frame.set(tcp, VNET_HEADER + 20)
  for (let at = VNET_HEADER + HEADERS; at < frame.length; at += 32)
    createHash('sha256').update(String(at)).digest().copy(frame, at)
  return frame
}
