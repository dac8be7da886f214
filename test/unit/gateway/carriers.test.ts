import { Duplex } from 'node:stream'
import { beforeEach, describe, expect, it } from 'vitest'
import { Carriers, type Passenger } from '../../../src/gateway/carriers.ts'
import { DEFAULT_GATEWAY_LIMITS } from '../../../src/gateway/options.ts'
import type { IkeSession } from '../../../src/ike/session.ts'
import { silentLogger } from '../../../src/log.ts'
import { StreamTransport } from '../../../src/transport/stream.ts'
import type { Transport } from '../../../src/transport/types.ts'
import { waitUntil } from '../../support/wait-until.ts'

const LIMITS = { ...DEFAULT_GATEWAY_LIMITS, noSessionTimeoutMs: 10_000, replacedIdleMs: 30_000 }

/** Bytes that the peer sends are pushed; what is written is thrown away. */
class Wire extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done()
  }
  override _final(done: () => void): void {
    this.push(null)
    done()
  }
}

class FakePeer implements Passenger {
  carrier: Passenger['carrier']
  transport: Transport | undefined
  readonly link = {
    setTransport: (transport: Transport | undefined) => {
      this.transport = transport
    },
    handleWritable: () => undefined
  }
}

const session = (state: IkeSession['state']): IkeSession => ({ state }) as IkeSession

describe('carriers', () => {
  let lost: (readonly [number, IkeSession | undefined])[]
  let carriers: Carriers
  beforeEach(() => {
    lost = []
    carriers = new Carriers(
      {
        onIke() {},
        onEsp() {},
        recognise: () => false,
        onEspBatchEnd() {},
        onTrouble() {},
        onStreamLost: (path, of) => lost.push([path.id, of])
      },
      LIMITS,
      silentLogger
    )
  })

  function stream(nowMs = 0): { readonly transport: StreamTransport; readonly wire: Wire } {
    const wire = new Wire()
    const end = { address: '127.0.0.1', port: 1 }
    const transport = new StreamTransport({
      stream: wire,
      kind: 'tcp',
      role: 'responder',
      local: end,
      remote: end
    })
    carriers.addStream(transport, nowMs)
    return { transport, wire }
  }
  const open = (transport: StreamTransport): boolean => carriers.isOpen(transport.path)
  async function sweptAway(transport: StreamTransport, atMs: number): Promise<boolean> {
    carriers.sweep(atMs)
    await new Promise((resolve) => setImmediate(resolve))
    return !open(transport)
  }

  it('a stream on which no session begins is closed after a while, whatever it says', async () => {
    const { transport, wire } = stream()
    for (let atMs = 1000; atMs < 10_000; atMs += 1000) {
      wire.push(Buffer.from([0, 20, ...new Array<number>(18).fill(9)]))
      expect(await sweptAway(transport, atMs)).toBe(false)
    }
    expect(await sweptAway(transport, 10_000)).toBe(true)
    expect(lost).toEqual([[transport.path.id, undefined]])
  })

  it('a stream whose session was refused at once is no better', async () => {
    const { transport } = stream()
    carriers.send(new Uint8Array(40), transport.path, session('CREATED'))
    expect(await sweptAway(transport, 9_999)).toBe(false)
    expect(await sweptAway(transport, 10_000)).toBe(true)
  })

  it('a stream with a session on its way, or in use, stays', async () => {
    const [connecting, used] = [stream(), stream()]
    carriers.send(new Uint8Array(40), connecting.transport.path, session('CONNECTING'))
    const peer = new FakePeer()
    carriers.attach(peer, used.transport.path)
    expect(peer.transport === used.transport).toBe(true)
    for (const atMs of [20_000, 100_000, 1_000_000])
      expect([await sweptAway(connecting.transport, atMs), open(used.transport)]).toEqual([false, true])
  })

  it('a stream that was replaced is closed when it is silent', async () => {
    const before = stream()
    const peer = new FakePeer()
    carriers.send(new Uint8Array(40), before.transport.path, session('ESTABLISHED'))
    carriers.attach(peer, before.transport.path)
    expect(await sweptAway(before.transport, 50_000)).toBe(false)
    const after = stream(50_000)
    carriers.attach(peer, after.transport.path)
    expect(peer.transport === after.transport).toBe(true)
    before.wire.push(Buffer.from([0, 20, ...new Array<number>(18).fill(9)]))
    expect(await sweptAway(before.transport, 60_000)).toBe(false)
    expect(await sweptAway(before.transport, 89_999)).toBe(false)
    expect(await sweptAway(before.transport, 90_000)).toBe(true)
    expect(open(after.transport)).toBe(true)
  })

  it('a stream whose session has ended is closed a few seconds later', async () => {
    const { transport } = stream()
    let state: IkeSession['state'] = 'ESTABLISHED'
    carriers.send(new Uint8Array(40), transport.path, {
      get state() {
        return state
      }
    } as IkeSession)
    const peer = new FakePeer()
    carriers.attach(peer, transport.path)
    expect(await sweptAway(transport, 100_000)).toBe(false)
    state = 'DESTROYED'
    carriers.detach(peer)
    expect(await sweptAway(transport, 101_000)).toBe(false)
    expect(await sweptAway(transport, 110_999)).toBe(false)
    expect(await sweptAway(transport, 111_000)).toBe(true)
  })

  it('a peer whose stream breaks has none, and its session hears of it', async () => {
    const { transport, wire } = stream()
    const peer = new FakePeer()
    const own = session('ESTABLISHED')
    carriers.send(new Uint8Array(40), transport.path, own)
    carriers.attach(peer, transport.path)
    wire.destroy()
    await waitUntil('the end', () => lost.length > 0)
    expect(lost).toEqual([[transport.path.id, own]])
    expect([peer.transport, peer.carrier]).toEqual([undefined, undefined])
    expect(carriers.streamCount).toBe(0)
    // Nobody listens any more: dropped.
    carriers.send(new Uint8Array(40), transport.path, own)
    carriers.detach(peer)
  })
})
