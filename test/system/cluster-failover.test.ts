/** One node of a cluster dies, the other goes on: the same IKE SA, the same addresses, and no inner connection breaks. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { ClusterSite } from '../support/cluster-site.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

describeWith('namespaces', 'tun')('a cluster whose active node dies', () => {
  let site: ClusterSite
  beforeAll(async () => {
    site = await ClusterSite.open()
  })
  afterEach(() => site.stopAll())
  afterAll(() => site?.close())

  it.each([
    ['udp', 'killed'],
    ['tcp', 'killed'],
    ['tls', 'killed'],
    ['udp', 'powered off'],
    ['tcp', 'powered off'],
    ['tls', 'powered off']
  ])('carries light traffic on %s again when the node is %s', async (transport, how) => {
    const { left, right } = await site.startCluster()
    const client = await site.connect(transport)
    expect(client.all('connected')[0]?.['cluster']).toBe(true)
    const pulse = site.pulse()
    await waitUntil('the pulse', () => pulse.beats.length > 20)
    const at = Date.now()
    if (how === 'killed') await site.kill(left)
    else await site.powerOff('left', left)
    await waitUntil('the pulse again', () => pulse.beats.filter((beat) => beat > at).length > 50)
    expect(client.all('reconnecting'), client.transcript() + right.transcript()).toEqual([])
    await pulse.stop()
  })
})
