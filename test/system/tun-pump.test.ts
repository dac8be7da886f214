import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  emptyLab,
  type LabNamespace,
  type NetLab,
  type RunningProgram,
  startProgram
} from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

const TWO_PUMPS = fileURLToPath(new URL('../support/two-pumps.mjs', import.meta.url))
const TRANSFER = fileURLToPath(new URL('../support/transfer.mjs', import.meta.url))
const TRANSFER_BYTES = 24_000_000

interface EndStats {
  readonly packetsIn: number
  readonly packetsOut: number
  readonly bytesOut: number
  readonly dropped: Readonly<Record<string, number>>
}
interface Report {
  readonly left: EndStats
  readonly right: EndStats
  readonly events: { readonly softLimits: number; readonly inbound: number }
  readonly children: number
}

/** Two namespaces with a tunnel between them, addresses 10.9.0.1/2 and fd09::1/2. */
class Tunnel {
  readonly left: LabNamespace
  readonly right: LabNamespace
  readonly #program: RunningProgram
  #answers = 1

  private constructor(left: LabNamespace, right: LabNamespace, program: RunningProgram) {
    this.left = left
    this.right = right
    this.#program = program
  }

  static async open(lab: NetLab, settings: Readonly<Record<string, unknown>> = {}): Promise<Tunnel> {
    const left = await lab.addNamespace('left')
    const right = await lab.addNamespace('right')
    const all = { ...settings, left: `/proc/${left.pid}/ns/net`, right: `/proc/${right.pid}/ns/net` }
    const argv = [process.execPath, TWO_PUMPS, JSON.stringify(all)]
    const program = startProgram(left, argv, { stdio: ['pipe', 'pipe', 'pipe'] })
    const ready = JSON.parse(await program.printed(/\n/)) as { left: string; right: string }
    const ends = [
      [left, ready.left, 1],
      [right, ready.right, 2]
    ] as const
    for (const [namespace, device, number] of ends) {
      await namespace.run(['ip', 'addr', 'add', `10.9.0.${number}/24`, 'dev', device])
      await namespace.run(['ip', 'addr', 'add', `fd09::${number}/64`, 'dev', device, 'nodad'])
      await namespace.run(['ip', 'link', 'set', 'dev', device, 'up'])
    }
    return new Tunnel(left, right, program)
  }

  async command(line: string): Promise<Report> {
    this.#program.child.stdin?.write(`${line}\n`)
    const wanted = ++this.#answers
    const lines = await waitUntil(`the answer to ${line}`, () => {
      const all = this.#program.stdout().split('\n').slice(0, -1)
      return all.length >= wanted && all
    })
    return JSON.parse(lines[wanted - 1] ?? '') as Report
  }

  ping(
    address: string,
    ...options: string[]
  ): Promise<{ readonly exitCode: number; readonly stdout: string }> {
    return this.left.runner.run(['ping', '-c', '1', '-W', '2', ...options, address])
  }

  /** One checked transfer between a server on the right and a client on the left. */
  async transfer(kind: 'download' | 'upload', host: string, bytes = TRANSFER_BYTES): Promise<unknown> {
    const url = `http://${host}:8080`
    const client = startProgram(this.left, [process.execPath, TRANSFER, kind, url, String(bytes)])
    await client.exit
    return JSON.parse(client.stdout() || JSON.stringify(client.stderr()))
  }

  async serve(): Promise<void> {
    await startProgram(this.right, [process.execPath, TRANSFER, 'server', '8080']).printed(/listening/)
  }

  end(): Promise<number> {
    this.#program.child.stdin?.end()
    return this.#program.exit
  }
}

