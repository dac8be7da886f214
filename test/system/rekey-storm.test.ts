/**
 * Rekeying without end, by time, bytes and packets, from both sides at once, under numbered packets in both directions: on a way that
 * loses nothing, nothing is lost and nothing comes twice.
 */
import { afterEach, describe, expect, it } from 'vitest'
import type { IkeTimers } from '../../src/ike/types.ts'
import { GatewayFixture, pskClient, TestClient } from '../support/gateway-fixture.ts'
import { ipv4 } from '../support/packet-factory.ts'
import { waitUntil } from '../support/wait-until.ts'

const cleanUp: (() => unknown)[] = []
afterEach(async () => {
  for (const action of cleanUp.splice(0).reverse()) await action()
})

const SERVER = '10.99.0.1'
/** Reserved for experiments (RFC 3692): nobody puts these packets together. */
const PROTOCOL = 253
const PAYLOAD_LENGTH = 120
const PAUSE_MS = 2
const BURST = 4

/** Whichever limit comes first is another one from storm to storm; each SA lives for a moment only. */
const STORMS: Readonly<Record<string, Partial<IkeTimers>>> = {
  time: { childLifetimeMs: 500, ikeLifetimeMs: 1_100, rekeyMargin: 0.5 },
  bytes: { childLifetimeBytes: 80_000, ikeLifetimeMs: 1_500, rekeyMargin: 0.5 },
  packets: { childLifetimePackets: 500, ikeLifetimeMs: 1_500, rekeyMargin: 0.5 }
}

class Numbered {
  #sent = 0
  readonly seen = new Map<number, number>()

  readonly #addresses: () => { readonly source: string; readonly destination: string }

  constructor(addresses: () => { readonly source: string; readonly destination: string }) {
    this.#addresses = addresses
  }

  get sent(): number {
    return this.#sent
  }

  next(): Uint8Array {
    const payload = Buffer.alloc(PAYLOAD_LENGTH)
    payload.writeUInt32BE(++this.#sent)
    return ipv4([...payload], { protocol: PROTOCOL, ...this.#addresses() })
  }

  take(packet: Uint8Array): void {
    const number = Buffer.from(packet.buffer, packet.byteOffset + 20, 4).readUInt32BE()
    this.seen.set(number, (this.seen.get(number) ?? 0) + 1)
  }

  get missing(): number[] {
    return Array.from({ length: this.#sent }, (_, index) => index + 1).filter((one) => !this.seen.has(one))
  }

  get repeated(): number[] {
    return [...this.seen].filter(([, count]) => count > 1).map(([number]) => number)
  }
}

describe.each(['udp', 'tcp'] as const)('over %s', (kind) => {
  it.each(Object.keys(STORMS))('a storm of rekeyings by %s loses and repeats nothing', async (what) => {
    const timers = STORMS[what] ?? {}
    const fixture = await GatewayFixture.start({ timers })
    cleanUp.push(() => fixture.gateway.close())
    const client = new TestClient(pskClient(), undefined, timers)
    cleanUp.push(() => client.dispose())
    await client.connect(await fixture.open(kind))
    const up = new Numbered(() => ({ source: client.address, destination: SERVER }))
    const down = new Numbered(() => ({ source: SERVER, destination: client.address }))
    fixture.tun.onWritten = (frame) => up.take(frame.subarray(10))
    client.tun.onWritten = (frame) => down.take(frame.subarray(10))
    const sending = setInterval(() => {
      for (let count = 0; count < BURST; count++) {
        client.send(up.next())
        fixture.send(down.next())
      }
    }, PAUSE_MS)
    cleanUp.push(() => clearInterval(sending))
    const rekeyed = (which: 'ike' | 'child') =>
      client.events.filter((event) => event.type === 'rekeyed' && event.what === which).length
    await waitUntil('rekeyings', () => rekeyed('child') >= 12 && rekeyed('ike') >= 3)
    clearInterval(sending)
    await waitUntil('what is under way', () => {
      client.tun.run()
      fixture.tun.run()
      return up.missing.length === 0 && down.missing.length === 0
    }).catch(() => undefined)
    expect({ up: up.missing, down: down.missing }, 'lost').toEqual({ up: [], down: [] })
    expect({ up: up.repeated, down: down.repeated }, 'twice').toEqual({ up: [], down: [] })
    expect(up.sent).toBeGreaterThan(500)
    expect(fixture.all('client-up')).toHaveLength(1)
  })
})
