import { Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { TlsTap } from '../../../src/transport/tls-tap.ts'

/** A record of application data with nothing but zeros in it. */
function record(length: number): Buffer {
  const bytes = Buffer.alloc(5 + length)
  bytes.set([23, 3, 3, length >>> 8, length])
  return bytes
}

describe('a tap under TLS', () => {
  it('reads no more than a few records ahead of Node, and goes on when they are used up', async () => {
    const socket = new Socket()
    const tap = new TlsTap(socket, true)
    // Tiny records: one a turn goes to Node, while a read brings thousands.
    const crumbs = Buffer.concat(Array.from({ length: 3_000 }, () => record(20)))
    const records: Buffer[] = []
    tap.on('data', (chunk: Buffer) => records.push(chunk))
    let reads = 0
    while (!socket.isPaused() && reads < 1_000) {
      socket.emit('data', crumbs)
      reads++
    }
    expect(reads).toBeLessThan(10)
    for (let turn = 0; turn < 100_000 && socket.isPaused(); turn++) await nextTurn()
    expect(socket.isPaused()).toBe(false)
    expect(records.length).toBeGreaterThan(0)
    expect(records.every((one) => one.length === 25)).toBe(true)
    tap.destroy()
  })

  it('reads everything once the connection stays with Node', async () => {
    const socket = new Socket()
    const tap = new TlsTap(socket, true)
    tap.on('data', () => undefined)
    while (!socket.isPaused()) socket.emit('data', record(16_000))
    tap.pass()
    for (let turn = 0; turn < 1_000 && socket.isPaused(); turn++) await nextTurn()
    expect(socket.isPaused()).toBe(false)
    tap.destroy()
  })
})
