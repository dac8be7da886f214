import { describe, expect, it } from 'vitest'
import { BlockedRate } from '../../../src/transport/blocked-rate.ts'
import { StreamGovernor } from '../../../src/transport/stream-governor.ts'
import { UnsentLimit } from '../../../src/transport/unsent-limit.ts'

const FAST = 131_072

/** A governed connection, and what was done to it. */
class Connection {
  nowMs = 1000
  readonly info = {
    read: () => this.alive,
    ...{ retransmits: 7, bytesUnsent: 5000 }
  }
  alive = true
  readonly controls: string[] = []
  readonly limits: number[] = []
  readonly governor: StreamGovernor

  constructor({ allowed = ['cubic', 'reno', 'bbr'], chooseControl = true, alive = true } = {}) {
    this.alive = alive
    const socket = {
      info: this.info,
      setUnsentBytes: (bytes: number) => void this.limits.push(bytes),
      setCongestionControl: (name: string) => allowed.includes(name) && this.controls.push(name) > 0
    }
    const now = () => this.nowMs
    this.governor = new StreamGovernor(socket, { unsentBytes: FAST, chooseControl, now })
  }

  /** Sends for a second, with so many retransmissions. */
  lose(retransmits: number): void {
    for (let step = 0; step < 10; step++) {
      this.nowMs += 100
      if (step === 5) this.info.retransmits += retransmits
      this.governor.took(1000)
    }
  }

  /** A line that is always behind, for so long. */
  backlog(bytesPerMs: number, forMs: number): void {
    for (let ms = 0; ms < forMs; ms += 5) {
      this.governor.took(bytesPerMs * 5)
      this.governor.blocked()
      this.nowMs += 5
      this.governor.writable()
    }
  }
}

describe('the congestion control of a governed stream', () => {
  it('is CUBIC at first, and BBR once a segment was lost', () => {
    const connection = new Connection()
    expect(connection.governor.congestionControl).toBe('cubic')
    connection.lose(0)
    expect(connection.controls).toEqual(['cubic'])
    connection.lose(1)
    connection.lose(50)
    expect(connection.controls).toEqual(['cubic', 'bbr'])
    expect(connection.governor.congestionControl).toBe('bbr')
  })

  it('is what the kernel allows', () => {
    const unprivileged = new Connection({ allowed: ['reno', 'bbr'] })
    expect(unprivileged.governor.congestionControl).toBe('reno')
    unprivileged.lose(9)
    expect(unprivileged.governor.congestionControl).toBe('bbr')
    const refused = new Connection({ allowed: [] })
    refused.lose(9)
    expect(refused.governor.congestionControl).toBeUndefined()
  })

  it('is left alone where it was chosen, or where the kernel tells nothing', () => {
    for (const options of [{ chooseControl: false }, { alive: false }]) {
      const connection = new Connection(options)
      connection.lose(9)
      expect(connection.controls).toEqual([])
      expect(connection.governor.congestionControl).toBeUndefined()
    }
  })
})

describe('what may lie unsent in a governed stream', () => {
  it('is not touched on a fast line, nor is what it is given at once', () => {
    const connection = new Connection()
    connection.backlog(100_000, 2000)
    expect(connection.limits).toEqual([])
    expect(connection.governor.budget).toBe(Number.POSITIVE_INFINITY)
  })

  it('comes down to 10 ms of what a slow line takes, given in halves', () => {
    const connection = new Connection()
    connection.backlog(2500, 2000)
    const { unsentBytes = 0, budget } = connection.governor
    expect(connection.limits.at(-1)).toBe(unsentBytes)
    expect(unsentBytes).toBeGreaterThan(20_000)
    expect(unsentBytes).toBeLessThan(32_000)
    expect(budget).toBe(Math.ceil(unsentBytes / 2))
    expect(connection.governor.took(budget - 1)).toBe(false)
    expect(connection.governor.took(1)).toBe(true)
  })

  it('is always a whole number, and so is what the stream is given', () => {
    for (let rate = 1601; rate < 9000; rate += 37) {
      const connection = new Connection()
      connection.backlog(rate, 1000)
      expect(Number.isInteger(connection.governor.budget)).toBe(true)
      expect(connection.limits.every((bytes) => Number.isInteger(bytes))).toBe(true)
    }
  })

  it('grows where the stream ran dry', () => {
    const connection = new Connection()
    connection.backlog(2500, 2000)
    connection.info.bytesUnsent = 0
    connection.backlog(2500, 1000)
    expect(Math.max(...connection.limits.slice(-5))).toBe(FAST)
  })
})

describe('a limit for what is unsent', () => {
  it('stays within its bounds, however slow or fast the line is', () => {
    const limit = new UnsentLimit(FAST)
    for (let round = 0; round < 30; round++) limit.adapt(0.1, false)
    expect(limit.bytes).toBeGreaterThanOrEqual(16_384)
    expect(limit.bytes).toBeLessThan(20_500)
    for (let round = 0; round < 30; round++) limit.adapt(1e6, false)
    expect(limit.bytes).toBe(FAST)
    expect(limit.inForce).toBe(false)
  })

  it('says when there is nothing to tell the kernel', () => {
    const limit = new UnsentLimit(FAST)
    expect(limit.adapt(1e6, false)).toBe(false)
    for (let round = 0; round < 20; round++) limit.adapt(5000, false)
    expect(limit.adapt(5100, false)).toBe(false)
  })
})

describe('the rate of what is blocked now and then', () => {
  it('is that of the time in which more was there than was taken', () => {
    const rate = new BlockedRate()
    expect(rate.bytesPerMs).toBeUndefined()
    rate.blocked(10_000, 500)
    rate.writable(10_030, 500)
    rate.blocked(10_031, 3500)
    expect(rate.bytesPerMs).toBeUndefined()
    expect(rate.writable(10_060, 3500)).toBe(true)
    expect(rate.bytesPerMs).toBe(50)
  })

  it('does not count a pause before', () => {
    const rate = new BlockedRate()
    rate.blocked(0, 0)
    rate.writable(60, 6000)
    rate.blocked(60_000, 7000)
    rate.writable(60_100, 17_000)
    expect(rate.bytesPerMs).toBe(100)
  })
})
