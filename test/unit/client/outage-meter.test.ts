import { describe, expect, it } from 'vitest'
import { OutageMeter } from '../../../src/client/outage-meter.ts'

describe('outage meter', () => {
  it('measures from the first packet that was not answered to the first arrival after the change', () => {
    const meter = new OutageMeter()
    meter.sent(0)
    expect(meter.received(20)).toBeUndefined()
    meter.sent(100)
    meter.sent(150)
    meter.changed()
    expect(meter.received(400)).toBe(300)
  })

  it('measures from the break when that came before any packet was missed', () => {
    const meter = new OutageMeter()
    meter.lost(100)
    meter.sent(200)
    meter.changed()
    expect(meter.received(350)).toBe(250)
  })

  it('measures from the missed packet when the break was noticed later', () => {
    const meter = new OutageMeter()
    meter.sent(100)
    meter.lost(500)
    meter.changed()
    expect(meter.received(600)).toBe(500)
  })

  it('says nothing of arrivals that no change waits for, and 0 when nobody missed anything', () => {
    const meter = new OutageMeter()
    expect(meter.received(10)).toBeUndefined()
    meter.changed()
    expect(meter.waiting).toBe(true)
    expect(meter.received(20)).toBe(0)
    expect(meter.waiting).toBe(false)
    expect(meter.received(30)).toBeUndefined()
  })

  it('adds several changes up to one outage while nothing arrives', () => {
    const meter = new OutageMeter()
    meter.lost(100)
    meter.changed()
    meter.changed()
    expect(meter.received(900)).toBe(800)
  })

  it('forgets an outage of an idle tunnel once the change is over', () => {
    const meter = new OutageMeter()
    meter.lost(100)
    meter.changed()
    meter.settle()
    expect(meter.waiting).toBe(false)
    // An hour later: the outage is that of the second break alone.
    meter.lost(3_600_000)
    meter.changed()
    expect(meter.received(3_600_500)).toBe(500)
  })
})
