import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReplayVerdict, ReplayWindow } from '../../../src/esp/replay-window.ts'

/** The obvious way: remember every number, and choose the high half that gives the number nearest to the window's rule. */
class NaiveWindow {
  readonly #seen = new Set<bigint>()
  readonly #size: bigint
  readonly #esn: boolean
  #top = 0n

  constructor(size: number, esn: boolean) {
    this.#size = BigInt(size)
    this.#esn = esn
  }

  /** RFC 4303 appendix A2: of the numbers with this low half, the least one that is not left of the window. */
  infer(low: number): bigint {
    if (!this.#esn) return BigInt(low)
    const bottom = this.#top - this.#size + 1n
    let high = (this.#top >> 32n) - 1n
    while ((high << 32n) + BigInt(low) < bottom) high++
    return (high << 32n) + BigInt(low)
  }

  receive(low: number): boolean {
    const number = this.infer(low)
    if (number <= 0n || number >> 64n > 0n) return false
    if (number <= this.#top - this.#size || this.#seen.has(number)) return false
    this.#seen.add(number)
    if (number > this.#top) this.#top = number
    return true
  }

  /** As if a packet with this number had come. */
  jump(number: bigint): void {
    this.#seen.add(number)
    if (number > this.#top) this.#top = number
  }
}

function receive(window: ReplayWindow, low: number): boolean {
  const high = window.inferHigh(low)
  if (window.check(high, low) !== ReplayVerdict.fresh) return false
  window.update(high, low)
  return true
}

describe('replay window', () => {
  it('takes each number once, in whatever order, as long as it is inside the window', () => {
    const window = new ReplayWindow(64, false)
    expect([5, 3, 5, 70, 3, 7, 6, 71].map((low) => receive(window, low))).toEqual([
      true,
      true,
      false,
      true,
      false,
      true,
      false,
      true
    ])
    expect(window.check(0, 6)).toBe(ReplayVerdict.tooOld)
    expect(window.check(0, 7)).toBe(ReplayVerdict.tooOld)
    expect(window.check(0, 8)).toBe(ReplayVerdict.fresh)
    expect(window.check(0, 70)).toBe(ReplayVerdict.replay)
  })

  it('never takes the number zero, and never fewer than 64 numbers of window', () => {
    expect(receive(new ReplayWindow(1024, false), 0)).toBe(false)
    expect(receive(new ReplayWindow(1024, true), 0)).toBe(false)
    expect(new ReplayWindow(3, false).size).toBe(64)
  })

  it('passes the end of the low half with ESN, and stops there without', () => {
    const esn = new ReplayWindow(64, true)
    esn.advanceTo(0xffff_fffen)
    expect([0xffff_ffff, 0, 1, 0xffff_ffff, 0xffff_fff0].map((low) => receive(esn, low))).toEqual([
      true,
      true,
      true,
      false,
      false
    ])
    expect(esn.top).toBe(0x1_0000_0001n)
    const plain = new ReplayWindow(64, false)
    plain.advanceTo(0xffff_fffen)
    expect([0xffff_ffff, 0, 1].map((low) => receive(plain, low))).toEqual([true, false, false])
  })

  it('counts the left edge of a window that reaches into the subspace before as part of it', () => {
    const window = new ReplayWindow(64, true)
    window.advanceTo(0x1_0000_000an)
    const edge = 0x1_0000_0000 + 10 - 63
    expect([window.inferHigh(edge - 1), window.inferHigh(edge)]).toEqual([1, 0])
  })

  it('takes nothing behind the last number of all', () => {
    const window = new ReplayWindow(64, true)
    window.advanceTo(0xffff_ffff_ffff_fffen)
    expect([0xffff_ffff, 0, 5].map((low) => receive(window, low))).toEqual([true, false, false])
  })

  it('counts everything before a takeover as seen', () => {
    const window = new ReplayWindow(128, true)
    window.advanceTo(1000n)
    expect([1000, 950, 999, 1001, 1003, 1002].map((low) => receive(window, low))).toEqual([
      false,
      false,
      false,
      true,
      true,
      true
    ])
    window.advanceTo(500n)
    expect(window.top).toBe(1003n)
  })

  const sizes = fc.constantFrom(64, 65, 100, 128, 1000, 1024, 2048)
  /** Steps around the top: mostly near, sometimes far, often backwards. */
  const steps = fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: -80, max: 80 }) },
      { weight: 3, arbitrary: fc.integer({ min: -2100, max: 2100 }) },
      { weight: 1, arbitrary: fc.integer({ min: -5000, max: 100_000 }) }
    ),
    { maxLength: 300 }
  )
  const starts = fc.oneof(
    fc.constantFrom(
      0n,
      1n,
      62n,
      1023n,
      0xffff_ffc0n,
      0xffff_ffffn,
      0x1_0000_0000n,
      0x1_0000_0040n,
      0xffff_ffff_ffff_0000n
    ),
    fc.bigInt({ min: 0n, max: 0x5_0000_0000n })
  )

  it.each([true, false])('agrees with the naive twin (ESN %s)', (esn) => {
    fc.assert(
      fc.property(sizes, starts, steps, (size, start, moves) => {
        const window = new ReplayWindow(size, esn)
        const naive = new NaiveWindow(size, esn)
        let around = esn ? start : start & 0xffff_ffffn
        if (around > 0n) {
          window.advanceTo(around - 1n)
          // The twin has no shortcut: what a takeover counts as seen is put in one by one.
          for (let back = 0n; back < BigInt(size) && around - 1n - back > 0n; back++)
            naive.jump(around - 1n - back)
        }
        for (const move of moves) {
          around += BigInt(move)
          if (around < 0n) around = 0n
          const low = Number(around & 0xffff_ffffn)
          expect(receive(window, low)).toBe(naive.receive(low))
        }
      }),
      { numRuns: 400, seed: 4303 }
    )
  })
})
