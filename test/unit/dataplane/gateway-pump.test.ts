import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { GatewayPump } from '../../../src/dataplane/gateway-pump.ts'
import {
  type MemoryTransport,
  type MemoryTransportOptions,
  memoryTransportPair
} from '../../../src/dataplane/memory-transport.ts'
import type { PeerLink } from '../../../src/dataplane/peer-link.ts'
import { PeerTable } from '../../../src/dataplane/peer-table.ts'
import { Sad } from '../../../src/esp/sad.ts'
import { silentLogger } from '../../../src/log.ts'
import { MemoryTun } from '../../../src/tun/memory-tun.ts'
import { VNET_HEADER_LENGTH } from '../../../src/tun/vnet-header.ts'
import type { TrafficSelector } from '../../../src/wire/ike-message.ts'
import { childPair, EVERYTHING, seededRandom } from '../../support/esp-parameters.ts'
import { address, ipv4, udp } from '../../support/packet-factory.ts'

function range(start: string, end = start): TrafficSelector {
  const family = start.includes(':') ? 6 : 4
  return {
    family,
    protocol: 0,
    startPort: 0,
    endPort: 65535,
    startAddress: address(start),
    endAddress: address(end)
  }
}

/** A gateway with clients 10.8.0.1, 10.8.0.2 and so on; the clients are bare SAs. */
class Gateway {
  readonly tun = new MemoryTun({ offload: false })
  readonly pump = new GatewayPump({ tun: this.tun, logger: silentLogger, mtu: 1400, now: () => 1 })
  readonly peers: PeerLink[] = []
  readonly transports: MemoryTransport[] = []
  /** ESP that reached each client. */
  readonly arrived: number[] = []
  readonly #clients: Sad[] = []

  constructor() {
    this.pump.resume()
  }

  addClient(options: MemoryTransportOptions = {}): void {
    const number = this.peers.length + 1
    const own = [range(`10.8.0.${number}`)]
    const pair = childPair({ generation: number, leftTs: EVERYTHING, rightTs: own })
    const sad = new Sad({ random: seededRandom('gateway') })
    const client = new Sad({ random: seededRandom('client') })
    sad.install(pair.left)
    sad.activateOutbound(pair.left.inbound.spi)
    client.install(pair.right)
    const [near, far] = memoryTransportPair({ schedule: (deliver) => deliver(), ...options })
    const peer = this.pump.addPeer(sad)
    this.pump.setRanges(peer, own)
    peer.setTransport(near)
    near.setHandlers({
      onIke() {},
      onEsp: (buffer, offset, length) => void peer.handleEsp(buffer, offset, length),
      onEspBatchEnd: () => peer.handleEspBatchEnd(),
      onWritable: () => peer.handleWritable(),
      onClose() {}
    })
    const index = this.peers.length
    this.arrived.push(0)
    far.setHandlers({
      onIke() {},
      onEsp: () => void this.arrived.splice(index, 1, (this.arrived[index] ?? 0) + 1),
      onEspBatchEnd() {},
      onWritable() {},
      onClose() {}
    })
    this.peers.push(peer)
    this.transports.push(far)
    this.#clients.push(client)
  }

  sendTo(...clients: number[]): void {
    for (const client of clients) this.tun.inject(ipv4(udp(1, 2), { destination: `10.8.0.${client}` }))
    this.tun.run()
  }

  /** One packet from a client, with whatever source address. */
  receiveFrom(client: number, source: string): void {
    const inner = ipv4(udp(1, 2), { source, destination: '10.0.0.9' })
    const [child] = this.#clients[client - 1]?.children ?? []
    const transport = this.transports[client - 1]
    if (child === undefined || transport === undefined) throw new Error('no such client')
    const at = transport.reserve(500)
    transport.commit(child.outbound.seal(inner, 0, inner.length, 4, transport.buffer, at))
    transport.flush()
  }
}

