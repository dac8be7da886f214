import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { libc } from '../../src/native/libc.ts'
import { SocketLevel, TcpOption } from '../../src/native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../../src/native/memory.ts'
import { tuneStream } from '../../src/transport/socket-tuning.ts'

const server = createServer()
let socket: Socket
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await new Promise((resolve) => socket.once('connect', resolve))
})
afterAll(() => {
  socket.destroy()
  server.close()
})

function option(name: number, length: number): Buffer {
  const handle: unknown = '_handle' in socket ? socket._handle : undefined
  const fd = (handle as { fd: number }).fd
  const value = nativeBuffer(length + 4)
  value.writeUInt32LE(length, length)
  const address = addressOf(value)
  expect(libc().getsockopt(fd, SocketLevel.TCP, name, address, address + length)).toBe(0)
  return value.subarray(0, length)
}

const text = (value: Buffer) => value.toString('latin1').replace(/\0.*$/s, '')

describe('tuning a TCP socket', () => {
  test('reaches the kernel', () => {
    const available = readFileSync('/proc/sys/net/ipv4/tcp_allowed_congestion_control', 'latin1').trim()
    const [wanted = ''] = available.split(' ')
    const applied = tuneStream(socket, {
      unsentBytes: 65_536,
      congestionControl: ['no-such-algorithm', wanted],
      keepAliveMs: 1000
    })
    expect(applied).toEqual({ unsentLimited: true, congestionControl: wanted })
    expect(option(TcpOption.NOTSENT_LOWAT, 4).readInt32LE()).toBe(65_536)
    expect(text(option(TcpOption.CONGESTION, 16))).toBe(wanted)
    expect(option(TcpOption.NODELAY, 4).readInt32LE()).toBe(1)
  })

  test('leaves the congestion control alone when nothing that is wanted is there', () => {
    const before = text(option(TcpOption.CONGESTION, 16))
    const tuning = { unsentBytes: 65_536, congestionControl: ['no-such-algorithm'], keepAliveMs: 1000 }
    expect(tuneStream(socket, tuning).congestionControl).toBeUndefined()
    expect(text(option(TcpOption.CONGESTION, 16))).toBe(before)
  })

  test('does nothing to a stream that is no socket', () => {
    expect(tuneStream(new Duplex())).toEqual({ unsentLimited: false, congestionControl: undefined })
  })
})
