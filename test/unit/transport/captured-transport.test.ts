import { describe, expect, it } from 'vitest'
import { captured, type PacketSink } from '../../../src/transport/captured-transport.ts'
import { tlsInfoOf } from '../../../src/transport/tls.ts'
import { NO_FACTS, type Transport, type TransportHandlers } from '../../../src/transport/types.ts'
import type { Path, TransportKind } from '../../../src/wire/endpoint.ts'
import { STREAM_PREFIX, StreamDeframer } from '../../../src/wire/stream-framing.ts'

const LOCAL = { address: '10.0.0.2', port: 40_000 }
const REMOTE = { address: '203.0.113.1', port: 443 }
const PROXY = { address: '198.51.100.7', port: 3128 }

/** A transport that does nothing; its memory for ESP is 4 KiB. */
class IdleTransport implements Transport {
  readonly via = null
  readonly maxEspLength = 1400
  readonly stats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  readonly facts = NO_FACTS
  readonly outerRemote = PROXY
  readonly tlsInfo = { protocol: 'TLSv1.3' }
  readonly kind: TransportKind
  readonly path: Path
  readonly calls: string[] = []
  handlers: TransportHandlers | undefined
  readonly esp = {
    buffer: new Uint8Array(4096),
    writable: true,
    reserve: () => 100,
    commit: (length: number, ecn?: number) => void this.calls.push(`commit ${length} ${ecn}`),
    flush: () => void this.calls.push('flush')
  }

  constructor(kind: TransportKind, remote = REMOTE) {
    this.kind = kind
    const natT: Path = {
      ...{ id: 2, transport: 'udp', reliable: false },
      ...{ local: { ...LOCAL, port: 40_001 }, remote: { ...remote, port: 4500 } }
    }
    const path = { id: 1, transport: kind, reliable: kind !== 'udp', local: LOCAL, remote }
    this.path = kind === 'udp' ? { ...path, remote: { ...remote, port: 500 }, natT } : path
  }

  setHandlers(handlers: TransportHandlers): void {
    this.handlers = handlers
  }
  sendIke(message: Uint8Array, path: Path): void {
    this.calls.push(`ike ${message.length} ${path.id}`)
  }
  sendNatKeepalive(): void {
    this.calls.push('keepalive')
  }
  close(): Promise<void> {
    this.calls.push('close')
    return Promise.resolve()
  }
}

function capture(transport: IdleTransport) {
  const packets: Buffer[] = []
  const sink: PacketSink = {
    packet: (head, headLength, body, offset, length) =>
      void packets.push(Buffer.concat([head.subarray(0, headLength), body.subarray(offset, offset + length)]))
  }
  return { transport: captured(transport, sink), packets }
}

/** An IKE message as a deframer knows one: its Length is right. */
function ikeMessage(length: number): Uint8Array {
  const message = Buffer.alloc(length, 0xab)
  message.writeUInt32BE(length, 24)
  return message
}

function espPacket(length: number): Uint8Array {
  return Buffer.alloc(length, 0xcd)
}

/** Destination port, and what is behind the UDP header. */
function datagram(packet: Buffer | undefined): [port: number | undefined, payload: string | undefined] {
  return [packet?.readUInt16BE(22), packet?.subarray(28).toString('hex')]
}

