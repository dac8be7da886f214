/** The link between two nodes of a cluster, on loopback: who gets in, what arrives, and how an end is noticed. */
import { randomBytes } from 'node:crypto'
import { connect, createServer, type Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import { ClusterLink } from '../../src/gateway/cluster-link.ts'
import type { ClusterMessage } from '../../src/gateway/cluster-protocol.ts'
import type { LogLevel } from '../../src/log.ts'
import { waitUntil } from '../support/wait-until.ts'

class Node {
  readonly heard: ClusterMessage[] = []
  readonly log: string[] = []
  ups = 0
  downs = 0
  gone = 0
  link: ClusterLink | undefined

  async open(own: string, other: string, port: number, key: Buffer): Promise<this> {
    const logger = {
      log: (level: LogLevel, message: string) => void this.log.push(`${level} ${message}`),
      child: () => logger
    }
    this.link = await ClusterLink.open(
      {
        listen: { address: own, port },
        peer: { address: other, port },
        key,
        clock: systemClock,
        log: logger
      },
      {
        onUp: () => this.ups++,
        onDown: () => this.downs++,
        onPeerGone: () => this.gone++,
        onMessage: (message) => this.heard.push(message)
      }
    )
    nodes.push(this)
    return this
  }
}

const nodes: Node[] = []
const [LOW, HIGH] = ['127.0.63.1', '127.0.63.2']

/** A port that is free on loopback just now. */
async function freePort(): Promise<number> {
  const server: Server = createServer()
  await new Promise<void>((resolve) => server.listen(0, LOW, resolve))
  const at = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof at === 'object' && at !== null ? at.port : 0
}

async function pair(keys: readonly [Buffer, Buffer]) {
  const port = await freePort()
  const low = await new Node().open(LOW, HIGH, port, keys[0])
  const high = await new Node().open(HIGH, LOW, port, keys[1])
  return { low, high, port }
}

describe('the link of two nodes', () => {
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map(({ link }) => link?.close()))
  })

  it('stands between two that share a secret, and brings what is said in order', async () => {
    const key = randomBytes(32)
    const { low, high } = await pair([key, key])
    await waitUntil('the link', () => low.ups === 1 && high.ups === 1)
    for (let serial = 1; serial <= 500; serial++) {
      low.link?.send({ type: 'ack', serial })
      high.link?.send({ type: 'ack', serial: serial + 1000 })
    }
    await waitUntil('all', () => low.heard.length === 500 && high.heard.length === 500)
    expect(high.heard.map((one) => ('serial' in one ? one.serial : 0))).toEqual(
      Array.from({ length: 500 }, (_, index) => index + 1)
    )
  })

  it('does not stand between two with different secrets, and both say so', async () => {
    const { low, high } = await pair([randomBytes(32), randomBytes(32)])
    await waitUntil('complaints', () => low.log.length > 0 && high.log.length > 0)
    expect([low.ups, high.ups]).toEqual([0, 0])
    expect([...low.log, ...high.log].every((line) => line.includes('another secret'))).toBe(true)
  })

  it('tells that the other end is gone: its connection, then its program', async () => {
    const key = randomBytes(32)
    const { low, high } = await pair([key, key])
    await waitUntil('the link', () => low.ups === 1 && high.ups === 1)
    await high.link?.close()
    await waitUntil('the news', () => low.downs === 1 && low.gone > 0)
  })

  it('is noticed to be gone by the end that does not dial, too, and stands again with a new program', async () => {
    const key = randomBytes(32)
    const { low, high, port } = await pair([key, key])
    await waitUntil('the link', () => low.ups === 1 && high.ups === 1)
    await low.link?.close()
    await waitUntil('the news', () => high.downs === 1 && high.gone > 0)
    const again = await new Node().open(LOW, HIGH, port, key)
    await waitUntil('the link again', () => again.ups === 1 && high.ups === 2)
  })

  it('takes nothing from strangers', async () => {
    const key = randomBytes(32)
    const { low, high, port } = await pair([key, key])
    await waitUntil('the link', () => low.ups === 1 && high.ups === 1)
    const closed = await Promise.all(
      ['127.0.63.9', LOW].map(
        (localAddress) =>
          new Promise<boolean>((resolve) => {
            const socket = connect({ host: HIGH, port, localAddress })
            socket.on('error', () => undefined)
            socket.on('close', () => resolve(true))
            socket.on('connect', () => socket.write('this is no TLS\n'))
          })
      )
    )
    expect(closed).toEqual([true, true])
    low.link?.send({ type: 'handover' })
    await waitUntil('what is said', () => high.heard.length === 1)
    expect([low.downs, high.downs]).toEqual([0, 0])
  })

  it('says which address cannot be had', async () => {
    await expect(new Node().open('198.51.100.9', LOW, 4600, randomBytes(32))).rejects.toMatchObject({
      code: 'listen-failed',
      message: expect.stringContaining('198.51.100.9:4600')
    })
  })
})
