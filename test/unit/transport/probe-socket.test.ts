import { createSocket } from 'node:dgram'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { IcmpError } from '../../../src/transport/icmp-error.ts'
import type { ProbeSocket } from '../../../src/transport/probe-socket.ts'
import { waitUntil } from '../../support/wait-until.ts'

/** With the C library, and where it cannot be called. */
describe.each([
  ['with the C library', false],
  ["with Node's own datagrams", true]
])('a socket for questions, %s', (_how, isUnavailable) => {
  const open: ProbeSocket[] = []
  const seen: { datagrams: string[]; errors: string[]; icmp: (IcmpError | undefined)[] } = {
    datagrams: [],
    errors: [],
    icmp: []
  }

  async function ask(port: number, local?: ProbeSocket['local']): Promise<ProbeSocket> {
    vi.resetModules()
    vi.doMock('../../../src/native/libc.ts', async (original) => {
      const genuine = await original<typeof import('../../../src/native/libc.ts')>()
      const libc = (): never => {
        throw new genuine.NativeUnavailableError('The C library', undefined)
      }
      return isUnavailable ? { ...genuine, libc } : genuine
    })
    const { openProbeSocket } = await import('../../../src/transport/probe-socket.ts')
    const socket = await openProbeSocket({ remote: { address: '127.0.0.1', port }, local })
    socket.setHandlers({
      onDatagram: (bytes) => seen.datagrams.push(Buffer.from(bytes).toString()),
      onError: ({ code }, icmp) => {
        seen.errors.push(code)
        seen.icmp.push(icmp)
      }
    })
    open.push(socket)
    return socket
  }

  afterEach(() => {
    for (const socket of open.splice(0)) socket.close()
    for (const list of Object.values(seen)) list.length = 0
    vi.doUnmock('../../../src/native/libc.ts')
    vi.resetModules()
  })

  /** Sends back what it gets, and says from which port that came. */
  async function echo(): Promise<{ port: number; ports: number[]; close: () => void }> {
    const server = createSocket('udp4')
    const ports: number[] = []
    server.on('message', (bytes, from) => {
      ports.push(from.port)
      server.send(bytes, from.port, from.address)
    })
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve))
    return { port: server.address().port, ports, close: () => server.close() }
  }

  it('asks and is answered, in one piece or in fragments', async () => {
    const server = await echo()
    const socket = await ask(server.port)
    expect(socket.overhead).toBe(28)
    expect(socket.linkMtu).toBeGreaterThanOrEqual(1280)
    for (const fragmentation of ['never', 'allowed'] as const)
      expect(socket.send(Buffer.from(fragmentation), fragmentation)).toBe(true)
    await waitUntil('both answers', () => seen.datagrams.length === 2)
    expect(seen.datagrams).toEqual(['never', 'allowed'])
    server.close()
  })

  it('shares its local port with another, each with its own peer', async () => {
    const [one, two] = [await echo(), await echo()]
    const first = await ask(one.port)
    const second = await ask(two.port, first.local)
    expect(second.local).toEqual(first.local)
    first.send(Buffer.from('first'), 'allowed')
    second.send(Buffer.from('second'), 'allowed')
    await waitUntil('both answers', () => seen.datagrams.length === 2)
    expect([one.ports, two.ports]).toEqual([[first.local.port], [first.local.port]])
    one.close()
    two.close()
  })

  it('hears that nobody is there', async () => {
    const server = await echo()
    server.close()
    const socket = await ask(server.port)
    socket.send(Buffer.from('?'), 'allowed')
    await waitUntil('the refusal', () => seen.errors.length > 0)
    expect(seen.errors[0]).toBe('port-unreachable')
    if (!isUnavailable)
      expect(seen.icmp[0]).toMatchObject({ name: 'port-unreachable', from: '127.0.0.1', type: 3, code: 3 })
  })

  it('says nothing once it is closed', async () => {
    const server = await echo()
    const socket = await ask(server.port)
    socket.close()
    socket.close()
    expect(socket.send(Buffer.from('?'), 'allowed')).toBe(true)
    expect(server.ports).toEqual([])
    server.close()
  })
})
