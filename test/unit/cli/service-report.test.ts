import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ServiceReport } from '../../../src/cli/service-report.ts'
import type { ClientEvent } from '../../../src/client/events.ts'
import { ServiceManager } from '../../../src/host/service-manager.ts'
import { pollerRoundTrip } from '../../../src/native/poller.ts'
import { NotifySocket } from '../../support/notify-socket.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

const CONNECTED: ClientEvent = {
  event: 'connected',
  transport: 'tcp',
  via: null,
  gateway: '198.18.0.1',
  gatewayId: 'gw.test',
  virtualIps: ['10.99.0.2'],
  dns: [],
  interface: 'ike0',
  mtu: 1400,
  remoteTs: ['0.0.0.0/0'],
  ikeSuite: '',
  espSuite: '',
  cluster: false,
  outerTls: null,
  elapsedMs: 5
}
const RUNG = {
  event: 'rung',
  transport: 'tls',
  via: null,
  address: '198.18.0.1',
  outcome: 'trying',
  reason: null,
  message: null,
  elapsedMs: 0
} as const satisfies ClientEvent
const UP = ['READY=1', 'STATUS=Connected over TCP to gw.test (198.18.0.1) as 10.99.0.2']

let socket: NotifySocket
let report: ServiceReport
let now: number
let vitality: { busyForMs: number }
let marks = 0

beforeEach(async () => {
  socket = new NotifySocket(join(await scratchDirectory('service'), 'notify'))
  // A sign of life every 10 ms.
  const env = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: '20000' }
  now = 0
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  vitality = { busyForMs: 0 }
  report = new ServiceReport(ServiceManager.fromEnvironment(env), () => now)
})
afterEach(async () => {
  vi.useRealTimers()
  report.stop()
  await socket.close()
})

describe('a session as a service', () => {
  it('is ready when it is up, says what it does, and says when it ends, once', async () => {
    report.show(RUNG)
    report.show({ ...RUNG, outcome: 'failed' })
    report.show(CONNECTED)
    report.show({ event: 'reconnecting', reason: 'peer-silent', bytesIn: 0, bytesOut: 0, durationMs: 0 })
    report.show({ event: 'path-changed', from: 'tcp', to: 'udp', reason: 'udp-available', outageMs: 3 })
    report.stopping()
    report.show({ event: 'disconnected', reason: 'requested', bytesIn: 0, bytesOut: 0, durationMs: 0 })
    report.show(RUNG)
    report.reloading()
    await socket.hears('STOPPING=1')
    expect(socket.lines).toEqual([
      'STATUS=Trying TLS to 198.18.0.1',
      ...UP,
      'STATUS=Reconnecting: peer-silent',
      'STATUS=Connected over UDP (udp-available)',
      'STOPPING=1',
      'STATUS=Disconnecting'
    ])
  })

  it('is reloading while it looks for another path because somebody asked', async () => {
    report.watch(vitality)
    report.show(CONNECTED)
    vitality.busyForMs = 1
    report.reloading()
    report.reloading()
    await pass(1000)
    expect([socket.count('RELOADING=1'), socket.count('READY=1')]).toEqual([1, 1])
    vitality.busyForMs = 0
    await pass(1000)
    expect([socket.count('RELOADING=1'), socket.count('READY=1')]).toEqual([1, 2])
    expect(socket.count(UP[1] ?? '')).toBe(2)
  })

  it('says that it is alive as long as it is not stuck', async () => {
    report.show(CONNECTED)
    report.watch(vitality)
    expect(await beatsWithin(50)).toBe(5)
    // Two minutes at one and the same thing, without any news of it.
    now = 121_000
    vitality.busyForMs = 121_000
    expect(await beatsWithin(50)).toBe(0)
    // News of it: it takes long, but it goes on.
    report.show(RUNG)
    expect(await beatsWithin(50)).toBe(5)
    // At rest it may be silent for ever.
    vitality.busyForMs = 0
    now = 1e9
    expect(await beatsWithin(50)).toBe(5)
  })

  it('is nothing at all where no service manager asks', () => {
    const alone = new ServiceReport(undefined)
    alone.show(CONNECTED)
    alone.watch(vitality)
    alone.reloading()
    alone.stopping()
    alone.stop()
  })
})

/** Time passes, and what was sent meanwhile arrives. */
async function pass(ms: number): Promise<void> {
  vi.advanceTimersByTime(ms)
  // Signs of life wait for the poller's answer; datagrams come in order.
  await pollerRoundTrip()
  await new Promise((done) => setImmediate(done))
  report.show({ ...RUNG, address: `mark ${++marks}` })
  await socket.hears(`STATUS=Trying TLS to mark ${marks}`)
}

async function beatsWithin(ms: number): Promise<number> {
  const before = socket.count('WATCHDOG=1')
  await pass(ms)
  return socket.count('WATCHDOG=1') - before
}
