import { describe, expect, test } from 'vitest'
import { summary } from '../../../bench/compare/memory-summary.mjs'
import { drawPicture } from '../../../bench/compare/picture.mjs'
import { descendants, parseStat } from '../../../bench/compare/process-tree.mjs'
import { bestPeer, figure, METRICS, ratioOf } from '../../../bench/compare/results.mjs'
import { medianOf, quantileOf, ratio, slope } from '../../../bench/compare/statistics.mjs'
import { formatTable, resultTables } from '../../../bench/compare/tables.mjs'
import { judgeTargets } from '../../../bench/compare/targets.mjs'
import { parsePingTimes, udpRates } from '../../../bench/compare/tool-output.mjs'

/** One round of a program that moves `gbit` in every run, at `cpuSeconds` a run of 1 GB. */
function round(gbit: number, cpuSeconds = 1) {
  const run = {
    bitsPerSecond: gbit * 1e9,
    bytes: 1e9,
    retransmits: 0,
    cpuSeconds: { client: cpuSeconds, gateway: 2 * cpuSeconds }
  }
  const rates = { packetsPerSecond: gbit * 1e4, sentPerSecond: 1e6, lossPercent: 0 }
  return {
    firstPacketMs: [100, 200],
    idleUs: [100, 200, 300],
    tcp: {
      up1: run,
      down1: run,
      up4: { ...run, loadedUs: [1000, 2000] },
      down4: { ...run, loadedUs: [5000, 6000] }
    },
    udp: { up64: rates, down64: rates, up1300: rates, down1300: rates },
    memory: { client: 100e6, gateway: 90e6 },
    loadAverage: 0
  }
}

function program(name: string, rounds: readonly unknown[]) {
  return { name, label: name, own: name.startsWith('ikestream'), version: '1', rounds }
}

describe('statistics', () => {
  test('what is not a number is left out', () => {
    expect(medianOf([3, undefined, 1, Number.NaN, 2])).toBe(2)
    expect(medianOf([undefined])).toBeUndefined()
    expect(quantileOf([1, 2, 3, 4, 5], 1)).toBe(5)
  })

  test('a ratio needs both sides', () => {
    expect(ratio(6, 3)).toBe(2)
    expect(ratio(6, undefined)).toBeUndefined()
    expect(ratio(6, 0)).toBeUndefined()
  })

  test('the slope of a line is found, and of one point there is none', () => {
    const points = [0, 1, 2, 3].map((x) => ({ x, y: 7 + 3 * x }))
    expect(slope(points)).toBeCloseTo(3)
    expect(slope([{ x: 1, y: 1 }])).toBeUndefined()
  })
})

describe('what tools print', () => {
  test('ping: every answer in microseconds', () => {
    const text =
      '64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.043 ms\n64 bytes: icmp_seq=2 time=12.5 ms\n'
    expect(parsePingTimes(`${text}rtt min/avg/max/mdev = 0.0/1/2/3 ms\n`)).toEqual([43, 12_500])
  })

  test('iperf3 over UDP: what arrived counts, not what iperf3 calls lost', () => {
    const report = {
      end: { sum_received: { bytes: 3600, seconds: 2 }, sum_sent: { packets: 400, seconds: 1 } }
    }
    expect(udpRates(report, 36)).toEqual({ packetsPerSecond: 50, sentPerSecond: 400, lossPercent: 75 })
  })

  test('/proc/PID/stat: names may hold spaces and parentheses', () => {
    const fields = ['S', '7', ...Array.from({ length: 9 }, () => '0'), '11', '12', '13', '14', '0']
    expect(parseStat(`42 (a) (b) ${fields.join(' ')}\n`)).toEqual({ pid: 42, parent: 7, ticks: 50 })
    expect(parseStat('')).toBeUndefined()
  })

  test('a process tree holds every descendant once', () => {
    const parents: readonly (readonly [number, number])[] = [
      [1, 0],
      [2, 1],
      [3, 2],
      [4, 1],
      [9, 8]
    ]
    const table = new Map(parents.map(([pid, parent]) => [pid, { pid, parent }]))
    expect(descendants([1, 2], table).sort()).toEqual([1, 2, 3, 4])
  })
})

describe('results', () => {
  test('a ratio is the median of the ratios in each round, and a failed round is left out', () => {
    const own = program('ikestream-udp', [round(2), round(20), round(3)])
    const other = program('other', [round(1), round(10), null])
    expect(ratioOf(own, other, METRICS.throughput)).toBeCloseTo(2)
    expect(figure(other, METRICS.up1)).toBe(5.5e9)
  })

  test('CPU time counts over all runs of a round, and the worse direction counts for round trips', () => {
    const result = program('x', [round(1, 3)])
    expect(figure(result, METRICS.clientCpu)).toBeCloseTo(3)
    expect(figure(result, METRICS.gatewayCpu)).toBeCloseTo(6)
    expect(figure(result, METRICS.loadedMedian)).toBe(5500)
  })

  test('the best peer is neither the link nor ourselves', () => {
    const results = [
      program('link', [round(50)]),
      program('ikestream-udp', [round(9)]),
      program('slow', [round(1, 1)]),
      program('fast', [round(4, 2)])
    ]
    expect(bestPeer(results, METRICS.throughput)?.name).toBe('fast')
    expect(bestPeer(results, METRICS.clientCpu)?.name).toBe('slow')
  })

  test('targets say whether they are reached, and whether there was anything to compare with', () => {
    const judged = judgeTargets([
      program('link', [round(50)]),
      program('ikestream-udp', [round(4, 1)]),
      program('ikestream-tcp', [round(3)]),
      program('wireguard-go', [round(2, 2)])
    ])
    const reached = (what: string) => judged.find((target) => target.what.startsWith(what))?.reached
    expect(reached('UDP throughput')).toBe(true)
    expect(reached('CPU-seconds')).toBe(true)
    expect(reached('TCP encapsulation against our own UDP')).toBe(false)
    expect(reached('TCP encapsulation against OpenVPN')).toBeUndefined()
  })

  test('tables and picture show what was measured and leave room for what was not', () => {
    const results = [
      program('link', [round(50)]),
      program('ikestream-udp', [round(4)]),
      program('dead', [undefined])
    ]
    const [first] = resultTables(results)
    expect(first && formatTable(first)).toContain('| ikestream-udp |      4.00 |')
    expect(first?.rows.find(([name]) => name === 'dead')?.slice(1)).toEqual(['-', '-', '-', '-', '-', '-'])
    const machine = { time: '2026-01-01T00:00:00Z', cpus: 2, cpu: 'a < b', kernel: '6' }
    const picture = drawPicture({ results, machine, seconds: 1 })
    expect(picture).toContain('a &lt; b')
    expect(picture).not.toMatch(/NaN|undefined/)
  })

  test('memory: growth counts from the first gigabyte on', () => {
    const samples = [0, 1, 2, 3].map((gb) => ({ moved: gb * 1e9, rss: gb === 0 ? 50e6 : 100e6 }))
    expect(summary(samples, 110e6).growthBytesPerGb).toBeCloseTo(0)
    expect(summary(samples, 110e6).summary).toContain('50 MB when connected, 100 MB after 1 GB')
  })
})
