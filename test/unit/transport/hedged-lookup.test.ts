import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { HEDGE_AFTER_MS, hedgedLookup, type Lookup } from '../../../src/transport/hedged-lookup.ts'

const FOUND = [{ address: '198.18.0.1', family: 4 }]
const OTHER = [{ address: '198.18.0.2', family: 4 }]

type Answer = Awaited<ReturnType<Lookup>>

const later = (delayMs: number, result: Answer | Error): Promise<Answer> =>
  new Promise((resolve, reject) =>
    setTimeout(() => (result instanceof Error ? reject(result) : resolve(result)), delayMs)
  )

describe('a lookup that does not wait for the C library to ask again', () => {
  let asked = 0
  let cancelled = 0
  beforeEach(() => {
    asked = cancelled = 0
    vi.useFakeTimers()
  })
  afterEach(() => void vi.useRealTimers())

  function look(system: ReturnType<Lookup>, answer: () => ReturnType<Lookup>): ReturnType<Lookup> {
    const directly = () => {
      asked++
      return { answer: answer(), cancel: () => void cancelled++ }
    }
    const result = hedgedLookup(() => system, directly)('vpn.example.com')
    result.catch(() => undefined)
    return result
  }

  it('asks nobody else where the system answers in time', async () => {
    const result = look(later(HEDGE_AFTER_MS - 1, FOUND), () => later(0, OTHER))
    await vi.advanceTimersByTimeAsync(10_000)
    expect(await result).toBe(FOUND)
    expect(asked).toBe(0)
  })

  it('takes what the name servers say where the system is slow', async () => {
    const result = look(later(5000, FOUND), () => later(20, OTHER))
    await vi.advanceTimersByTimeAsync(HEDGE_AFTER_MS + 20)
    expect(await result).toBe(OTHER)
  })

  it('leaves it to the system to say that there is no such name', async () => {
    const missing = new Error('ENOTFOUND')
    const result = look(later(5000, missing), () => later(20, []))
    await vi.advanceTimersByTimeAsync(5000)
    await expect(result).rejects.toBe(missing)
    const known = look(later(5000, FOUND), () => later(20, new Error('ETIMEOUT')))
    await vi.advanceTimersByTimeAsync(5000)
    expect(await known).toBe(FOUND)
    expect(cancelled).toBe(2)
  })
})