describeWith(
  'namespaces',
  'tun',
  'ipv6',
  'ping'
)('pump between two TUN devices', () => {
  let lab: NetLab
  beforeAll(async () => {
    lab = await emptyLab()
  })
  afterAll(async () => {
    await lab?.close()
  })

  it('carries pings of both families, and ends the devices with the process', async () => {
    const tunnel = await Tunnel.open(lab)
    for (const address of ['10.9.0.2', 'fd09::2']) expect((await tunnel.ping(address)).exitCode).toBe(0)
    const { left, right } = await tunnel.command('stats')
    expect(left.packetsOut).toBe(right.packetsIn)
    expect(left.packetsIn).toBeGreaterThanOrEqual(2)
    expect(await tunnel.end()).toBe(0)
    const links = await tunnel.left.run(['ip', '-o', 'link'])
    expect(links.stdout).not.toContain('ike0')
  })

  it('carries big checked transfers both ways, both families, over rekeyings and an outage', async () => {
    const tunnel = await Tunnel.open(lab, { softLimits: { bytes: 10_000_000, packets: 0 } })
    await tunnel.serve()
    const whole = expect.objectContaining({ bytes: TRANSFER_BYTES, matches: true })
    expect(await tunnel.transfer('download', '10.9.0.2')).toEqual(whole)
    await tunnel.command('rekey')
    expect(await tunnel.transfer('upload', '10.9.0.2')).toEqual(whole)
    expect(await tunnel.transfer('download', '[fd09::2]')).toEqual(whole)
    const running = tunnel.transfer('upload', '[fd09::2]')
    const { left: before } = await tunnel.command('stats')
    await waitUntil('some of the upload', async () => {
      const { left } = await tunnel.command('stats')
      return left.bytesOut > before.bytesOut + 1_000_000
    })
    await tunnel.command('detach')
    await tunnel.command('rekey')
    await tunnel.command('attach')
    expect(await running).toEqual(whole)
    const report = await tunnel.command('stats')
    expect(report.children).toBe(3)
    expect(report.events.softLimits).toBeGreaterThan(0)
    for (const end of [report.left, report.right]) {
      const { tunRefused: _, ...others } = end.dropped
      expect(Object.values(others).every((count) => count === 0)).toBe(true)
    }
  })

  it.each([
    [
      'AES-CBC with HMAC-SHA2-512, no ESN, no offload',
      { encryptionId: 12, keyBits: 256, integrityId: 14, esn: false, offload: false }
    ],
    [
      'ChaCha20-Poly1305 through node:crypto, on a stream',
      { encryptionId: 28, keyBits: 256, backend: 'node', kind: 'tcp' }
    ]
  ])('carries checked transfers with %s', async (_name, settings) => {
    const tunnel = await Tunnel.open(lab, settings)
    await tunnel.serve()
    const bytes = 4_000_000
    for (const kind of ['download', 'upload'] as const)
      expect(await tunnel.transfer(kind, '10.9.0.2', bytes)).toEqual(
        expect.objectContaining({ bytes, matches: true })
      )
  })

  it('answers packets that are too big with ICMP of their family, and fragments where that is allowed', async () => {
    const tunnel = await Tunnel.open(lab)
    await tunnel.command('mtu 1300')
    // The device still takes 1400 bytes, as it does between a change of path and the change of its MTU.
    const ping4 = await tunnel.ping('10.9.0.2', '-M', 'do', '-s', '1340')
    expect(ping4.stdout + ping4.exitCode).toMatch(/mtu ?= ?1300/)
    const ping6 = await tunnel.ping('fd09::2', '-M', 'do', '-s', '1340')
    expect(ping6.stdout + ping6.exitCode).toMatch(/mtu ?= ?1300/)
    const { left } = await tunnel.command('stats')
    expect(left.dropped['tooBig']).toBe(2)
    await tunnel.left.run(['ip', 'route', 'flush', 'cache'])
    expect((await tunnel.ping('10.9.0.2', '-M', 'dont', '-s', '1340')).exitCode).toBe(0)
    expect((await tunnel.command('stats')).left.dropped['tooBig']).toBe(2)
    await tunnel.serve()
    const bytes = 2_000_000
    for (const kind of ['download', 'upload'] as const)
      expect(await tunnel.transfer(kind, '[fd09::2]', bytes)).toEqual(
        expect.objectContaining({ bytes, matches: true })
      )
    expect((await tunnel.command('stats')).left.dropped['tooBig']).toBeLessThanOrEqual(4)
  })

  it('lowers the MSS so that no segment of a connection is ever too big', async () => {
    const tunnel = await Tunnel.open(lab, { mtu: 1500 })
    await tunnel.command('mtu 1300')
    await tunnel.serve()
    const bytes = 2_000_000
    for (const host of ['10.9.0.2', '[fd09::2]'])
      for (const kind of ['download', 'upload'] as const)
        expect(await tunnel.transfer(kind, host, bytes)).toEqual(
          expect.objectContaining({ bytes, matches: true })
        )
    const { left, right } = await tunnel.command('stats')
    expect([left.dropped['tooBig'], right.dropped['tooBig']]).toEqual([0, 0])
  })

  it('refuses packets outside the traffic selectors at once, and counts them', async () => {
    const tunnel = await Tunnel.open(lab, { localTs: ['10.9.0.1/32'], remoteTs: ['10.9.0.0/25'] })
    expect((await tunnel.ping('10.9.0.2')).exitCode).toBe(0)
    const refused = await tunnel.ping('10.9.0.200')
    expect(refused.stdout).toMatch(/filtered|prohibited|Packet filtered/i)
    expect(refused.exitCode).not.toBe(0)
    const { left } = await tunnel.command('stats')
    expect(left.dropped['outsideSelectors']).toBeGreaterThan(0)
  })

  it('drops what was marked as congested outside and cannot carry the mark inside (RFC 6040)', async () => {
    const tunnel = await Tunnel.open(lab)
    await tunnel.command('ecn 3')
    expect((await tunnel.ping('10.9.0.2', '-W', '1')).exitCode).toBe(1)
    expect((await tunnel.ping('10.9.0.2', '-Q', '2')).exitCode).toBe(0)
    const { right } = await tunnel.command('stats')
    expect(right.dropped['congestion']).toBeGreaterThan(0)
  })
})
