import { fork } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import type { Transport, TransportHandlers } from '../../src/transport/types.ts'
import { UdpServer, type UdpServerOptions } from '../../src/transport/udp-server.ts'
import type { Path } from '../../src/wire/endpoint.ts'
import { has } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

const NUMBERED_SENDER = fileURLToPath(new URL('../support/numbered-datagrams.mjs', import.meta.url))
const SPI = Buffer.from([1, 2, 3, 4])

const cleanUp: (() => unknown)[] = []
afterEach(async () => {
  for (const action of cleanUp.splice(0).reverse()) await action()
})

interface Received {
  readonly what: 'ike' | 'esp'
  readonly data: Buffer
  readonly path: Path
}

/** A server that keeps what it gets, through its listeners or through sockets of peers. */
class Recorder {
  readonly server: UdpServer
  readonly received: Received[] = []
  readonly handlers = {
    onIke: (message: Uint8Array, path: Path) => {
      this.received.push({ what: 'ike', data: Buffer.from(message), path })
    },
    onEsp: (buffer: Uint8Array, offset: number, length: number, path: Path) => {
      this.received.push({ what: 'esp', data: Buffer.from(buffer.subarray(offset, offset + length)), path })
    },
    onEspBatchEnd: () => undefined
  }

  constructor(options: Partial<UdpServerOptions> = {}) {
    this.server = new UdpServer({ addresses: ['127.0.0.1'], ikePort: 0, natTPort: 0, ...options })
    this.server.setHandlers(this.handlers)
    cleanUp.push(() => this.server.close())
  }

  get ports(): { readonly ike: number; readonly natT: number } {
    const port = (natT: boolean) => this.server.listening.find((one) => one.natT === natT)?.port ?? 0
    return { ike: port(false), natT: port(true) }
  }

  adopt(path: Path): Transport {
    const transport = this.server.adopt(path)
    if (transport === undefined) throw new Error('not adopted')
    const rest: Pick<TransportHandlers, 'onWritable' | 'onClose'> = { onWritable() {}, onClose() {} }
    transport.setHandlers({ ...this.handlers, ...rest })
    return transport
  }

  /** Waits for the `count`th datagram, and returns it. */
  async nth(count: number): Promise<Received> {
    await waitUntil(`datagram ${count}`, () => this.received.length >= count)
    const found = this.received[count - 1]
    if (found === undefined) throw new Error('lost')
    return found
  }
}

/** A sender that also hears, bound to an address of its own. */
async function endpoint(
  address = '127.0.0.9'
): Promise<Socket & { readonly heard: [Buffer, string, number][] }> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  cleanUp.push(() => socket.close())
  const heard: [Buffer, string, number][] = []
  socket.on('message', (message, from) => heard.push([message, from.address, from.port]))
  await new Promise<void>((resolve) => socket.bind(0, address, resolve))
  return Object.assign(socket, { heard })
}

const esp = (text: string): Buffer => Buffer.concat([SPI, Buffer.from(`....${text}`)])
/** A message that claims its own length, as an IKE header does. */
function ike(length = 40): Buffer {
  const message = Buffer.alloc(length, 7)
  message.writeUInt32BE(length, 24)
  return message
}

