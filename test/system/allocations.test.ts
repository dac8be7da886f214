/** Nothing is allocated for a packet, but for what V8 makes of the addresses that go to C. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, test } from 'vitest'

const COUNT = fileURLToPath(new URL('../support/allocations.mjs', import.meta.url))
const ONE_COMPILER = ['--single-threaded', '--expose-gc']
const NO_COLLECTIONS = ['--min-semi-space-size=64', '--max-semi-space-size=64']

/** An address is beyond V8's small integers: as an argument of a C function it is a number on the heap. */
const ADDRESS = 16
/**
 * What nobody can tell apart from what V8 does for itself: a number that it keeps on the heap because code was not optimised
 * again. A view of a buffer has 100 bytes and more, a closure 64, the smallest object of use 32.
 */
const MARGIN = 31

/** Bytes of heap for each packet. */
const BOUNDS: readonly (readonly [part: string, bytes: number])[] = [
  ['encrypt', 4 * ADDRESS],
  ['decrypt', 3 * ADDRESS],
  ['pumpOut', 4 * ADDRESS],
  ['pumpIn', 3 * ADDRESS],
  ['frameOut', 0],
  ['frameIn', 0],
  ['tlsOut', 8],
  ['tlsIn', 8],
  ['relayToServer', 0],
  ['relayToClient', 0]
]

describe('the data path', () => {
  let counted: Readonly<Record<string, number>>

  beforeAll(async () => {
    const argv = [...ONE_COMPILER, ...NO_COLLECTIONS, COUNT]
    const { stdout } = await promisify(execFile)(process.execPath, argv)
    counted = JSON.parse(stdout) as Readonly<Record<string, number>>
  })

  test.each(BOUNDS)('allocates no object for a packet: %s', (part, bytes) => {
    expect(counted[part], JSON.stringify(counted)).toBeGreaterThanOrEqual(0)
    expect(counted[part], JSON.stringify(counted)).toBeLessThanOrEqual(bytes + MARGIN)
  })

  test('is counted in all its parts', () => {
    expect(Object.keys(counted)).toEqual(BOUNDS.map(([part]) => part))
  })
})
