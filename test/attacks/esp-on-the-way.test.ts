/** ESP that somebody on the way has recorded, on real sockets, against a gateway that follows its clients by their ESP. */
import { afterEach, describe, expect, it } from 'vitest'
import { openUdp } from '../../src/transport/udp.ts'
import { GatewayFixture, pskClient, TestClient } from '../support/gateway-fixture.ts'
import { ipv4, udp } from '../support/packet-factory.ts'
import { UdpTap } from '../support/udp-tap.ts'
import { waitUntil } from '../support/wait-until.ts'

const SERVER = '10.99.0.1'
const cleanUp: (() => unknown)[] = []
afterEach(async () => {
  for (const action of cleanUp.splice(0).reverse()) await action()
})

async function connectedThroughTap() {
  const fixture = await GatewayFixture.start()
  cleanUp.push(() => fixture.gateway.close())
  const { tap, ports } = await UdpTap.open(fixture.udpPorts)
  cleanUp.push(() => tap.close())
  const client = new TestClient(pskClient())
  cleanUp.push(() => client.dispose())
  await client.connect(
    await openUdp({ remoteAddress: '127.0.0.1', ikePort: ports.ike, natTPort: ports.natT })
  )
  let mark = 0
  const packet = (way: 'up' | 'down') => {
    const [source, destination] = way === 'up' ? [client.address, SERVER] : [SERVER, client.address]
    return ipv4(udp(1000, 2000, [++mark & 0xff, mark >> 8]), { source, destination })
  }
  const same = (a: Uint8Array, b: Uint8Array) => Buffer.from(a).equals(b)
  const up = async () => {
    const sent = packet('up')
    client.send(sent)
    await waitUntil('the packet inside', () => fixture.received.some((one) => same(one, sent)))
  }
  const down = async () => {
    const sent = packet('down')
    fixture.send(sent)
    await waitUntil('the answer', () => client.received.some((one) => same(one, sent)))
  }
  return { fixture, tap, client, packet, up, down }
}

describe('recorded ESP', () => {
  it('that is replayed from elsewhere brings nothing in a second time, and leads no answer away', async () => {
    const { fixture, tap, up, down } = await connectedThroughTap()
    for (let count = 0; count < 20; count++) await up()
    const before = fixture.received.length
    await tap.inject([...tap.esp.up, ...tap.esp.up])
    await up()
    await down()
    expect(fixture.received.length).toBe(before + 1)
    expect(tap.gathered).toEqual([])
    expect(fixture.all('client-moved')).toEqual([])
  })

  it('that never arrived leads the answers away, as with any NAT, until the client is heard again', async () => {
    const { fixture, tap, client, packet, up, down } = await connectedThroughTap()
    await up()
    tap.forwards = false
    const count = tap.esp.up.length
    client.send(packet('up'))
    await waitUntil('a packet that is kept back', () => tap.esp.up.length > count)
    await tap.inject(tap.esp.up.slice(-1))
    await waitUntil('the move', () => fixture.all('client-moved').length === 1)
    fixture.send(packet('down'))
    await waitUntil('an answer to the attacker', () => tap.gathered.length === 1)
    // He gets ciphertext, which he had anyway, and the next packet takes everything back.
    tap.forwards = true
    await up()
    await down()
    expect(tap.gathered).toHaveLength(1)
  })

  it('that is sent back to the client is nothing to it', async () => {
    const { fixture, tap, client, up, down } = await connectedThroughTap()
    for (let count = 0; count < 5; count++) await up()
    const before = client.received.length
    const spi = client.sad.sending[0]?.parameters.inbound.spi ?? 0
    const reflected = tap.esp.up.flatMap((packet) => {
      const turned = Buffer.from(packet)
      turned.writeUInt32BE(spi, 0)
      return [packet, turned]
    })
    tap.reflect(reflected)
    await down()
    expect(client.received.length).toBe(before + 1)
    expect(fixture.gateway.clients).toBe(1)
  })
})