describe('a captured UDP transport', () => {
  it('puts what is sent and what comes on the ports where it belongs', () => {
    const inner = new IdleTransport('udp')
    const { transport, packets } = capture(inner)
    const { path } = transport
    const natT = path.natT as Path
    const seen: string[] = []
    transport.setHandlers({
      onIke: (message, on) => void seen.push(`ike ${message.length} ${on.id}`),
      onEsp: (buffer, offset, length, _on, ecn) => {
        // As the data plane does it: in place.
        buffer.fill(0, offset, offset + length)
        seen.push(`esp ${length} ${ecn}`)
      },
      onEspBatchEnd: () => seen.push('end'),
      onWritable: () => seen.push('writable'),
      onClose: ({ code }) => seen.push(code)
    })
    transport.sendIke(Uint8Array.of(1, 2), path)
    transport.sendIke(Uint8Array.of(3, 4), natT)
    inner.handlers?.onIke(Uint8Array.of(5, 6), natT)
    inner.handlers?.onEsp(Uint8Array.of(0, 7, 8), 1, 2, natT, 1)
    inner.handlers?.onEspBatchEnd()
    inner.handlers?.onWritable()
    transport.sendNatKeepalive()
    inner.handlers?.onClose({ code: 'io-error', message: '' })
    expect(packets.map(datagram)).toEqual([
      [500, '0102'],
      [4500, '000000000304'],
      [40_001, '000000000506'],
      [40_001, '0708'],
      [4500, 'ff']
    ])
    expect(packets.map((packet) => packet[1])).toEqual([0, 0, 0, 1, 0])
    expect(seen).toEqual(['ike 2 2', 'esp 2 1', 'end', 'writable', 'io-error'])
    expect(inner.calls).toEqual(['ike 2 1', 'ike 2 2', 'keepalive'])
  })

  it('takes ESP from where it was sealed, and hands everything on', () => {
    const inner = new IdleTransport('udp')
    const { transport, packets } = capture(inner)
    expect(transport.esp.reserve(50)).toBe(100)
    transport.esp.buffer.set([9, 8, 7], 100)
    transport.esp.commit(3, 2)
    transport.esp.flush()
    expect(datagram(packets[0])).toEqual([4500, '090807'])
    expect(packets[0]?.[1]).toBe(2)
    expect(inner.calls).toEqual(['commit 3 2', 'flush'])
  })
})

describe.each(['tcp', 'tls'] as const)('a captured stream over %s', (kind) => {
  it('is an RFC 9329 stream on port 4500', async () => {
    const inner = new IdleTransport(kind)
    const { transport, packets } = capture(inner)
    transport.setHandlers({ onIke() {}, onEsp() {}, onEspBatchEnd() {}, onWritable() {}, onClose() {} })
    transport.sendIke(ikeMessage(100), transport.path)
    inner.handlers?.onIke(ikeMessage(200), transport.path)
    transport.esp.buffer.set(espPacket(60), 100)
    transport.esp.reserve(60)
    transport.esp.commit(60)
    inner.handlers?.onEsp(espPacket(70), 0, 70, transport.path)
    transport.sendIke(ikeMessage(65_500), transport.path)
    await transport.close()
    inner.handlers?.onClose({ code: 'closed', message: '' })
    const ports = packets.map((packet) => [packet.readUInt16BE(20), packet.readUInt16BE(22)])
    expect(new Set(ports.map((pair) => pair.sort().join()))).toEqual(new Set(['40000,4500']))
    expect(packets.map((packet) => packet[33])).toEqual([
      ...[0x02, 0x12, 0x10, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18],
      ...[0x11, 0x11]
    ])
    expect(deframed(packets, true)).toEqual(['ike 100', 'esp 60', 'ike 65500'])
    expect(deframed(packets, false)).toEqual(['ike 200', 'esp 70'])
  })

  it('is still known as what it is', () => {
    const inner = new IdleTransport(kind)
    const { transport } = capture(inner)
    expect(tlsInfoOf(transport)).toBe(inner.tlsInfo)
    expect(transport).toMatchObject({ kind, via: null, outerRemote: PROXY, maxEspLength: 1400 })
  })

  it('stands at the proxy’s address where the gateway is known by name', () => {
    const { packets } = capture(new IdleTransport(kind, { address: 'gw.example.com', port: 443 }))
    expect([...(packets[0]?.subarray(16, 20) ?? [])]).toEqual([198, 51, 100, 7])
  })
})

/** What a deframer finds in the bytes of one direction. */
function deframed(packets: readonly Buffer[], outbound: boolean): string[] {
  const found: string[] = []
  const deframer = new StreamDeframer()
  // Of the originator alone, in its first packet with anything in it.
  let prefixLength = outbound ? STREAM_PREFIX.length : 0
  for (const packet of packets) {
    if ((packet.readUInt16BE(22) === 4500) !== outbound) continue
    const payload = packet.subarray(40)
    if (payload.length === 0) continue
    expect(payload.subarray(0, prefixLength)).toEqual(Buffer.from(STREAM_PREFIX.subarray(0, prefixLength)))
    deframer.push(payload.subarray(prefixLength), {
      onIke: (_buffer, _offset, length) => void found.push(`ike ${length}`),
      onEsp: (_buffer, _offset, length) => void found.push(`esp ${length}`)
    })
    prefixLength = 0
  }
  return found
}
