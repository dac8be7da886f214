/** One node of a cluster dies, the other goes on: the same IKE SA, the same addresses, and no inner connection breaks. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { ClusterSite, type NodeName, type Pulse } from '../support/cluster-site.ts'
import type { IkestreamProcess, JsonLine } from '../support/ikestream-process.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

const EXAMPLE = fileURLToPath(new URL('../../examples/ha-cluster/demo.sh', import.meta.url))
const MEBIBYTE = 1_048_576
/** Under traffic the tunnel is back within this long of the death; an idle one needs its liveness interval more. */
const BACK_MS = 1_000
const LIVENESS_S = 2

const timeOf = (line: JsonLine): number => Date.parse(String(line['time']))

describeWith(
  'namespaces',
  'tun',
  'ping'
)('the example of a cluster', () => {
  it.each(['udp', 'tcp'])('runs on %s, and says how long nothing came through', async (transport) => {
    const { stdout } = await promisify(execFile)(EXAMPLE, [transport])
    const [, count, gapMs] = /(\d+) answers of 600; the longest time without one: (\d+) ms/.exec(stdout) ?? []
    expect(Number(count), stdout).toBeGreaterThan(500)
    expect(Number(gapMs), stdout).toBeGreaterThan(0)
  })
})

describeWith('namespaces', 'tun')('a cluster whose active node dies', () => {
  let site: ClusterSite
  beforeAll(async () => {
    site = await ClusterSite.open()
  })
  afterEach(() => site.stopAll())
  afterAll(() => site?.close())

  async function beating(pulse: Pulse, since = 0): Promise<void> {
    await waitUntil('the pulse', () => pulse.beats.filter((at) => at > since).length > 20)
  }

  /** The same IKE SA goes on: nobody has begun anew, and the other node took everybody over. */
  function expectSameSessions(client: IkestreamProcess, survivor: IkestreamProcess): void {
    const said = client.transcript() + survivor.transcript()
    expect(client.all('reconnecting'), said).toEqual([])
    expect(survivor.all('client-down'), said).toEqual([])
    const ups = survivor.all('client-up')
    expect(ups.length, said).toBeGreaterThan(0)
    expect(
      ups.map(({ resumed }) => resumed),
      said
    ).not.toContain(false)
  }

  it.each(['udp', 'tcp', 'tls'])(
    'carries light traffic on %s again when its program is killed',
    async (transport) => {
      const { left, right } = await site.startCluster()
      const client = await site.connect(transport)
      expect(client.all('connected')[0]?.['cluster']).toBe(true)
      const pulse = site.pulse()
      await beating(pulse)
      const at = Date.now()
      await site.kill(left)
      await beating(pulse, at + BACK_MS)
      expect(pulse.longestGapSince(at), client.transcript() + right.transcript()).toBeLessThan(BACK_MS)
      expectSameSessions(client, right)
    }
  )

  it.each(['udp', 'tcp', 'tls'])(
    'carries heavy traffic on %s again when its machine is gone',
    async (transport) => {
      const { left, right } = await site.startCluster()
      const client = await site.connect(transport)
      const pulse = site.pulse()
      const download = site.download(24 * MEBIBYTE, 4)
      const upload = site.upload(24 * MEBIBYTE, 4)
      await beating(pulse)
      const at = Date.now()
      await site.powerOff('left', left)
      await beating(pulse, at + BACK_MS)
      const said = client.transcript() + right.transcript()
      expect(pulse.longestGapSince(at), said).toBeLessThan(BACK_MS)
      expect([download.running, upload.running], said).toEqual([true, true])
      expect([await download.intact(), await upload.intact()], said).toEqual([true, true])
      expectSameSessions(client, right)
    }
  )

  it('finds an idle client on UDP by itself', async () => {
    const { left, right } = await site.startCluster()
    const client = await site.connect('udp', ['--cluster-liveness', '0'])
    await site.powerOff('left', left)
    await right.said(/Message IDs synchronised with the peer/)
    await client.said(/Message IDs synchronised with the cluster/)
    expect(await site.reaches()).toBe(true)
    expectSameSessions(client, right)
  })

  it.each(['tcp', 'tls'])(
    'is found by an idle client on %s through its liveness timer, and by nothing else',
    async (transport) => {
      const { left, right } = await site.startCluster()
      const client = await site.connect(transport, ['--cluster-liveness', String(LIVENESS_S)])
      const timeless = await site.connect(transport, ['--cluster-liveness', '0'], 'other')
      const mark = client.mark
      const at = Date.now()
      await site.powerOff('left', left)
      const moved = await right.event('client-moved')
      const said = client.transcript() + right.transcript()
      expect(moved['identity'], said).toBe('first@test')
      expect(timeOf(moved) - at, said).toBeLessThan(LIVENESS_S * 1000 + BACK_MS)
      // The other one has no reason to look, however long it is given.
      const alive = (): number =>
        client.events.slice(mark).filter((line) => line.event === 'liveness' && line['outcome'] === 'alive')
          .length
      await waitUntil('some liveness checks', () => alive() >= 4)
      expect(right.all('client-moved'), said).toHaveLength(1)
      expect(timeless.all('path-changed')).toEqual([])
      // Until there is something to say.
      const asked = Date.now()
      const pulse = site.pulse('other')
      await waitUntil('the first answer', () => pulse.beats.length > 0)
      expect((pulse.beats[0] ?? 0) - asked).toBeLessThan(BACK_MS)
      expect(await site.reaches()).toBe(true)
      expectSameSessions(client, right)
      expectSameSessions(timeless, right)
    }
  )

  it('goes from node to node and back', async () => {
    const nodes = await site.startCluster()
    const client = await site.connect('tcp')
    const pulse = site.pulse()
    const download = site.download(16 * MEBIBYTE, 12)
    let active: NodeName = 'left'
    for (let count = 0; count < 3; count++) {
      await beating(pulse, Date.now())
      await site.kill(nodes[active])
      const survivor: NodeName = active === 'left' ? 'right' : 'left'
      await beating(pulse, Date.now() + BACK_MS)
      nodes[active] = await site.startNode(active)
      expectSameSessions(client, nodes[survivor])
      active = survivor
    }
    expect(await download.intact(), client.transcript()).toBe(true)
  })

  it('hands over when it is told to end, and nobody inside notices', async () => {
    const { left, right } = await site.startCluster()
    const client = await site.connect('udp')
    const pulse = site.pulse()
    const download = site.download(16 * MEBIBYTE, 4)
    await beating(pulse)
    const at = Date.now()
    expect(await left.stop(), left.transcript()).toBe(0)
    await beating(pulse, at + BACK_MS)
    expect(pulse.longestGapSince(at), client.transcript()).toBeLessThan(BACK_MS)
    expect(left.all('client-down')).toMatchObject([{ reason: 'handed-over' }])
    expect(await download.intact()).toBe(true)
    expectSameSessions(client, right)
  })

  it('and whose standby is slow keeps addresses and inner connections, if not the IKE SA', async () => {
    const settings = ['heartbeat = 1', 'dead-time = 8']
    const { left, right } = await site.startCluster({ settings })
    const client = await site.connect('tcp', ['--persist'])
    const [before] = client.all('connected')
    const pulse = site.pulse()
    const download = site.download(8 * MEBIBYTE, 10)
    await beating(pulse)
    await site.powerOff('left', left)
    const at = Date.now()
    await right.event('cluster', (line) => line['role'] === 'active')
    await beating(pulse, at)
    expect(await download.intact(), client.transcript() + right.transcript()).toBe(true)
    for (const up of right.all('client-up')) expect(up['virtualIps']).toEqual(before?.['virtualIps'])
  })
})
