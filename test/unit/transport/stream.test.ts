import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { StreamTransport } from '../../../src/transport/stream.ts'
import { acceptStream } from '../../../src/transport/stream-accept.ts'
import { espPacket, frame, ikeFrame, ikeMessage, PREFIX } from '../../support/relay-fixture.ts'
import { waitUntil } from '../../support/wait-until.ts'
import { MemoryStream, Recorder } from './memory-stream.ts'

const local = { address: '10.0.0.1', port: 40000 }
const remote = { address: '198.51.100.1', port: 4500 }

function open(options: { role?: 'originator' | 'responder'; head?: Uint8Array } = {}) {
  const stream = new MemoryStream()
  const { role = 'originator', head } = options
  const transport = new StreamTransport({ stream, kind: 'tcp', role, local, remote, head })
  const recorder = new Recorder()
  transport.setHandlers(recorder)
  return { stream, transport, recorder }
}

function commit(transport: StreamTransport, packet: Buffer): void {
  const at = transport.esp.reserve(packet.length + 100)
  expect(at).toBeGreaterThanOrEqual(0)
  transport.esp.buffer.set(packet, at)
  transport.esp.commit(packet.length)
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('what leaves on a stream', () => {
  test('nothing before the first message', async () => {
    const { stream, transport } = open()
    await turn()
    transport.esp.flush()
    transport.sendNatKeepalive()
    await turn()
    expect(stream.written).toEqual([])
  })

  test('the prefix in one write with the first IKE message, and once', () => {
    const { stream, transport } = open()
    const [first, second] = [ikeMessage(432), ikeMessage(100)]
    transport.sendIke(first, transport.path)
    transport.sendIke(second, transport.path)
    expect(stream.written).toEqual([Buffer.concat([PREFIX, ikeFrame(first)]), ikeFrame(second)])
    // RFC 9329 section 3.1: 432 bytes of IKE make a Length of 0x01b6.
    expect(stream.written[0]?.subarray(6, 12).toString('hex')).toBe('01b600000000')
  })

  test('the prefix in one write with the first batch of ESP', () => {
    const { stream, transport } = open()
    commit(transport, espPacket(80, 1))
    commit(transport, espPacket(1400, 2))
    transport.esp.flush()
    commit(transport, espPacket(60, 3))
    transport.esp.flush()
    expect(stream.written).toEqual([
      Buffer.concat([PREFIX, frame(espPacket(80, 1)), frame(espPacket(1400, 2))]),
      frame(espPacket(60, 3))
    ])
  })

  test('IKE in front of a batch that is not flushed yet, which then carries no second prefix', () => {
    const { stream, transport } = open()
    commit(transport, espPacket(80, 1))
    transport.sendIke(ikeMessage(100), transport.path)
    transport.esp.flush()
    expect(stream.written).toEqual([
      Buffer.concat([PREFIX, ikeFrame(ikeMessage(100))]),
      frame(espPacket(80, 1))
    ])
  })

  test('no prefix from the responder', () => {
    const { stream, transport } = open({ role: 'responder' })
    transport.sendIke(ikeMessage(100), transport.path)
    expect(stream.bytes).toEqual(ikeFrame(ikeMessage(100)))
  })

  test('nothing on a path that is not its own, and nothing longer than a frame', () => {
    const { stream, transport, recorder } = open()
    transport.sendIke(ikeMessage(100), { ...transport.path, id: -1 })
    transport.sendIke(ikeMessage(65530), transport.path)
    expect(stream.written).toEqual([])
    expect(recorder.troubles).toHaveLength(1)
    expect(transport.esp.reserve(65534)).toBe(-1)
  })

  test('a blocked stream takes no more ESP, keeps IKE, and says when it goes on', async () => {
    const { stream, transport, recorder } = open()
    stream.blocked = true
    commit(transport, espPacket(1000, 1))
    transport.esp.flush()
    expect(transport.esp.writable).toBe(false)
    transport.sendIke(ikeMessage(200), transport.path)
    expect(stream.written).toEqual([])
    stream.release()
    await waitUntil('onWritable', () => recorder.writable > 0)
    expect(transport.esp.writable).toBe(true)
    expect(stream.bytes).toEqual(
      Buffer.concat([PREFIX, frame(espPacket(1000, 1)), ikeFrame(ikeMessage(200))])
    )
  })

  test('memory is not reused while the stream still holds it', async () => {
    const { stream, transport } = open()
    stream.blocked = true
    const sent: Buffer[] = []
    for (let sequence = 1; sequence < 10_000; sequence++) {
      const packet = espPacket(900 + (sequence % 500), sequence)
      const at = transport.esp.reserve(packet.length)
      if (at < 0) break
      transport.esp.buffer.set(packet, at)
      transport.esp.commit(packet.length)
      if (sequence % 7 === 0) transport.esp.flush()
      sent.push(frame(packet))
    }
    expect(sent.length).toBeGreaterThan(500)
    transport.esp.flush()
    stream.release()
    await waitUntil('everything', () => stream.bytes.length >= Buffer.concat([PREFIX, ...sent]).length)
    expect(stream.bytes.equals(Buffer.concat([PREFIX, ...sent]))).toBe(true)
  })

  test('whatever is sent while the stream blocks and goes on arrives whole and in order', async () => {
    const operation = fc.oneof(
      { weight: 6, arbitrary: fc.record({ esp: fc.integer({ min: 8, max: 60_000 }) }) },
      { weight: 2, arbitrary: fc.record({ ike: fc.integer({ min: 28, max: 3000 }) }) },
      { weight: 3, arbitrary: fc.constant('flush' as const) },
      { weight: 2, arbitrary: fc.constant('block' as const) },
      { weight: 2, arbitrary: fc.constant('release' as const) },
      { weight: 2, arbitrary: fc.constant('turn' as const) }
    )
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 120 }), async (operations) => {
        const { stream, transport } = open()
        const esp: Buffer[] = []
        const ike: Buffer[] = []
        for (const what of operations) {
          if (what === 'flush') transport.esp.flush()
          else if (what === 'block') stream.blocked = true
          else if (what === 'release') stream.release()
          else if (what === 'turn') await turn()
          else if ('ike' in what) {
            const message = ikeMessage(what.ike, ike.length)
            ike.push(message)
            transport.sendIke(message, transport.path)
          } else {
            const packet = espPacket(what.esp, esp.length + 1)
            const at = transport.esp.reserve(packet.length)
            if (at < 0) continue
            transport.esp.buffer.set(packet, at)
            transport.esp.commit(packet.length)
            esp.push(packet)
          }
        }
        transport.esp.flush()
        while (stream.writableLength > 0) {
          stream.release()
          await turn()
        }
        const { bytes } = stream
        const received = readFrames(bytes)
        expect(received.ike.map((message) => message.length)).toEqual(ike.map((message) => message.length))
        expect(received.esp.length).toBe(esp.length)
        for (const [index, packet] of received.esp.entries())
          if (!packet.equals(esp[index] ?? Buffer.alloc(0))) throw new Error(`ESP packet ${index} differs`)
      }),
      { seed: 3, numRuns: 150 }
    )
  })
})

