import { afterEach, describe, expect, test } from 'vitest'
import type { Transport } from '../../src/transport/types.ts'
import { openUdp } from '../../src/transport/udp.ts'
import { openUdpDatagram } from '../../src/transport/udp-dgram.ts'
import type { UdpOptions } from '../../src/transport/udp-options.ts'
import { espPacket, FakeServer, ikeMessage, withMarker } from '../support/relay-fixture.ts'
import { waitUntil } from '../support/wait-until.ts'
import { Recorder } from '../unit/transport/memory-stream.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()))
})

const implementations: [string, (options: UdpOptions) => Promise<Transport>][] = [
  ['the C library', openUdp],
  ['the C library without offload', (options) => openUdp({ ...options, offload: false })],
  ["Node's datagrams", openUdpDatagram]
]
const families: [string, string][] = [
  ['IPv4', '127.0.0.1'],
  ['IPv6', '::1']
]
const cases = implementations.flatMap(([name, open]) =>
  families.map(([family, address]) => ({ name, family, open, address }))
)

async function setUp(open: (options: UdpOptions) => Promise<Transport>, address: string) {
  const ike = await FakeServer.open(address)
  const natT = await FakeServer.open(address)
  const transport = await open({ remoteAddress: address, ikePort: ike.port, natTPort: natT.port })
  const recorder = new Recorder()
  transport.setHandlers(recorder)
  const closeNatT = () => natT.close()
  closing.push(
    () => transport.close(),
    () => ike.close(),
    closeNatT
  )
  const natTPath = transport.path.natT
  if (natTPath === undefined) throw new Error('there is no path for port 4500')
  return { ike, natT, closeNatT, transport, recorder, natTPath }
}

function put(transport: Transport, packets: readonly Buffer[]): void {
  for (const packet of packets) {
    const at = transport.esp.reserve(packet.length)
    expect(at).toBeGreaterThanOrEqual(0)
    transport.esp.buffer.set(packet, at)
    transport.esp.commit(packet.length)
  }
  transport.esp.flush()
}

