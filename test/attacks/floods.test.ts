/** Strangers who send more than anybody needs, against a gateway and a relay that serve honest clients meanwhile. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { End, initiatorConfig, pathPair } from '../support/ike-pair.ts'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { IkestreamSite, INNER_V4, validity } from '../support/ikestream-site.ts'
import { type LabHost, type RunningProgram, startProgram } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

const FLOOD = fileURLToPath(new URL('../support/flood.mjs', import.meta.url))
/** Only ends tests that hang. */
const MOST_SECONDS = 60
const SOURCES = 8
const STREAMS = 600
const NAIVE_PORT = 7777
/** Everything that may be open at a time, a frame of 64 KiB each, and what the collector has not come round to. */
const MOST_MORE_KIB = 160 * 1024
const DATAGRAM_KINDS = ['half-open', 'proven-half-open', 'fragments', 'junk']
const STREAM_KINDS = ['slow-prefix', 'slow-frame', 'giant', 'tiny', 'half-tls', 'come-and-go']

interface Flood {
  readonly datagrams: number
  readonly bytes: number
  readonly answers: number
  readonly opened: number
  readonly ended: number
}

describeWith('namespaces', 'tun')('a flood', () => {
  let site: IkestreamSite
  let gateway: IkestreamProcess
  let attacker: LabHost
  let sources: string[]
  let psk: readonly string[]
  let states = 0

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    gateway = await site.startGateway(['--max-half-open', '128', ...(await site.gatewayArgs())])
    psk = await site.withPsk()
    attacker = await site.hotel.addHost('inside', 'attacker')
    const net = attacker.address.slice(0, attacker.address.lastIndexOf('.'))
    sources = Array.from({ length: SOURCES }, (_, host) => `${net}.${100 + host}`)
    for (const source of sources)
      await attacker.namespace.run(['ip', 'addr', 'add', `${source}/24`, 'dev', attacker.device])
  })
  afterEach(() => site.stopClients())
  afterAll(() => site?.close())

  /** An IKE_SA_INIT request as any client sends it. */
  function initRequest(): string {
    const end = new End(initiatorConfig(), 4)
    end.session.connect(1, pathPair().client)
    end.drain()
    return Buffer.from(end.sent[0]?.message ?? []).toString('hex')
  }

  function start(kinds: readonly string[], host: string, tcp = 4500): RunningProgram {
    const settings = {
      ...{ seconds: MOST_SECONDS, sources, init: initRequest(), tcp, tls: 443 },
      ...{ streams: STREAMS, streamKinds: STREAM_KINDS.length }
    }
    const argv = [process.execPath, FLOOD, kinds.join(','), host, JSON.stringify(settings)]
    return startProgram(attacker.namespace, argv)
  }

  async function ended(flood: RunningProgram): Promise<Flood> {
    expect(await flood.exit, flood.stderr()).toBe(0)
    return JSON.parse(flood.stdout()) as Flood
  }

  /** An honest client comes in while it lasts, and is served. @returns what the flooded program needed at most, beyond what it had */
  async function honestMeanwhile(
    flooded: IkestreamProcess,
    flood: RunningProgram,
    server: string,
    transport: string
  ): Promise<{ readonly kib: number; readonly descriptors: number }> {
    const before = sizeOf(flooded)
    const most = { ...before }
    const watch = setInterval(() => {
      const now = sizeOf(flooded)
      most.kib = Math.max(most.kib, now.kib)
      most.descriptors = Math.max(most.descriptors, now.descriptors)
    }, 50)
    try {
      await waitUntil('the flood', () => sizeOf(flooded).busyTicks > before.busyTicks + 20)
      const args = [...psk, '--transport', transport, '--persist']
      const client = site.connect(server, args, { state: `client-${states++}` })
      await client.event('connected')
      expect(await site.reaches(INNER_V4), client.transcript()).toBe(true)
      expect(flood.child.exitCode, 'the flood was over before the client came').toBeNull()
    } finally {
      flood.child.kill('SIGTERM')
      await flood.exit
      clearInterval(watch)
    }
    await waitUntil('the descriptors to be free', () => sizeOf(flooded).descriptors <= before.descriptors + 8)
    return { kib: most.kib - before.kib, descriptors: most.descriptors - before.descriptors }
  }

  it('of connections takes all the memory and descriptors of a server without bounds', async () => {
    const { namespace, address } = site.hotel.gateway
    const argv = [process.execPath, FLOOD, 'naive', address, String(NAIVE_PORT)]
    const naive = startProgram(namespace, argv)
    await naive.printed(/listening/)
    const kinds = STREAM_KINDS.filter((kind) => kind !== 'half-tls')
    const flood = start(kinds, address, NAIVE_PORT)
    await naive.exit
    flood.child.kill('SIGTERM')
    await flood.exit
    const seen = JSON.parse(naive.stdout().split('\n')[1] ?? '{}') as { mostOpen: number; keptBytes: number }
    expect(seen.mostOpen).toBeGreaterThan(STREAMS / 2)
    expect(seen.keptBytes / 1024).toBeGreaterThan(MOST_MORE_KIB)
  })

  it('of datagrams leaves the gateway its memory and its honest clients', async () => {
    const flood = start(DATAGRAM_KINDS, site.gatewayAddress)
    const needed = await honestMeanwhile(gateway, flood, site.gatewayAddress, 'udp')
    const counts = await ended(flood)
    expect(counts.datagrams).toBeGreaterThan(500)
    // Cookies were asked for, and brought.
    expect(counts.answers).toBeGreaterThan(10)
    expect(needed.kib).toBeLessThan(MOST_MORE_KIB)
    expect(needed.descriptors).toBeLessThan(300)
  })

  it.each(['tcp', 'tls'])(
    'of streams leaves the gateway its memory and its honest clients on %s',
    async (transport) => {
      const flood = start(STREAM_KINDS, site.gatewayAddress)
      const needed = await honestMeanwhile(gateway, flood, site.gatewayAddress, transport)
      const counts = await ended(flood)
      expect(counts.opened).toBeGreaterThanOrEqual(STREAMS)
      expect(counts.ended).toBeGreaterThan(0)
      expect(needed.kib).toBeLessThan(MOST_MORE_KIB)
      expect(needed.descriptors).toBeLessThan(STREAMS * 2)
    }
  )

  it('of streams leaves the relay its memory and its honest clients', async () => {
    const host = await site.hotel.addHost('outside', 'relay')
    const issued = issueServerCertificate(site.authority, ['relay.test'], validity())
    const relay = site.start(
      host.namespace,
      [
        ...[
          'relay',
          '--json',
          '--listen',
          `${host.address}:4500`,
          '--listen',
          `${host.address}:443`,
          '--tls'
        ],
        ...['--certificate', await site.file('relay.pem', issued.certificatePem)],
        ...['--sslkey', await site.file('relay.key', issued.privateKeyPem.revealText())],
        ...['--target', site.gatewayAddress]
      ],
      { stateDirectory: `${site.directory}/relay` }
    )
    await relay.event('listening')
    const flood = start(STREAM_KINDS, host.address)
    const needed = await honestMeanwhile(relay, flood, host.address, 'tcp')
    const counts = await ended(flood)
    expect(counts.ended).toBeGreaterThan(0)
    expect(needed.kib).toBeLessThan(MOST_MORE_KIB)
    expect(needed.descriptors).toBeLessThan(STREAMS * 2)
  })
})

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

function sizeOf({ pid }: IkestreamProcess): { kib: number; descriptors: number; busyTicks: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    kib: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    busyTicks: ((Number(fields[11]) + Number(fields[12])) * 100) / ticksPerSecond
  }
}