function readFrames(bytes: Buffer): { ike: Buffer[]; esp: Buffer[] } {
  const ike: Buffer[] = []
  const esp: Buffer[] = []
  if (bytes.length > 0) expect(bytes.subarray(0, 6)).toEqual(PREFIX)
  for (let at = 6; at < bytes.length; ) {
    const length = bytes.readUInt16BE(at)
    const body = bytes.subarray(at + 2, at + length)
    if (body.readUInt32BE(0) === 0) ike.push(body.subarray(4))
    else esp.push(body)
    at += length
  }
  return { ike, esp }
}

describe('what arrives on a stream', () => {
  const messages = Buffer.concat([
    ikeFrame(ikeMessage(120)),
    frame(espPacket(64)),
    frame(espPacket(8)),
    frame(Buffer.of(0xff)),
    frame(Buffer.alloc(0)),
    ikeFrame(ikeMessage(28))
  ])

  test.each([1, 2, 3, 5, 7, 64, 1000])('is the same in chunks of %i bytes', async (size) => {
    const { stream, recorder } = open()
    for (let at = 0; at < messages.length; at += size) stream.receive(messages.subarray(at, at + size))
    stream.receiveEnd()
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.ike).toEqual([ikeMessage(120), ikeMessage(28)])
    expect(recorder.esp).toEqual([espPacket(64), espPacket(8)])
  })

  test('is the same however it is cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(messages.length), { maxLength: 12 }), async (cuts) => {
        const { stream, recorder } = open()
        const points = [0, ...cuts.sort((a, b) => a - b), messages.length]
        for (let i = 1; i < points.length; i++) stream.receive(messages.subarray(points[i - 1], points[i]))
        stream.receiveEnd()
        await waitUntil('the end', () => recorder.closed)
        expect(recorder.events.filter((event) => event !== 'batch end')).toEqual([
          'ike 120',
          'esp 64',
          'esp 8',
          'ike 28',
          'closed closed-by-peer'
        ])
      }),
      { seed: 4, numRuns: 100 }
    )
  })

  test('one batch per chunk', async () => {
    const { stream, recorder } = open()
    stream.receive(messages)
    await waitUntil('messages', () => recorder.ike.length === 2)
    expect(recorder.events).toEqual(['ike 120', 'esp 64', 'esp 8', 'ike 28', 'batch end'])
  })

  test('begins with what a proxy handed over', async () => {
    const { stream, recorder } = open({ head: messages.subarray(0, 50) })
    stream.receive(messages.subarray(50))
    await waitUntil('messages', () => recorder.ike.length === 2)
    expect(recorder.esp).toHaveLength(2)
  })

  test.each([0, 1])('a Length of %i ends it after what came before', async (length) => {
    const { stream, recorder } = open()
    stream.receive(Buffer.concat([ikeFrame(ikeMessage(60)), Buffer.of(0, length), ikeFrame(ikeMessage(60))]))
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.events).toEqual(['ike 60', 'closed framing-error'])
    expect(stream.destroyed).toBe(true)
  })

  test('a message that the end cuts off is not delivered', async () => {
    const { stream, recorder } = open()
    stream.receive(ikeFrame(ikeMessage(60)).subarray(0, 50))
    stream.receiveEnd()
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.events).toEqual(['closed closed-by-peer'])
  })

  test('waits until somebody listens', async () => {
    const stream = new MemoryStream()
    const transport = new StreamTransport({ stream, kind: 'tcp', role: 'originator', local, remote })
    stream.receive(messages)
    stream.receiveEnd()
    await turn()
    const recorder = new Recorder()
    transport.setHandlers(recorder)
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.ike).toHaveLength(2)
  })

  test('an error is told once, as a stable code', async () => {
    const { stream, recorder } = open()
    await turn()
    stream.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.events).toEqual(['closed connection-reset'])
    expect(recorder.closed?.message).toContain('198.51.100.1:4500')
  })

  test('nothing after a handler has closed it', async () => {
    const stream = new MemoryStream()
    const transport = new StreamTransport({ stream, kind: 'tcp', role: 'originator', local, remote })
    const recorder = new Recorder()
    recorder.onIke = () => {
      recorder.events.push('ike')
      void transport.close(0)
    }
    transport.setHandlers(recorder)
    stream.receive(messages)
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.events).toEqual(['ike', 'closed closed'])
    expect(transport.esp.reserve(10)).toBe(-1)
    expect(transport.esp.writable).toBe(false)
  })
})

