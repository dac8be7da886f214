import { describe, expect, it } from 'vitest'
import { PathSize } from '../../../src/client/path-size.ts'
import { addressToBytes } from '../../../src/wire/address.ts'
import { ProbeAnswer } from '../../../src/wire/probe-packets.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const bytes = (text: string): Uint8Array => addressToBytes(text) ?? new Uint8Array(0)
const ROUTE = { source: bytes('10.99.0.2'), destination: bytes('10.99.0.1') }
const ROUTE6 = { source: bytes('fd00:99::2'), destination: bytes('fd00:99::1') }
const identifierOf = (packet: Uint8Array): number => {
  const at = (packet[0] ?? 0) >>> 4 === 4 ? 24 : 44
  return ((packet[at] ?? 0) << 8) | (packet[at + 1] ?? 0)
}

/** A tunnel in which what is longer than `fits` vanishes, and the rest is answered after so many ticks. */
function site(
  limit: number,
  fits: number,
  { delayTicks = 0, route = ROUTE, lose = (): boolean => false } = {}
) {
  const size = new PathSize(new SeededRandom(3))
  const results: number[] = []
  size.onResult = (lengthBytes) => results.push(lengthBytes)
  const sent: number[] = []
  const onTheWay: { atTick: number; packet: Uint8Array }[] = []
  size.begin(limit)
  const run = (ticks: number): void => {
    for (let tick = 0; tick < ticks; tick++) {
      for (const packet of size.tick(route)) {
        sent.push(packet.length)
        if (packet.length <= fits && !lose()) onTheWay.push({ atTick: tick + delayTicks, packet })
      }
      for (const { atTick, packet } of onTheWay.splice(0)) {
        if (atTick > tick) onTheWay.push({ atTick, packet })
        else size.answered(ProbeAnswer.ECHO | identifierOf(packet))
      }
    }
  }
  return { size, results, sent, run }
}

describe('how long a packet may be', () => {
  it('costs two packets where everything passes', () => {
    const { size, results, sent, run } = site(1400, 1500)
    expect(size.caution).toBe(1280)
    run(50)
    expect(results).toEqual([1400])
    expect(sent).toEqual([1400, 64])
    expect([size.isAsking, size.caution]).toEqual([false, undefined])
  })

  it.each([
    [1399, 1380],
    [1340, 1340],
    [1318, 1300],
    [1250, 1240],
    [600, 576]
  ])('finds what passes where %i bytes do', (fits, found) => {
    const { results, run } = site(1400, fits)
    run(50)
    expect(results).toEqual([found])
  })

  it('is not hurried by a long way, and believes an answer that comes late', () => {
    const far = site(1400, 1500, { delayTicks: 8 })
    far.run(60)
    expect(far.results).toEqual([1400])
    const short = site(1400, 1320, { delayTicks: 8 })
    short.run(60)
    expect(short.results).toEqual([1320])
    const satellite = site(1400, 1320, { delayTicks: 20 })
    satellite.run(100)
    expect(satellite.results).toEqual([1320])
  })

  it('asks over IPv6 with packets of the same lengths', () => {
    const { results, sent, run } = site(1400, 1300, { route: ROUTE6 })
    run(50)
    expect(sent[0]).toBe(1400)
    expect(results).toEqual([1300])
  })

  it('changes nothing where nobody answers, and then stops being cautious', () => {
    const { size, results, sent, run } = site(1400, 0)
    run(100)
    expect(results).toEqual([1400])
    // Two a round: there is no use in asking about every length.
    expect(sent).toHaveLength(20)
    expect(size.caution).toBeUndefined()
  })

  it('does not take a single loss for a limit', () => {
    let count = 0
    const { results, run } = site(1400, 1500, { lose: () => count++ === 0 })
    run(50)
    expect(results).toEqual([1400])
  })

  it('waits until there is somebody to ask, and asks nothing once it was told to end', () => {
    const size = new PathSize(new SeededRandom(3))
    size.begin(1400)
    expect(size.tick(undefined)).toEqual([])
    expect(size.tick(ROUTE)).toHaveLength(2)
    size.end()
    expect(size.tick(ROUTE)).toEqual([])
    expect(size.caution).toBeUndefined()
  })
})
