import { describe, expect, it } from 'vitest'
import { GatewayAddresses } from '../../../src/client/gateway-addresses.ts'
import { ResolveError } from '../../../src/errors.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function setUp() {
  const clock = new VirtualClock()
  const state = { answer: async (_: AbortSignal): Promise<readonly string[]> => ['a'], lookups: 0 }
  const addresses = new GatewayAddresses((signal) => {
    state.lookups++
    return state.answer(signal)
  }, clock)
  return { clock, state, addresses, signal: new AbortController().signal }
}

/** A name server that says nothing. */
const silence = (signal: AbortSignal): Promise<readonly string[]> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('given up'))))

describe("the gateway's addresses", () => {
  it('are an error as long as none is known', async () => {
    const { state, addresses, signal } = setUp()
    state.answer = () => Promise.reject(new ResolveError('name-not-found', 'No such name.'))
    await expect(addresses.find(signal)).rejects.toBeInstanceOf(ResolveError)
    expect(addresses.known).toEqual([])
  })

  it('are not looked up twice in quick succession', async () => {
    const { clock, state, addresses, signal } = setUp()
    await addresses.find(signal)
    await addresses.find(signal)
    expect(state.lookups).toBe(1)
    await clock.advance(6000)
    await addresses.find(signal)
    expect(state.lookups).toBe(2)
  })

  it('stay known when a later lookup fails', async () => {
    const { clock, state, addresses, signal } = setUp()
    await addresses.find(signal)
    await clock.advance(6000)
    state.answer = () => Promise.reject(new Error('no DNS'))
    expect(await addresses.find(signal)).toEqual(['a'])
    expect(clock.armed).toBe(0)
  })

  it('are not waited for when the name server is behind the dead tunnel', async () => {
    const { clock, state, addresses, signal } = setUp()
    await addresses.find(signal)
    await clock.advance(6000)
    state.answer = silence
    let found: readonly string[] | undefined
    void addresses.find(signal).then((result) => {
      found = result
    })
    expect(await clock.until(() => found !== undefined, 1000)).toBe(true)
    expect(found).toEqual(['a'])
  })

  it('become more: new ones first, what worked before last', async () => {
    const { clock, state, addresses, signal } = setUp()
    await addresses.find(signal)
    await clock.advance(6000)
    state.answer = async () => ['b', 'c']
    expect(await addresses.find(signal)).toEqual(['b', 'c', 'a'])
  })

  it('are not looked for any longer when nobody wants them', async () => {
    const { clock, state, addresses, signal } = setUp()
    await addresses.find(signal)
    await clock.advance(6000)
    state.answer = silence
    const abort = new AbortController()
    const finding = addresses.find(abort.signal)
    abort.abort(new Error('stopped'))
    await expect(finding).rejects.toThrow('stopped')
    expect(clock.armed).toBe(0)
  })
})
