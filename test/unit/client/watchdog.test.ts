import { describe, expect, it } from 'vitest'
import { DEFAULT_SESSION_TIMINGS } from '../../../src/client/options.ts'
import { Watchdog } from '../../../src/client/watchdog.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const TIMINGS = DEFAULT_SESSION_TIMINGS

function setUp() {
  const clock = new VirtualClock()
  const counters = {
    ...{ espPacketsIn: 0, espPacketsHere: 0, espPacketsOut: 0, expectingOut: 0, trafficOut: 0 },
    ...{ witness: 'none' as const, blocked: false }
  }
  const said: string[] = []
  const probes: string[] = []
  const watchdog = new Watchdog(clock, TIMINGS, () => ({ ...counters }), {
    onTraffic: ({ received, sent }) => {
      said.push(`traffic${received ? ' in' : ''}${sent ? ' out' : ''}`)
    },
    onAsk: () => {
      said.push('ask')
    },
    onProbe: (isFirst) => {
      probes.push(`${isFirst ? 'first' : 'next'} ${clock.now()}`)
    },
    onCarried: () => {
      said.push('traffic here')
    },
    onVerdict: (verdict) => {
      said.push(verdict)
    },
    onRevived: () => {
      said.push('revived')
    },
    onPathConfirmed: (outageMs) => {
      said.push(`confirmed ${outageMs}`)
    }
  })
  const send = (packets = 1): void => {
    counters.espPacketsOut += packets
    counters.expectingOut += packets
    counters.trafficOut += packets
  }
  const receive = (packets = 1): void => {
    counters.espPacketsIn += packets
    counters.espPacketsHere += packets
  }
  /** What was said but that traffic flows. */
  const verdicts = () => said.filter((line) => !line.startsWith('traffic'))
  return { clock, counters, probes, said, verdicts, watchdog, send, receive }
}

describe('watchdog', () => {
  it('tells the engine of traffic in each direction, and of none when there was none', async () => {
    const { clock, said, watchdog, send, receive, counters } = setUp()
    watchdog.start()
    await clock.advance(100)
    send()
    await clock.advance(100)
    receive()
    await clock.advance(100)
    counters.espPacketsOut++
    receive()
    await clock.advance(100)
    expect(said.filter((line) => line !== 'traffic here')).toEqual([
      'traffic out',
      'traffic in',
      'traffic in out'
    ])
  })

  it('asks when a conversation breaks off, then calls the peer silent', async () => {
    const { clock, verdicts, watchdog, send, receive } = setUp()
    watchdog.start()
    for (let round = 0; round < 10; round++) {
      send()
      receive()
      await clock.advance(100)
    }
    expect(verdicts()).toEqual([])
    send(3)
    await clock.advance(600)
    expect(verdicts()).toEqual(['ask'])
    await clock.advance(700)
    expect(verdicts()).toEqual(['ask', 'peer-silent'])
  })

  it('calls ESP silent when the peer answers the question but sends no ESP', async () => {
    const { clock, verdicts, watchdog, send } = setUp()
    watchdog.start()
    send(3)
    await clock.until(() => verdicts().includes('ask'), 5000)
    watchdog.judge.livenessAnswered()
    await clock.until(() => verdicts().length > 1, 5000)
    expect(verdicts()).toEqual(['ask', 'esp-silent'])
  })

  it('is content with traffic of which nothing needs an answer', async () => {
    const { clock, verdicts, watchdog, counters } = setUp()
    watchdog.start()
    for (let round = 0; round < 100; round++) {
      counters.espPacketsOut += 10
      await clock.advance(100)
    }
    expect(verdicts()).toEqual([])
  })

  it('waits twice as long after each wrong verdict', async () => {
    const { clock, verdicts, watchdog, send, said } = setUp()
    const asks: number[] = []
    for (let round = 0; round < 3; round++) {
      said.length = 0
      send(3)
      watchdog.start()
      const since = clock.now()
      await clock.until(() => verdicts().includes('ask'), 60_000)
      asks.push(clock.now() - since)
      watchdog.judge.wasWrong()
      watchdog.stop()
    }
    const [first = 0, second = 0, third = 0] = asks
    expect(second).toBeGreaterThan(first * 1.5)
    expect(third).toBeGreaterThan(second * 1.5)
  })

  it('measures the outage of a move from the first packet that was missed', async () => {
    const { clock, verdicts, watchdog, send, receive } = setUp()
    watchdog.start()
    await clock.advance(100)
    send(3)
    await clock.until(() => verdicts().includes('peer-silent'), 5000)
    watchdog.pathChanged(false)
    await clock.advance(150)
    receive()
    await clock.advance(100)
    expect(verdicts().at(-1)).toMatch(/^confirmed 1[0-9]{3}$/)
  })

  it('calls a change over when the tunnel is idle, without an outage', async () => {
    const { clock, verdicts, watchdog } = setUp()
    watchdog.pathLost()
    await clock.advance(300)
    watchdog.pathChanged(false)
    watchdog.start()
    await clock.advance(1100)
    expect(verdicts()).toEqual(['confirmed 0'])
    await clock.advance(60_000)
    expect(verdicts()).toHaveLength(1)
  })

  it('does not count an idle hour into the next outage', async () => {
    const { clock, verdicts, watchdog, receive } = setUp()
    watchdog.pathLost()
    watchdog.pathChanged(false)
    watchdog.start()
    await clock.advance(3_600_000)
    watchdog.pathLost()
    await clock.advance(200)
    watchdog.pathChanged(false)
    receive()
    await clock.advance(100)
    expect(verdicts()).toEqual(['confirmed 0', expect.stringMatching(/^confirmed [23]00$/)])
  })

  it('has one timer while it runs and none afterwards', async () => {
    const { clock, watchdog } = setUp()
    watchdog.start()
    watchdog.start()
    await clock.advance(1000)
    expect(clock.armed).toBe(1)
    watchdog.stop()
    expect(clock.armed).toBe(0)
  })
})
