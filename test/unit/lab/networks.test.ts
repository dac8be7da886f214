import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { expectationsTable } from '../../../src/cli/lab/lab-report.ts'
import { compareCheck, compareClient, compareConnect } from '../../../src/lab/comparison.ts'
import { findLabNetwork, LAB_NETWORKS, type LabNetwork } from '../../../src/lab/networks.ts'
import type { SeenCheck, SeenConnect } from '../../../src/lab/trial.ts'

const PAGE = readFileSync(new URL('../../../docs/LAB.md', import.meta.url), 'utf8')
const SETTINGS = { seed: 1 }

function network(name: string): LabNetwork {
  const found = findLabNetwork(name)
  if (found === undefined) throw new Error(`no network ${name}`)
  return found
}

const CHECK: SeenCheck = {
  ...{ verdict: 'reachable', sentence: 'UDP works', exitCode: 0, over: 'udp', via: null, findings: [] },
  ...{ portal: 'open', portalUrl: null, pathMtu: 1500, rttMs: 1, elapsedMs: 200 }
}
const TRAFFIC = { pings: true, downloads: true, uploads: true, survivesIdle: null }
const CONNECT: SeenConnect = {
  ...{ over: 'udp', via: null, mtu: 1400, error: null, message: null },
  ...{ elapsedMs: 600, traffic: TRAFFIC, exitCode: 0 }
}

describe('the networks of the lab', () => {
  it('have names that can be typed, each once, and a sentence', () => {
    for (const { name, sentence } of LAB_NETWORKS) {
      expect(name).toMatch(/^[a-z0-9-]+$/)
      expect(sentence).toMatch(/^[A-Z].*\.$/)
    }
    expect(new Set(LAB_NETWORKS.map(({ name }) => name)).size).toBe(LAB_NETWORKS.length)
  })

  it('stand in docs/LAB.md with what is expected, as `ikestream lab list --markdown` prints them', () => {
    expect(PAGE).toContain(expectationsTable())
  })

  it('have a row each in the results of docs/LAB.md', () => {
    const results = PAGE.slice(PAGE.indexOf('## What ikestream makes of them'))
    for (const { name } of LAB_NETWORKS) expect(results).toContain(`| \`${name}\``)
  })
})

describe('what is seen', () => {
  it('is as expected where it is', () => {
    expect(compareCheck(network('open'), SETTINGS, CHECK)).toEqual([])
    expect(compareConnect(network('open'), CONNECT, 1)).toEqual([])
  })

  it('differs in the verdict, the findings, the portal, the path MTU and what no network can do', () => {
    const what = (name: string, seen: Partial<SeenCheck>, settings = {}): string[] =>
      compareCheck(network(name), { ...SETTINGS, ...settings }, { ...CHECK, ...seen }).map((one) => one.what)
    expect(what('open', { verdict: 'walled', exitCode: 69, over: null })).toEqual([
      'check: verdict',
      'check: exit code',
      'check: transport'
    ])
    expect(what('open', { findings: ['fragments-lost'] })).toEqual(['check: findings'])
    const portal = { verdict: 'captive-portal', exitCode: 80, over: null, portal: 'portal' }
    expect(what('captive-portal', portal)).toEqual(['check: portal address'])
    const findings = ['path-mtu-black-hole']
    expect(what('small-mtu', { findings, pathMtu: 1380 }, { mtu: 1400 })).toEqual(['check: path MTU'])
    expect(what('long-delay', { rttMs: 133 }, { delayMs: 300 })).toEqual(['check: round trip'])
  })

  it('differs in the transport, in traffic, in the exit code and in time', () => {
    const what = (seen: Partial<SeenConnect>, slack = 1): string[] =>
      compareConnect(network('open'), { ...CONNECT, ...seen }, slack).map((one) => one.what)
    expect(what({ over: 'tcp' })).toEqual(['connect: transport'])
    expect(what({ traffic: { ...TRAFFIC, downloads: false } })).toEqual(['connect: download'])
    expect(what({ traffic: { ...TRAFFIC, survivesIdle: false } })).toEqual(['connect: after a silence'])
    expect(what({ exitCode: 1 })).toEqual(['connect: exit code'])
    expect(what({ elapsedMs: 4000 })).toEqual(['connect: time'])
    expect(what({ elapsedMs: 4000 }, 2)).toEqual([])
  })

  it('is all about traffic for another client', () => {
    const seen = { exitCode: null, pings: true, downloads: true, elapsedMs: 1, said: '' }
    expect(compareClient(network('open'), seen)).toEqual([])
    expect(compareClient(network('open'), { ...seen, downloads: false })).toMatchObject([
      { seen: 'pings pass, a download does not' }
    ])
    expect(compareClient(network('captive-portal'), seen)).toMatchObject([{ expected: 'no tunnel' }])
  })
})
