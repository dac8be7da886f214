import { describe, expect, it } from 'vitest'
import { Sad } from '../../../src/esp/sad.ts'
import type { TrafficSelector } from '../../../src/wire/ike-message.ts'
import { childPair, seededRandom } from '../../support/esp-parameters.ts'
import { address, ipv4, udp } from '../../support/packet-factory.ts'

const random = seededRandom('sad')
const packetTo = (destination: string) => ipv4(udp(1, 2), { source: '10.0.0.1', destination })

function host(text: string): TrafficSelector {
  const bytes = address(text)
  return { family: 4, protocol: 0, startPort: 0, endPort: 65535, startAddress: bytes, endAddress: bytes }
}

describe('SAD', () => {
  it('receives from the start and sends only once activated', () => {
    const sad = new Sad({ random })
    const { left } = childPair()
    sad.install(left)
    const packet = packetTo('10.0.0.2')
    expect(sad.find(left.inbound.spi)?.parameters).toBe(left)
    expect(sad.select(packet, 0, packet.length)).toBeUndefined()
    expect(sad.activateOutbound(left.inbound.spi)).toBe(true)
    expect(sad.select(packet, 0, packet.length)?.parameters).toBe(left)
    expect(sad.activateOutbound(0xdead)).toBe(false)
  })

  it('lets the newest activated generation send while the old one still receives', () => {
    const sad = new Sad({ random })
    const old = childPair({ generation: 1 }).left
    const fresh = childPair({ generation: 2 }).left
    const packet = packetTo('10.0.0.2')
    for (const one of [old, fresh]) sad.install(one)
    sad.activateOutbound(old.inbound.spi)
    expect(sad.select(packet, 0, packet.length)?.parameters).toBe(old)
    sad.activateOutbound(fresh.inbound.spi)
    expect(sad.select(packet, 0, packet.length)?.parameters).toBe(fresh)
    expect(sad.children).toHaveLength(2)
    expect(sad.remove(old.inbound.spi)).toBe(true)
    expect(old.inbound.encryptionKey.every((byte) => byte === 0)).toBe(true)
    expect(sad.remove(old.inbound.spi)).toBe(false)
    expect(sad.select(packet, 0, packet.length)?.parameters).toBe(fresh)
    sad.clear()
    expect(sad.children).toHaveLength(0)
    expect(sad.sending).toHaveLength(0)
  })

  it('chooses among several Child SAs by their selectors', () => {
    const sad = new Sad({ random })
    const one = childPair({ childId: 1, generation: 1, rightTs: [host('10.0.0.2')] }).left
    const two = childPair({ childId: 2, generation: 2, rightTs: [host('10.0.0.3')] }).left
    for (const child of [one, two]) {
      sad.install(child)
      sad.activateOutbound(child.inbound.spi)
    }
    const chosen = (to: string) => sad.select(packetTo(to), 0, packetTo(to).length)?.parameters.childId
    expect(['10.0.0.2', '10.0.0.3', '10.0.0.4'].map(chosen)).toEqual([1, 2, undefined])
  })

  it('adds to every outgoing counter after a takeover', () => {
    const sad = new Sad({ random })
    const child = sad.install(childPair().left)
    sad.addToSequences(5000n)
    expect(child.outbound.sequence).toBe(5000n)
  })

  it('asks once for a rekeying at the soft limit, or when half of the sequence numbers are used', () => {
    const sad = new Sad({ random, softLimits: { bytes: 1000, packets: 0 } })
    const child = sad.install(childPair().left)
    child.outbound.bytes = 999
    expect(sad.takeSoftLimit(child)).toBe(false)
    child.inbound.bytes = 1000
    expect(sad.takeSoftLimit(child)).toBe(true)
    expect(sad.takeSoftLimit(child)).toBe(false)
    sad.setSoftLimits({ bytes: 0, packets: 10 })
    const byPackets = sad.install(childPair({ generation: 2 }).left)
    byPackets.outbound.packets = 10
    expect(sad.takeSoftLimit(byPackets)).toBe(true)
    sad.setSoftLimits({ bytes: 0, packets: 0 })
    const worn = sad.install(childPair({ generation: 3, esn: false }).left)
    worn.outbound.addToSequence(0x7fff_ffffn)
    expect(sad.takeSoftLimit(worn)).toBe(false)
    worn.outbound.addToSequence(2n)
    expect(sad.takeSoftLimit(worn)).toBe(true)
  })
})
