import { afterEach, describe, expect, it } from 'vitest'
import { switchedOff } from '../../../src/native/speedups.ts'

const NAME = 'IKESTREAM_NO_UDP_SEGMENTATION'
afterEach(() => {
  delete process.env[NAME]
})

describe('a part of the data path', () => {
  it('is used unless its variable says otherwise', () => {
    expect(switchedOff('udp-segmentation')).toBeUndefined()
    for (const value of ['', '0']) {
      process.env[NAME] = value
      expect(switchedOff('udp-segmentation')).toBeUndefined()
    }
  })

  it('is switched off by its variable, which is named as the reason', () => {
    process.env[NAME] = '1'
    expect(switchedOff('udp-segmentation')).toBe(`switched off by ${NAME}`)
    expect(switchedOff('udp-coalescing')).toBeUndefined()
  })
})
