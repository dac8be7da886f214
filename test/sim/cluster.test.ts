import { describe, expect, it } from 'vitest'
import type { End } from '../support/ike-pair.ts'
import { type Death, SimulatedCluster } from '../support/simulated-cluster.ts'

type Deed = (cluster: SimulatedCluster) => void

const spiOf = (end: End | undefined): number => [...(end?.sendingOn.values() ?? [])][0] ?? 0

/** What may be under way when the active node dies, from either side. */
const DEEDS: Readonly<Record<string, Deed>> = {
  'nothing at all': () => undefined,
  'a liveness check of the client': ({ client, now }) => client.session.checkLiveness(now),
  'a liveness check of the gateway': (cluster) =>
    cluster.act((gateway) => gateway.session.checkLiveness(cluster.now)),
  "the client's rekeying of a Child SA": ({ client, now }) => client.session.rekeyChild(now, spiOf(client)),
  "the gateway's rekeying of a Child SA": (cluster) =>
    cluster.act((gateway) => gateway.session.rekeyChild(cluster.now, spiOf(gateway))),
  "the client's rekeying of the IKE SA": ({ client, now }) => client.session.rekeyIke(now),
  "the gateway's rekeying of the IKE SA": (cluster) =>
    cluster.act((gateway) => gateway.session.rekeyIke(cluster.now)),
  'both ends rekeying the Child SA': (cluster) => {
    cluster.client.session.rekeyChild(cluster.now, spiOf(cluster.client))
    cluster.act((gateway) => gateway.session.rekeyChild(cluster.now, spiOf(gateway)))
  },
  'both ends rekeying the IKE SA': (cluster) => {
    cluster.client.session.rekeyIke(cluster.now)
    cluster.act((gateway) => gateway.session.rekeyIke(cluster.now))
  },
  'a further Child SA': ({ client, now }) => {
    const [child] = client.children.values()
    if (child !== undefined) client.session.createChild(now, child.localTs, child.remoteTs)
  },
  'a move of the client': (cluster) => cluster.moveClient()
}
const DEATHS: readonly Death[] = ['before', 'untold', 'replicated', 'after']
/** More deeds than any of these take. */
const MAX_DEEDS = 6
/** From a crash on: the takeover, then a round trip or two. */
const OUTAGE_MS = 450
const LOSSY = { loss: 0.1, duplication: 0.1, minDelayMs: 5, maxDelayMs: 120 }

function problems(deed: Deed, transport: 'udp' | 'tcp'): string[] {
  const found: string[] = []
  for (let left = 1; left <= MAX_DEEDS; left++) {
    for (const how of DEATHS) {
      const cluster = new SimulatedCluster({ seed: left, transport })
      cluster.runFor(1_000)
      cluster.doom = { left, how }
      deed(cluster)
      cluster.runFor(800, () => cluster.gateway === undefined)
      if (cluster.gateway !== undefined) cluster.crash()
      cluster.runFor(OUTAGE_MS)
      let problem: string | undefined
      for (let count = 0; count < 100 && problem === undefined; count++) {
        if (!cluster.carries) problem = `no traffic passes ${count * 20} ms after the takeover`
        cluster.runFor(20)
      }
      problem ??= cluster.settle()
      if (problem !== undefined) found.push(`${how} deed ${left}: ${problem}`)
    }
  }
  return found
}

describe.each(['udp', 'tcp'] as const)('a cluster that fails over on %s in the middle of', (transport) => {
  it.each(Object.entries(DEEDS))('%s keeps the session', (_, deed) => {
    expect(problems(deed, transport)).toEqual([])
  })
})

describe('a cluster whose nodes die again and again', () => {
  function problemOf(seed: number, transport: 'udp' | 'tcp'): string[] {
    const cluster = new SimulatedCluster({ seed, transport, quality: LOSSY })
    const { random } = cluster
    const deeds = Object.values(DEEDS)
    for (let count = 0; count < 25; count++) {
      cluster.tellsCounters = random.integer(2) === 0
      if (random.integer(3) === 0) {
        const how = DEATHS[random.integer(DEATHS.length)] ?? 'after'
        cluster.doom = { left: 1 + random.integer(5), how }
      }
      deeds[random.integer(deeds.length)]?.(cluster)
      cluster.runFor(random.fraction() * 1500)
      const problem = cluster.disagreement()
      if (problem !== undefined) return [`seed ${seed}: ${problem}`]
    }
    const problem = cluster.settle()
    return problem === undefined ? [] : [`seed ${seed}: ${problem}`]
  }

  it.each(['udp', 'tcp'] as const)('keeps every session on %s', (transport) => {
    const seeds = Array.from({ length: 60 }, (_, index) => index + 1)
    expect(seeds.flatMap((seed) => problemOf(seed, transport))).toEqual([])
  })
})
