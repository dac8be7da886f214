import { setImmediate as turn } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { TunSide } from '../../../src/dataplane/tun-side.ts'
import { WARM_UP_PACKETS, warmUp } from '../../../src/dataplane/warm-up.ts'
import { Coalescer } from '../../../src/tun/coalescing.ts'

test('packets of our own go all the way through a data plane, in small pieces, once', async () => {
  const delivered = vi.spyOn(Coalescer.prototype, 'push')
  const stopped = vi.spyOn(TunSide.prototype, 'stop')
  warmUp()
  expect(delivered).not.toHaveBeenCalled()
  await turn()
  expect(delivered.mock.calls.length).toBeLessThan(WARM_UP_PACKETS / 10)
  while (stopped.mock.calls.length === 0) await turn()
  expect(delivered).toHaveBeenCalledTimes(WARM_UP_PACKETS)
  warmUp()
  await turn()
  expect(delivered).toHaveBeenCalledTimes(WARM_UP_PACKETS)
  vi.restoreAllMocks()
})
