import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { checked, libc } from '../../../src/native/libc.ts'
import {
  AddressFamily,
  IpOption,
  MessageFlag,
  SocketLevel,
  SocketType,
  UdpOption
} from '../../../src/native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../../../src/native/memory.ts'
import { MessageHeader } from '../../../src/native/message-header.ts'
import { copyBytes } from '../../../src/native/packet-memory.ts'
import { decodeSockaddr, encodeSockaddr } from '../../../src/native/sockaddr.ts'

const opened: number[] = []

/** A UDP socket on loopback, and the address that it got. */
function udpSocket(): { readonly fd: number; readonly address: Buffer } {
  const fd = checked('socket', libc().socket(AddressFamily.INET, SocketType.DGRAM | SocketType.CLOEXEC, 0))
  opened.push(fd)
  const address = encodeSockaddr({ address: Uint8Array.of(127, 0, 0, 1), port: 0 })
  checked('bind', libc().bind(fd, addressOf(address), address.length))
  const length = nativeBuffer(4)
  length.writeUInt32LE(address.length)
  checked('getsockname', libc().getsockname(fd, addressOf(address), addressOf(length)))
  return { fd, address }
}

function enable(fd: number, level: number, option: number): void {
  const one = nativeBuffer(4)
  one.writeInt32LE(1)
  checked('setsockopt', libc().setsockopt(fd, level, option, addressOf(one), 4))
}

afterEach(() => {
  for (const fd of opened.splice(0)) libc().close(fd)
})

describe('sockaddr', () => {
  it('survives encoding and decoding', () => {
    const addresses = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 })
    )
    fc.assert(
      fc.property(addresses, fc.integer({ min: 0, max: 65535 }), fc.nat(), (address, port, scope) => {
        const scopeId = address.length === 16 ? scope : 0
        expect(decodeSockaddr(encodeSockaddr({ address, port, scopeId }))).toEqual({ address, port, scopeId })
      }),
      { seed: 1 }
    )
  })

  it('has the layout of the kernel', () => {
    const four = encodeSockaddr({ address: Uint8Array.of(192, 168, 0, 1), port: 4500 })
    expect(four.toString('hex')).toBe('02001194c0a800010000000000000000')
    const six = encodeSockaddr({
      address: Uint8Array.from({ length: 16 }, (_, index) => index),
      port: 500,
      scopeId: 3
    })
    expect(six.toString('hex')).toBe('0a0001f400000000000102030405060708090a0b0c0d0e0f03000000')
  })

  it('refuses what is cut short or of another family, and addresses of another length', () => {
    const six = encodeSockaddr({ address: new Uint8Array(16), port: 1 })
    expect(decodeSockaddr(six.subarray(0, 27))).toBeUndefined()
    expect(decodeSockaddr(Buffer.from([1]))).toBeUndefined()
    expect(decodeSockaddr(Buffer.alloc(28, 1))).toBeUndefined()
    expect(() => encodeSockaddr({ address: new Uint8Array(5), port: 1 })).toThrow(RangeError)
  })
})

describe('message header', () => {
  it('sends segments in one call and receives them with sender, segment size and type of service', () => {
    const sender = udpSocket()
    const receiver = udpSocket()
    enable(receiver.fd, SocketLevel.UDP, UdpOption.GRO)
    enable(receiver.fd, SocketLevel.IP, IpOption.RECVTOS)
    const data = nativeBuffer(2500).fill(5)
    const out = new MessageHeader()
    out.setData(addressOf(data), data.length)
    receiver.address.copy(out.name)
    out.nameLength = receiver.address.length
    out.addControl16(SocketLevel.UDP, UdpOption.SEGMENT, 1000)
    out.addControl32(SocketLevel.IP, IpOption.TOS, 2)
    expect(libc().sendmsg(sender.fd, out.address, 0)).toBe(2500)

    const room = nativeBuffer(4096)
    const incoming = new MessageHeader()
    incoming.setData(addressOf(room), room.length)
    let received = 0
    let segmentSize = 0
    while (received < 2500) {
      incoming.prepareReceive()
      received += checked('recvmsg', libc().recvmsg(receiver.fd, incoming.address, 0))
      const at = incoming.findControl(SocketLevel.UDP, UdpOption.GRO)
      if (at >= 0) segmentSize = incoming.control.readInt32LE(at)
      const tos = incoming.findControl(SocketLevel.IP, IpOption.TOS)
      expect(incoming.control[tos]).toBe(2)
    }
    expect(segmentSize).toBe(1000)
    expect(decodeSockaddr(incoming.name)).toEqual(decodeSockaddr(sender.address))
    expect(incoming.findControl(SocketLevel.IP, IpOption.PKTINFO)).toBe(-1)
    expect(room.subarray(0, 500).equals(data.subarray(0, 500))).toBe(true)
  })

  it('tells when a datagram was cut short', () => {
    const sender = udpSocket()
    const receiver = udpSocket()
    const data = nativeBuffer(100)
    const out = new MessageHeader()
    out.setData(addressOf(data), 100)
    receiver.address.copy(out.name)
    out.nameLength = receiver.address.length
    out.clearControl()
    libc().sendmsg(sender.fd, out.address, 0)
    const incoming = new MessageHeader()
    incoming.setData(addressOf(data), 10)
    incoming.prepareReceive()
    expect(libc().recvmsg(receiver.fd, incoming.address, 0)).toBe(10)
    expect(incoming.flags & MessageFlag.TRUNC).toBe(MessageFlag.TRUNC)
  })

  it('refuses more ancillary data than it has room for', () => {
    const header = new MessageHeader(24)
    header.addControl(SocketLevel.IP, IpOption.TOS, Uint8Array.of(1))
    expect(() => header.addControl16(SocketLevel.UDP, UdpOption.SEGMENT, 5)).toThrow(RangeError)
  })
})

describe('copyBytes', () => {
  it('copies between buffers and refuses to leave them', () => {
    const from = Uint8Array.of(1, 2, 3, 4)
    const to = new Uint8Array(6)
    copyBytes(from, 1, to, 2, 3)
    expect([...to]).toEqual([0, 0, 2, 3, 4, 0])
    for (const [fromOffset, toOffset, length] of [
      [2, 0, 3],
      [0, 4, 3],
      [-1, 0, 1],
      [0, -1, 1],
      [0, 0, -1]
    ] as const)
      expect(() => copyBytes(from, fromOffset, to, toOffset, length)).toThrow(RangeError)
  })
})
