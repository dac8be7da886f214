import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { libc } from '../../src/native/libc.ts'
import { SocketLevel, SocketOption, TcpOption } from '../../src/native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../../src/native/memory.ts'
import { parseCongestionControl } from '../../src/transport/socket-settings.ts'
import { congestionControlProblem, tuneStream } from '../../src/transport/socket-tuning.ts'

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

function option(name: number, length: number, level: number = SocketLevel.TCP): Buffer {
  const handle: unknown = '_handle' in socket ? socket._handle : undefined
  const fd = (handle as { fd: number }).fd
  const value = nativeBuffer(length + 4)
  value.writeUInt32LE(length, length)
  const address = addressOf(value)
  expect(libc().getsockopt(fd, level, name, address, address + length)).toBe(0)
  return value.subarray(0, length)
}

const text = (value: Buffer) => value.toString('latin1').replace(/\0.*$/s, '')

const available = readFileSync('/proc/sys/net/ipv4/tcp_allowed_congestion_control', 'latin1').trim()
const [allowed = ''] = available.split(' ')

describe('tuning a TCP socket', () => {
  test('reaches the kernel', () => {
    const applied = tuneStream(socket, {
      bufferBytes: 262_144,
      unsentBytes: 65_536,
      congestionControl: allowed
    })
    expect(applied).toEqual({ unsentBytes: 65_536, congestionControl: allowed })
    expect(option(TcpOption.NOTSENT_LOWAT, 4).readInt32LE()).toBe(65_536)
    expect(text(option(TcpOption.CONGESTION, 16))).toBe(allowed)
    expect(option(TcpOption.NODELAY, 4).readInt32LE()).toBe(1)
    // The kernel doubles what it is asked for, for its own bookkeeping; limits hold for those who may not force it.
    expect(option(SocketOption.RCVBUF, 4, SocketLevel.SOCKET).readInt32LE()).toBeGreaterThanOrEqual(262_144)
  })

  test('leaves the congestion control alone when nothing that is wanted is there', () => {
    const [fallback] = available.split(' ').filter((name) => name === 'bbr')
    const before = text(option(TcpOption.CONGESTION, 16))
    const applied = tuneStream(socket, { congestionControl: 'no-such-name' })
    expect(applied.congestionControl).toBe(fallback ?? before)
  })

  test('does nothing to a stream that is no socket', () => {
    expect(tuneStream(new Duplex())).toEqual({ unsentBytes: undefined, congestionControl: undefined })
  })
})

describe('a congestion control that was asked for', () => {
  test('is no reason for a word when the kernel has it, or when nothing was asked for', () => {
    expect(congestionControlProblem({ congestionControl: allowed })).toBeUndefined()
    expect(congestionControlProblem({})).toBeUndefined()
  })

  test('is spoken of when the kernel does not have it, with what is used instead', () => {
    const problem = congestionControlProblem({ congestionControl: 'no-such-name' })
    expect(problem).toMatch(/^The kernel has no congestion control no-such-name for us: \w+ is used/)
  })

  test('must be a name', () => {
    expect(parseCongestionControl('cubic')).toBe('cubic')
    for (const text of ['', 'two words', 'a'.repeat(16), '../x'])
      expect(() => parseCongestionControl(text)).toThrow(/is not the name/)
  })
})