describe('UDP server', () => {
  it('tells plain IKE from what comes to the NAT traversal port, and answers each where it came from', async () => {
    const recorder = new Recorder()
    const { ike: ikePort, natT } = recorder.ports
    const client = await endpoint()
    client.send(ike(), ikePort, '127.0.0.1')
    const plain = await recorder.nth(1)
    client.send(Buffer.concat([Buffer.alloc(4), ike(60)]), natT, '127.0.0.1')
    const marked = await recorder.nth(2)
    client.send(esp('data'), natT, '127.0.0.1')
    const data = await recorder.nth(3)
    expect([plain, marked, data].map(({ what, data }) => [what, data.length])).toEqual([
      ['ike', 40],
      ['ike', 60],
      ['esp', 12]
    ])
    expect(plain.path.id).not.toBe(marked.path.id)
    expect(data.path).toBe(marked.path)
    expect(recorder.server.carriesEsp(plain.path)).toBe(false)
    expect(recorder.server.carriesEsp(marked.path)).toBe(true)

    recorder.server.sendIke(ike(50), plain.path)
    recorder.server.sendIke(ike(70), marked.path)
    await waitUntil('both answers', () => client.heard.length === 2)
    expect(client.heard).toEqual([
      [ike(50), '127.0.0.1', ikePort],
      [Buffer.concat([Buffer.alloc(4), ike(70)]), '127.0.0.1', natT]
    ])
  })

  it('answers from the address that was asked, also when it listens on all', async () => {
    const recorder = new Recorder({ addresses: [] })
    const { port } =
      recorder.server.listening.find(({ address, natT }) => natT && address === '0.0.0.0') ?? {}
    const client = await endpoint()
    for (const asked of ['127.0.0.1', '127.0.0.77']) client.send(esp(asked), port, asked)
    await recorder.nth(2)
    for (const { path } of recorder.received) recorder.server.sendIke(ike(), path)
    await waitUntil('both answers', () => client.heard.length === 2)
    expect(client.heard.map(([, from]) => from).sort()).toEqual(['127.0.0.1', '127.0.0.77'])
    expect(recorder.received.map(({ path }) => path.local.address)).toEqual(['127.0.0.1', '127.0.0.77'])
    for (const { path } of [...recorder.received]) {
      const transport = recorder.adopt(path)
      transport.sendIke(ike(), path)
    }
    await waitUntil('four answers', () => client.heard.length === 4)
    expect(client.heard.map(([, from]) => from).sort()).toEqual([
      '127.0.0.1',
      '127.0.0.1',
      '127.0.0.77',
      '127.0.0.77'
    ])
  })

  it.runIf(has('ipv6'))('serves IPv6 as well', async () => {
    const recorder = new Recorder({ addresses: ['::1'] })
    const client = await endpoint('::1')
    client.send(esp('six'), recorder.ports.natT, '::1')
    const { path } = await recorder.nth(1)
    expect(path.remote).toEqual({ address: '::1', port: client.address().port })
    const transport = recorder.adopt(path)
    transport.sendIke(ike(), path)
    await waitUntil('the answer', () => client.heard.length === 1)
    client.send(esp('again'), recorder.ports.natT, '::1')
    expect((await recorder.nth(2)).path).toBe(path)
    recorder.server.release(path)
    client.send(esp('and again'), recorder.ports.natT, '::1')
    expect((await recorder.nth(3)).path).toBe(path)
  })

  it('gives an adopted peer runs of packets, and takes runs', async () => {
    const recorder = new Recorder()
    const client = await endpoint()
    client.send(esp('hello'), recorder.ports.natT, '127.0.0.1')
    const { path } = await recorder.nth(1)
    const transport = recorder.adopt(path)
    for (let index = 0; index < 20; index++) {
      const at = transport.esp.reserve(100)
      transport.esp.buffer.fill(index, at, at + 100)
      transport.esp.commit(100)
    }
    transport.esp.flush()
    await waitUntil('all of them', () => client.heard.length === 20)
    expect(client.heard.map(([data]) => [data.length, data[0]])).toEqual(
      Array.from({ length: 20 }, (_, index) => [100, index])
    )
    for (let index = 0; index < 50; index++)
      client.send(esp(String(index).padStart(20)), recorder.ports.natT, '127.0.0.1')
    await recorder.nth(51)
    expect(new Set(recorder.received.map((one) => one.path))).toEqual(new Set([path]))
  })

  it('lends its address to its own peers only', async () => {
    const recorder = new Recorder()
    const client = await endpoint()
    client.send(esp('x'), recorder.ports.natT, '127.0.0.1')
    recorder.adopt((await recorder.nth(1)).path)
    const thief = createSocket({ type: 'udp4', reuseAddr: true })
    cleanUp.push(() => thief.close())
    const outcome = await new Promise((resolve) => {
      thief.once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
      thief.bind(recorder.ports.natT, '127.0.0.1', () => resolve('bound'))
    })
    expect(outcome).toBe('EADDRINUSE')
  })

  it('forgets the strangers that were silent longest, and never a peer', async () => {
    const recorder = new Recorder({ maxPaths: 4 })
    const { natT } = recorder.ports
    const peer = await endpoint()
    peer.send(esp('peer'), natT, '127.0.0.1')
    const { path } = await recorder.nth(1)
    recorder.adopt(path)
    const strangers = await Promise.all(Array.from({ length: 6 }, () => endpoint('127.0.0.8')))
    for (const [index, stranger] of strangers.entries()) {
      stranger.send(esp('stranger'), natT, '127.0.0.1')
      await recorder.nth(2 + index)
    }
    const [first] = strangers
    const firstPath = recorder.received[1]?.path
    first?.send(esp('again'), natT, '127.0.0.1')
    expect((await recorder.nth(8)).path).not.toBe(firstPath)
    // Whoever still has the old path can answer on it.
    if (firstPath !== undefined) recorder.server.sendIke(ike(), firstPath)
    await waitUntil('the answer', () => first?.heard.length === 1)
    recorder.server.release(path)
    peer.send(esp('peer'), natT, '127.0.0.1')
    expect((await recorder.nth(9)).path).toBe(path)
  })

  it('loses and mixes up nothing while sockets for a peer come and go', async () => {
    const recorder = new Recorder()
    const { natT } = recorder.ports
    const peer = await endpoint()
    peer.send(esp('peer'), natT, '127.0.0.1')
    const { path } = await recorder.nth(1)
    const count = 20_000
    const sender = fork(NUMBERED_SENDER, [String(natT), String(count)], { stdio: 'ignore' })
    cleanUp.push(() => sender.kill())
    let sending = true
    sender.once('exit', () => {
      sending = false
    })
    while (sending) {
      recorder.adopt(path)
      recorder.server.release(path)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await recorder.nth(count + 1)
    const others = recorder.received.slice(1)
    expect(others).toHaveLength(count)
    expect(new Set(others.map((one) => one.path)).size).toBe(1)
    expect(others[0]?.path.remote.address).toBe('127.0.0.7')
    const numbers = others.map(({ data }) => data.readUInt32BE(4))
    expect(new Set(numbers).size).toBe(count)
  })

  it('opens all sockets or none', () => {
    const recorder = new Recorder()
    const { natT } = recorder.ports
    expect(
      () => new UdpServer({ addresses: ['127.0.0.2', '127.0.0.1'], ikePort: 0, natTPort: natT })
    ).toThrow(expect.objectContaining({ code: 'listen-failed', exitCode: 71 }))
    const free = new UdpServer({ addresses: ['127.0.0.2'], ikePort: 0, natTPort: natT })
    void free.close()
  })
})