describe.each(cases)('UDP over $family through $name', ({ open, address }) => {
  test('IKE goes plain to one port and behind the marker to the other, and comes back', async () => {
    const { ike, natT, transport, recorder, natTPath } = await setUp(open, address)
    transport.sendIke(ikeMessage(300), transport.path)
    expect(await ike.expect(1)).toEqual([ikeMessage(300)])
    transport.sendIke(ikeMessage(400), natTPath)
    expect(await natT.expect(1)).toEqual([withMarker(ikeMessage(400))])
    await ike.reply(ikeMessage(310))
    await natT.reply(withMarker(ikeMessage(410)))
    await waitUntil('both answers', () => recorder.ike.length === 2)
    expect(recorder.ike).toEqual(expect.arrayContaining([ikeMessage(310), ikeMessage(410)]))
  })

  test('the paths say the real addresses and ports', async () => {
    const { ike, natT, transport, natTPath } = await setUp(open, address)
    transport.sendIke(ikeMessage(300), transport.path)
    transport.sendIke(ikeMessage(300), natTPath)
    await ike.expect(1)
    await natT.expect(1)
    expect(transport.path.local).toEqual({ address, port: ike.received[0]?.from.port })
    expect(natTPath.local).toEqual({ address, port: natT.received[0]?.from.port })
    expect(transport.path.remote).toEqual({ address, port: ike.port })
    expect(transport.outerRemote).toEqual({ address, port: natT.port })
    expect(natTPath.natT).toBeUndefined()
    expect(natTPath.id).not.toBe(transport.path.id)
  })

  test('a batch of ESP arrives whole', async () => {
    const { natT, transport } = await setUp(open, address)
    const packets = Array.from({ length: 90 }, (_, i) => espPacket(i % 30 === 29 ? 300 : 1200, i + 1))
    put(transport, packets)
    expect(await natT.expect(90)).toEqual(packets)
    await waitUntil('statistics', () => transport.stats.bytesOut === Buffer.concat(packets).length)
    expect(transport.stats.espDropped).toBe(0)
  })

  test('ESP comes in between keepalives and rubbish, which are dropped', async () => {
    const { natT, transport, recorder, natTPath } = await setUp(open, address)
    transport.sendIke(ikeMessage(100), natTPath)
    await natT.expect(1)
    const packets = Array.from({ length: 50 }, (_, i) => espPacket(1000, i + 1))
    await natT.reply(
      Buffer.of(0xff),
      Buffer.of(1, 2, 3),
      Buffer.alloc(0),
      withMarker(Buffer.alloc(9)),
      ...packets
    )
    await waitUntil('all packets', () => recorder.esp.length === 50)
    expect(recorder.esp).toEqual(packets)
    await waitUntil('the batch end', () => recorder.batches > 0)
    expect(recorder.ike).toEqual([])
    expect(transport.stats.malformed).toBe(3)
  })

  test('a NAT-keepalive is one byte of 0xFF on the NAT-T port', async () => {
    const { natT, transport } = await setUp(open, address)
    transport.sendNatKeepalive()
    expect(await natT.expect(1)).toEqual([Buffer.of(0xff)])
  })

  test('a large IKE message is fragmented below, not refused', async () => {
    const { natT, transport, natTPath } = await setUp(open, address)
    transport.sendIke(ikeMessage(30_000), natTPath)
    expect(await natT.expect(1)).toEqual([withMarker(ikeMessage(30_000))])
  })

  test('a port that nobody listens on ends it at once', async () => {
    const server = await FakeServer.open(address)
    const { port } = server
    await server.close()
    for (const useNatT of [false, true]) {
      const other = await FakeServer.open(address)
      closing.push(() => other.close())
      const ports = useNatT
        ? { ikePort: other.port, natTPort: port }
        : { ikePort: port, natTPort: other.port }
      const transport = await open({ remoteAddress: address, ...ports })
      const recorder = new Recorder()
      transport.setHandlers(recorder)
      const path = useNatT ? transport.path.natT : transport.path
      if (path !== undefined) transport.sendIke(ikeMessage(100), path)
      await waitUntil('the end', () => recorder.closed)
      expect(recorder.events).toEqual(['closed port-unreachable'])
      transport.sendIke(ikeMessage(100), transport.path)
      expect(transport.esp.reserve(100)).toBe(-1)
    }
  })

  test('a port that was heard before and is closed now is only a hint', async () => {
    const { natT, closeNatT, transport, recorder, natTPath } = await setUp(open, address)
    transport.sendIke(ikeMessage(100), natTPath)
    await natT.expect(1)
    await natT.reply(withMarker(ikeMessage(110)))
    await waitUntil('the answer', () => recorder.ike.length === 1)
    closing.splice(closing.indexOf(closeNatT), 1)
    await natT.close()
    await waitUntil('the hint', () => {
      transport.sendIke(ikeMessage(100), natTPath)
      return recorder.troubles.length > 0
    })
    expect(recorder.troubles[0]?.code).toBe('port-unreachable')
    expect(recorder.closed).toBeUndefined()
  })

  test('closing is told once', async () => {
    const { transport, recorder } = await setUp(open, address)
    await transport.close()
    await transport.close()
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.events).toEqual(['closed closed'])
  })

  test('one port for everything has the marker from the start', async () => {
    const server = await FakeServer.open(address)
    closing.push(() => server.close())
    const transport = await open({ remoteAddress: address, ikePort: server.port, natTPort: server.port })
    closing.push(() => transport.close())
    transport.setHandlers(new Recorder())
    expect(transport.path.natT).toBeUndefined()
    transport.sendIke(ikeMessage(100), transport.path)
    expect(await server.expect(1)).toEqual([withMarker(ikeMessage(100))])
  })
})

describe('opening UDP', () => {
  test('an address of a family that this machine cannot route is an error with a code', async () => {
    await expect(
      openUdp({ remoteAddress: '127.0.0.1', localAddress: '198.51.100.250' })
    ).rejects.toMatchObject({
      code: 'network-unreachable'
    })
  })

  test('can be given up', async () => {
    await expect(openUdp({ remoteAddress: '127.0.0.1', signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'closed'
    })
  })

  test('binds to a device, or says that it cannot', async () => {
    const transport = await openUdp({ remoteAddress: '127.0.0.1', interface: 'lo' })
    await transport.close()
    await expect(openUdp({ remoteAddress: '127.0.0.1', interface: 'none0' })).rejects.toMatchObject({
      code: 'io-error'
    })
  })
})
