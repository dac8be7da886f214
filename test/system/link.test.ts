import { afterAll, beforeAll, expect, it } from 'vitest'
import { openLink } from '../../src/host/link/lab-link.ts'
import type { LabLink, LinkReport } from '../../src/host/link/types.ts'
import { emptyLab, type LabNamespace, type NetLab } from '../support/namespaces.ts'
import { describeWith, has } from '../support/require.ts'

const [NEAR, FAR] = ['198.18.0.2', '198.18.0.1']
const [NEAR6, FAR6] = ['2001:db8:18::2', '2001:db8:18::1']

describeWith(
  'namespaces',
  'tun',
  'ping'
)('an emulated link between two namespaces', () => {
  let lab: NetLab
  let near: LabNamespace
  let link: LabLink
  beforeAll(async () => {
    lab = await emptyLab()
    near = await lab.addNamespace('near')
    const far = await lab.addNamespace('far')
    const addresses = (v4: string, v6: string) => [`${v4}/24`, ...(has('ipv6') ? [`${v6}/64`] : [])]
    const ends = [
      { namespace: near, device: 'wan0', addresses: addresses(NEAR, NEAR6) },
      { namespace: far, device: 'wan0', addresses: addresses(FAR, FAR6) }
    ] as const
    link = await openLink(lab, ends[0], ends[1], { seed: 5 })
  })
  afterAll(async () => {
    await link?.close()
    await lab?.close()
  })

  /** @returns shortest round trip and number of answers */
  async function pings(count: number, address = FAR): Promise<{ answers: number; shortestMs: number }> {
    const argv = ['ping', '-n', '-q', '-i', '0.005', '-W', '1', '-c', String(count), address]
    const { stdout } = await near.runner.run(argv)
    const answers = Number(/(\d+) received/.exec(stdout)?.[1])
    return { answers, shortestMs: Number(/= ([\d.]+)\//.exec(stdout)?.[1]) }
  }
  const report = async (): Promise<LinkReport> => {
    const counted = await link.report()
    if (counted === undefined) throw new Error('this link counts')
    return counted
  }

  it('delays each way by what it was told, IPv4 and IPv6', async () => {
    await link.setConditions({ delayMs: 12 }, { delayMs: 7 })
    const { answers, shortestMs } = await pings(20)
    expect(answers).toBe(20)
    expect(shortestMs).toBeGreaterThanOrEqual(19)
    if (has('ipv6')) expect((await pings(5, FAR6)).shortestMs).toBeGreaterThanOrEqual(19)
  })

  it('loses packets, and counts each', async () => {
    await link.setConditions({ loss: 0.5 }, {})
    const before = await report()
    const { answers } = await pings(100)
    const after = await report()
    const lost = after.forward.lost - before.forward.lost
    expect(lost).toBeGreaterThan(20)
    expect(answers).toBe(100 - lost)
  })

  it('is a black hole for as long as it was told, and well again afterwards', async () => {
    await link.setConditions({}, {})
    const outage = link.outage(300)
    const during = await pings(10)
    const { fromMs, toMs } = await outage
    expect(toMs - fromMs).toBeGreaterThanOrEqual(300)
    expect(during.answers).toBe(0)
    expect((await pings(10)).answers).toBe(10)
    expect((await report()).forward.outage).toBeGreaterThan(0)
  })

  it('refuses impossible conditions by name, and lives on', async () => {
    await expect(link.setConditions({ loss: 2 })).rejects.toThrow('"loss"')
    expect((await pings(3)).answers).toBe(3)
  })

  it('refuses to be netem where the kernel has none', async () => {
    const other = await lab.addNamespace('other')
    const ends = [near, other].map((namespace) => ({ namespace, device: 'wan1', addresses: [] }))
    const [a, b] = ends as [(typeof ends)[0], (typeof ends)[0]]
    const made = openLink(lab, a, b, { engine: 'netem' })
    if (has('netem')) expect((await made).engine).toBe('netem')
    else await expect(made).rejects.toThrow('no netem')
  })
})
