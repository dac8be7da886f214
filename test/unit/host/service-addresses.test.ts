import { describe, expect, it } from 'vitest'
import { ServiceAddresses } from '../../../src/host/service-addresses.ts'
import { silentLogger } from '../../../src/log.ts'
import { RecordingRunner } from '../../support/recording-runner.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const OUTER = { address: '203.0.113.10', prefixLength: 24, interface: 'eth0' }
const INNER = { address: '2001:db8::10', prefixLength: 64, interface: 'eth1' }

async function setUp() {
  const runner = new RecordingRunner()
    .answer(/link show dev eth0/, { stdout: '[{"address":"02:00:00:00:00:01"}]' })
    .answer(/link show dev eth1/, { stdout: '[{"address":"02:00:00:00:00:02"}]' })
  const clock = new VirtualClock()
  const frames: string[] = []
  const addresses = new ServiceAddresses([OUTER, INNER], {
    runner,
    clock,
    log: silentLogger,
    send: (name, frame) => frames.push(`${name} ${frame.length}`)
  })
  await addresses.check()
  return { runner, clock, frames, addresses }
}

describe('addresses that move between machines', () => {
  it('are on loan from the kernel, and renewed in time', async () => {
    const { runner, clock, addresses } = await setUp()
    await addresses.take()
    const first = runner.lines(/addr replace/)
    expect(first).toEqual([
      'ip addr replace 203.0.113.10/24 dev eth0 valid_lft 3 preferred_lft 3',
      'ip addr replace 2001:db8::10/64 dev eth1 valid_lft 3 nodad preferred_lft 0'
    ])
    await clock.advance(3_500)
    expect(runner.lines(/addr replace/)).toHaveLength(8)
    await addresses.drop()
  })

  it('are announced on each interface, several times', async () => {
    const { clock, frames, addresses } = await setUp()
    await addresses.take()
    expect(frames).toEqual([])
    addresses.announce()
    expect(frames).toEqual(['eth0 42', 'eth1 86'])
    await clock.advance(10_000)
    expect(frames).toHaveLength(10)
    await addresses.drop()
  })

  it('are given back, and not renewed any more', async () => {
    const { runner, clock, frames, addresses } = await setUp()
    await addresses.take()
    addresses.announce()
    await addresses.drop()
    expect(runner.lines(/addr del/)).toEqual([
      'ip -force addr del 203.0.113.10/24 dev eth0',
      'ip -force addr del 2001:db8::10/64 dev eth1'
    ])
    const renewed = runner.lines(/addr replace/).length
    const announced = frames.length
    await clock.advance(10_000)
    expect(runner.lines(/addr replace/)).toHaveLength(renewed)
    expect(frames).toHaveLength(announced)
    expect(clock.armed).toBe(0)
  })

  it('cannot be taken on an interface that is not there', async () => {
    const runner = new RecordingRunner().answer(/link show/, {
      exitCode: 1,
      stderr: 'Device "eth9" does not exist.'
    })
    const addresses = new ServiceAddresses([{ ...OUTER, interface: 'eth9' }], {
      runner,
      clock: new VirtualClock(),
      log: silentLogger
    })
    await expect(addresses.check()).rejects.toMatchObject({ message: expect.stringContaining('eth9') })
  })

  it('are not announced where there is no Ethernet, and a failing announcement does no harm', async () => {
    const runner = new RecordingRunner().answer(/link show/, { stdout: '[{"link_type":"none"}]' })
    const silent = new ServiceAddresses([OUTER], {
      runner,
      clock: new VirtualClock(),
      log: silentLogger,
      send: () => {
        throw new Error('must not be called')
      }
    })
    await silent.check()
    silent.announce()
    const { addresses } = await setUp()
    expect(() => addresses.announce()).not.toThrow()
    await Promise.all([addresses.drop(), silent.drop()])
  })
})
