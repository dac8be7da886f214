import { describe, expect, it } from 'vitest'
import { parseConditions } from '../../../../src/host/link/conditions.ts'
import { chooseEngine } from '../../../../src/host/link/lab-link.ts'
import { NetemLink, netemArguments } from '../../../../src/host/link/netem.ts'

describe('conditions of a link', () => {
  it('are taken as they are when they are possible', () => {
    const conditions = {
      delayMs: 10,
      loss: 0.01,
      burstLoss: { enter: 0.1, leave: 0.5 },
      jitterReorders: true
    }
    expect(parseConditions(conditions)).toEqual(conditions)
    expect(parseConditions({})).toEqual({})
  })

  it.each([
    [null, /must be an object/],
    [[1], /must be an object/],
    [{ delay: 5 }, /no condition "delay"/],
    [{ loss: 1.5 }, /"loss" .* from 0 to 1/],
    [{ loss: '1' }, /"loss"/],
    [{ delayMs: -1 }, /"delayMs" .* 0 or more/],
    [{ delayMs: Number.NaN }, /"delayMs"/],
    [{ rateBitsPerSecond: 0 }, /"rateBitsPerSecond" .* more than 0/],
    [{ jitterReorders: 1 }, /true or false/],
    [{ burstLoss: { enter: 0.1 } }, /"burstLoss.leave" .* a number/],
    [{ burstLoss: { enter: 0.1, leave: 2 } }, /"burstLoss.leave" .* from 0 to 1/]
  ])('are refused by name when they are not: %j', (value, message) => {
    expect(() => parseConditions(value)).toThrow(message)
  })
})

describe('the kernel’s netem', () => {
  it('is used only if it was asked for, and never silently replaced', () => {
    expect(chooseEngine('auto', true)).toBe('user-space')
    expect(chooseEngine('user-space', true)).toBe('user-space')
    expect(chooseEngine('netem', true)).toBe('netem')
    expect(() => chooseEngine('netem', false)).toThrow('This kernel has no netem')
  })

  it.each([
    [{}, 'limit 1000000'],
    [{ delayMs: 25, jitterMs: 2.5 }, 'limit 1000000 delay 25ms 2.5ms'],
    [{ loss: 0.003 }, 'limit 1000000 loss random 0.3%'],
    [{ burstLoss: { enter: 0.01, leave: 0.25 } }, 'limit 1000000 loss gemodel 1% 25% 100% 0%'],
    [{ loss: 1, burstLoss: { enter: 0.01, leave: 0.25 } }, 'limit 1000000 loss random 100%'],
    [
      { delayMs: 10, reorder: 0.1, duplicate: 0.02, corrupt: 0.001 },
      'limit 1000000 delay 10ms reorder 10% duplicate 2% corrupt 0.1%'
    ],
    // 150 kB are 100 packets, and 50 Mbit/s of 1500-byte packets for 24 ms another 100.
    [{ rateBitsPerSecond: 50e6, queueBytes: 150_000, delayMs: 24 }, 'limit 200 delay 24ms rate 50000000bit'],
    [{ rateBitsPerSecond: 50e6, queuePackets: 30 }, 'limit 30 rate 50000000bit']
  ])('is told %j in its own words', (conditions, words) => {
    expect(netemArguments(conditions).join(' ')).toBe(words)
  })

  it('gets each direction at the cable’s end where it begins, and a black hole without losing what it was told', async () => {
    const lines: string[] = []
    const end = (name: string) => ({
      device: name,
      namespace: {
        run: async (argv: readonly string[]) => {
          lines.push(argv.join(' '))
          return { argv, exitCode: 0, stdout: '', stderr: '' }
        }
      }
    })
    const link = new NetemLink(end('a0'), end('b0'))
    await link.setConditions({ delayMs: 10 }, { delayMs: 30, loss: 0.02 })
    await link.setDown(true)
    await link.setDown(false)
    const netem = (device: string, words: string) =>
      `tc qdisc replace dev ${device} root netem limit 1000000 ${words}`
    const normal = [netem('a0', 'delay 10ms'), netem('b0', 'delay 30ms loss random 2%')]
    expect(lines.filter((line) => line.startsWith('tc'))).toEqual([
      ...normal,
      netem('a0', 'delay 10ms loss random 100%'),
      netem('b0', 'delay 30ms loss random 100%'),
      ...normal
    ])
    expect(lines).toContain('ip link set dev a0 gso_max_segs 1')
  })
})
