import { describe, expect, it } from 'vitest'
import { decodeEspSnapshots, type EspSnapshot, encodeEspSnapshots } from '../../../src/esp/snapshot.ts'
import { ALL_SUITES, saParameters } from '../../support/esp-parameters.ts'

function snapshot(ids: (typeof ALL_SUITES)[number][1]): EspSnapshot {
  const half = (spi: number) => ({ ...saParameters(ids, { spi }), sequence: 5n })
  return { inbound: half(1), outbound: half(2) }
}

describe('a snapshot of Child SAs', () => {
  it.each(ALL_SUITES)('is the same after a journey as bytes: %s', (_name, ids) => {
    const decoded = decodeEspSnapshots(encodeEspSnapshots([snapshot(ids)]))
    expect(decoded).toEqual({ ok: true, value: [snapshot(ids)] })
  })

  it('is refused with keys that do not fit, or a suite that does not exist: nothing could be done with it', () => {
    for (const [, ids] of ALL_SUITES) {
      const { inbound, outbound } = snapshot(ids)
      for (const wrong of [
        { encryptionKey: new Uint8Array(5) },
        { integrityKey: new Uint8Array(7) },
        { encryptionId: 3 },
        { encryptionKeyBits: 77 }
      ])
        expect(
          decodeEspSnapshots(encodeEspSnapshots([{ inbound: { ...inbound, ...wrong }, outbound }])).ok
        ).toBe(false)
    }
  })
})