describe('closing a stream', () => {
  test('sends what is committed, then its end', async () => {
    const { stream, transport, recorder } = open()
    commit(transport, espPacket(50))
    const closed = transport.close(10_000)
    stream.receiveEnd()
    await closed
    expect(stream.bytes).toEqual(Buffer.concat([PREFIX, frame(espPacket(50))]))
    expect(stream.writableFinished).toBe(true)
    expect(recorder.events).toEqual(['closed closed'])
  })

  test('does not wait for a peer that never ends', async () => {
    const { stream, transport } = open()
    await transport.close(5)
    expect(stream.destroyed).toBe(true)
  })

  test('can be asked for twice', async () => {
    const { transport, recorder } = open()
    await Promise.all([transport.close(5), transport.close(5)])
    expect(recorder.events).toEqual(['closed closed'])
  })
})

describe('accepting a stream', () => {
  const accept = (stream: MemoryStream, prefixTimeoutMs = 2_000_000) =>
    acceptStream(stream, 'tcp', { local, remote, prefixTimeoutMs })

  test.each([1, 2, 5, 6, 7, 40])('waits for the whole prefix, in pieces of %i bytes', async (size) => {
    const stream = new MemoryStream()
    const result = accept(stream)
    const bytes = Buffer.concat([PREFIX, ikeFrame(ikeMessage(60))])
    for (let at = 0; at < bytes.length; at += size) stream.receive(bytes.subarray(at, at + size))
    const accepted = await result
    if (accepted.outcome !== 'accepted') throw new Error(accepted.outcome)
    const recorder = new Recorder()
    accepted.transport.setHandlers(recorder)
    await waitUntil('the message', () => recorder.ike.length === 1)
    expect(recorder.ike).toEqual([ikeMessage(60)])
    accepted.transport.sendIke(ikeMessage(70), accepted.transport.path)
    expect(stream.bytes).toEqual(ikeFrame(ikeMessage(70)))
  })

  test.each(['GET / HTTP/1.1\r\n', 'IKETCQ', 'I\n', '\x16\x03\x01'])(
    'hands over another protocol with every byte: %j',
    async (text) => {
      const stream = new MemoryStream()
      const result = accept(stream)
      for (const byte of Buffer.from(text, 'latin1')) stream.receive(Buffer.of(byte))
      stream.receiveEnd()
      const accepted = await result
      if (accepted.outcome !== 'other-protocol') throw new Error(accepted.outcome)
      const chunks: Buffer[] = []
      for await (const chunk of accepted.stream) chunks.push(chunk as Buffer)
      expect(Buffer.concat(chunks).toString('latin1')).toBe(text)
    }
  )

  test('gives up when the prefix does not come, or the peer leaves', async () => {
    const slow = new MemoryStream()
    const result = accept(slow, 5)
    slow.receive(PREFIX.subarray(0, 5))
    expect(await result).toEqual({ outcome: 'timeout' })
    expect(slow.destroyed).toBe(true)
    const gone = new MemoryStream()
    const second = accept(gone)
    gone.receive(PREFIX.subarray(0, 5))
    gone.receiveEnd()
    expect(await second).toEqual({ outcome: 'closed' })
  })
})