describe('gateway pump', () => {
  it('sends each packet to the peer with its destination address', () => {
    const gateway = new Gateway()
    for (let count = 0; count < 3; count++) gateway.addClient()
    gateway.sendTo(1, 3, 3, 9)
    expect(gateway.arrived).toEqual([1, 0, 2])
    expect(gateway.pump.stats.packetsOut).toBe(3)
    expect(gateway.pump.stats.dropped.outsideSelectors).toBe(1)
  })

  it('delivers what peers send, and drops what they send under the address of another', () => {
    const gateway = new Gateway()
    for (let count = 0; count < 2; count++) gateway.addClient()
    gateway.receiveFrom(1, '10.8.0.1')
    gateway.receiveFrom(1, '10.8.0.2')
    expect(
      gateway.tun.written.map((frame) => [
        ...frame.subarray(VNET_HEADER_LENGTH + 12, VNET_HEADER_LENGTH + 16)
      ])
    ).toEqual([[10, 8, 0, 1]])
    expect(gateway.pump.stats.dropped.wrongSelectors).toBe(1)
  })

  it('lets a blocked peer cost the others nothing', () => {
    const gateway = new Gateway()
    const stuck: (() => void)[] = []
    gateway.addClient({ queueLimit: 1, schedule: (deliver) => stuck.push(deliver) })
    gateway.addClient()
    gateway.sendTo(1)
    gateway.sendTo(1, 1, 2, 1, 2)
    expect(gateway.arrived).toEqual([0, 2])
    expect(gateway.tun.reading).toBe(true)
    while (stuck.length > 0) for (const deliver of stuck.splice(0)) deliver()
    expect(gateway.arrived).toEqual([4, 2])
  })

  it.each(['pause', 'stop'] as const)('is at rest after %s, whatever waits and whoever comes', (what) => {
    const gateway = new Gateway()
    const stuck: (() => void)[] = []
    gateway.addClient({ queueLimit: 1, schedule: (deliver) => stuck.push(deliver) })
    gateway.addClient()
    gateway.sendTo(1, 1, 1)
    gateway.pump[what]()
    for (const deliver of stuck.splice(0)) deliver()
    const another = vi.spyOn(globalThis, 'setImmediate')
    gateway.addClient()
    expect(another).not.toHaveBeenCalled()
    another.mockRestore()
    gateway.pump.resume()
    while (stuck.length > 0) for (const deliver of stuck.splice(0)) deliver()
    expect(gateway.arrived).toEqual([what === 'pause' ? 3 : 1, 0, 0])
  })

  it('drops for a blocked peer only what its own queue cannot hold', () => {
    const gateway = new Gateway()
    const stuck: (() => void)[] = []
    gateway.addClient({ queueLimit: 1, schedule: (deliver) => stuck.push(deliver) })
    gateway.addClient()
    const many = new Array<number>(5000).fill(1)
    gateway.sendTo(...many, 2)
    expect(gateway.arrived).toEqual([0, 1])
    const { queueFull } = gateway.pump.stats.dropped
    expect(queueFull).toBeGreaterThan(0)
    while (stuck.length > 0) for (const deliver of stuck.splice(0)) deliver()
    expect(gateway.arrived).toEqual([5000 - queueFull, 1])
  })

  it('does not wait for a peer without a transport when there are others', () => {
    const gateway = new Gateway()
    for (let count = 0; count < 2; count++) gateway.addClient()
    gateway.peers[0]?.setTransport(undefined)
    gateway.sendTo(1, 2)
    expect(gateway.arrived).toEqual([0, 1])
    expect(gateway.pump.stats.dropped.noPath).toBe(1)
  })

  it('waits for the only peer while that has no transport, until there is another', () => {
    const gateway = new Gateway()
    gateway.addClient()
    gateway.peers[0]?.setTransport(undefined)
    gateway.sendTo(1, 1)
    expect(gateway.tun.waiting).toBe(2)
    gateway.addClient()
    gateway.sendTo(2)
    expect(gateway.arrived).toEqual([0, 1])
    expect(gateway.tun.waiting).toBe(0)
  })

  it('forgets a peer that left, but not what it counted', () => {
    const gateway = new Gateway()
    for (let count = 0; count < 2; count++) gateway.addClient()
    gateway.sendTo(1)
    const [first] = gateway.peers
    if (first !== undefined) gateway.pump.removePeer(first)
    gateway.sendTo(1, 2)
    expect(gateway.arrived).toEqual([1, 1])
    expect(gateway.pump.stats).toMatchObject({ packetsOut: 2, dropped: { outsideSelectors: 1 } })
  })
})

describe('peer table', () => {
  /** A few bits of address, so that ranges overlap often. */
  const small = fc.nat(255)
  const ranges = fc.array(
    fc.record({
      family: fc.constantFrom(4 as const, 6 as const),
      from: small,
      span: fc.constantFrom(0, 0, 1, 7, 31, 200),
      owner: fc.nat(5)
    }),
    { maxLength: 30 }
  )
  const bytesOf = (family: 4 | 6, number: number) => {
    const bytes = new Uint8Array(family === 4 ? 4 : 16).fill(7)
    bytes.set([number >> 8, number & 255], bytes.length - 2)
    return bytes
  }

  it('finds what the naive twin finds: the smallest range, of equal ones the last', () => {
    fc.assert(
      fc.property(ranges, fc.option(fc.nat(5)), (all, removed) => {
        const table = new PeerTable<number>()
        for (const { family, from, span, owner } of all)
          table.add(
            [
              {
                ...range('10.0.0.0'),
                family,
                startAddress: bytesOf(family, from),
                endAddress: bytesOf(family, from + span)
              }
            ],
            owner
          )
        if (removed !== null) table.remove(removed)
        const left = all.filter((one) => one.owner !== removed)
        expect(table.size).toBe(left.length)
        for (const family of [4, 6] as const)
          for (let number = 0; number < 460; number += 3) {
            const matching = left.filter(
              (one) => one.family === family && number >= one.from && number <= one.from + one.span
            )
            const least = Math.min(...matching.map((one) => one.span))
            const expected = matching.filter((one) => one.span === least).at(-1)?.owner
            const buffer = Uint8Array.from([9, ...bytesOf(family, number), 9])
            expect(table.find(family, buffer, 1)).toBe(expected)
          }
      }),
      { numRuns: 150, seed: 5 }
    )
  })
})
