import { describe, expect, it } from 'vitest'
import { IkeDriver, type IkeEvent } from '../../../src/client/ike-driver.ts'
import type { IkeSession } from '../../../src/ike/session.ts'
import type { IkeOutput } from '../../../src/ike/types.ts'
import { type LogLevel, silentLogger } from '../../../src/log.ts'
import type { Path } from '../../../src/wire/endpoint.ts'
import { floatingPathPair, pathPair } from '../../support/ike-pair.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { FakeTransport } from '../../support/virtual-site.ts'

/** An IKE message that decodes as far as its header: IKE_SA_INIT request with this Message ID. */
function message(messageId: number): Uint8Array {
  const bytes = new Uint8Array(28)
  bytes[17] = 0x20
  bytes[18] = 34
  bytes[23] = messageId
  bytes[27] = 28
  return bytes
}

/** A session that does what the test tells it. */
class ScriptedSession {
  readonly outputs: IkeOutput[] = []
  readonly inputs: string[] = []
  wakeAt: number | undefined

  poll(): IkeOutput | undefined {
    return this.outputs.shift()
  }
  nextTimeout(): number | undefined {
    return this.wakeAt
  }
  timeout(now: number): void {
    this.inputs.push(`timeout ${now}`)
    this.wakeAt = undefined
  }
  resume(now: number): void {
    this.inputs.push(`resume ${now}`)
  }
  receive(now: number, bytes: Uint8Array, path: Path): void {
    this.inputs.push(`receive ${now} ${bytes.length} on ${path.id}`)
  }
}

function setUp(onEvent: (event: IkeEvent, driver: IkeDriver) => void = () => undefined) {
  const clock = new VirtualClock(1000)
  const session = new ScriptedSession()
  const logged: string[] = []
  const log = {
    log: (level: LogLevel, text: string) => void logged.push(`${level} ${text}`),
    child: () => log
  }
  const driver = new IkeDriver(session as unknown as IkeSession, clock, log, onEvent)
  return { clock, session, logged, driver }
}

const spi = (value: bigint): IkeOutput => ({ type: 'spi-claimed', spi: value })

describe('IKE driver', () => {
  it('hands outputs over in the order in which the session made them', () => {
    const order: string[] = []
    const { driver, session, logged } = setUp((event) => order.push(event.type))
    const path = pathPair('tcp').client
    const transport = new FakeTransport('tcp', 'gw', path, (_, bytes) => order.push(`sent ${bytes[23]}`))
    driver.attach(transport)
    driver.input(() =>
      session.outputs.push(
        { type: 'send', path, message: message(1) },
        { type: 'log', level: 'info', message: 'between' },
        spi(1n),
        { type: 'send', path, message: message(2) }
      )
    )
    expect(order).toEqual(['sent 1', 'spi-claimed', 'sent 2'])
    expect(logged).toEqual(['info between'])
  })

  it('drains what an event handler caused after what was there before', () => {
    const seen: bigint[] = []
    const { driver, session } = setUp((event) => {
      if (event.type !== 'spi-claimed') return
      seen.push(event.spi)
      if (event.spi === 1n) driver.input(() => session.outputs.push(spi(3n)))
      // Nested inputs return before their outputs are worked off: the outer loop does that.
      if (event.spi === 1n) expect(seen).toEqual([1n])
    })
    driver.input(() => session.outputs.push(spi(1n), spi(2n)))
    expect(seen).toEqual([1n, 2n, 3n])
  })

  it('goes on draining after a handler has thrown', () => {
    const seen: bigint[] = []
    const { driver, session } = setUp((event) => {
      if (event.type !== 'spi-claimed') return
      if (event.spi === 1n) throw new Error('handler')
      seen.push(event.spi)
    })
    expect(() => driver.input(() => session.outputs.push(spi(1n), spi(2n)))).toThrow('handler')
    driver.input(() => undefined)
    expect(seen).toEqual([2n])
  })

  it('sends on both paths of a UDP transport, and drops what is for a path that is gone', () => {
    const { driver, session, logged } = setUp()
    const path = floatingPathPair().client
    const { natT } = path
    if (natT === undefined) throw new Error('a UDP path floats')
    const transport = new FakeTransport('udp', 'gw', path, () => undefined)
    driver.attach(transport)
    expect(driver.transportOf(path)).toBe(transport)
    expect(driver.transportOf(natT)).toBe(transport)
    driver.input(() => session.outputs.push({ type: 'send', path: natT, message: message(1) }))
    expect(transport.sent.map((sent) => sent.path.id)).toEqual([natT.id])
    driver.detach(transport)
    driver.input(() => session.outputs.push({ type: 'send', path, message: message(2) }))
    expect(transport.sent).toHaveLength(1)
    expect(logged).toEqual(['debug IKE message for a path that is gone'])
  })

  it('keeps one timer, at the time of the next timeout', async () => {
    const { driver, session, clock } = setUp()
    session.wakeAt = 1500
    driver.input(() => undefined)
    session.wakeAt = 1200
    driver.input(() => undefined)
    expect(clock.armed).toBe(1)
    expect(clock.nextInMs).toBe(200)
    await clock.advance(200)
    expect(session.inputs).toEqual(['timeout 1200'])
    expect(clock.armed).toBe(0)
  })

  it('takes the timer back when the session needs none any more', () => {
    const { driver, session, clock } = setUp()
    session.wakeAt = 1500
    driver.input(() => undefined)
    session.wakeAt = undefined
    driver.input(() => undefined)
    expect(clock.armed).toBe(0)
  })

  it('fires at once for a deadline that has passed', async () => {
    const { driver, session, clock } = setUp()
    session.wakeAt = 400
    driver.input(() => undefined)
    await clock.advance(0)
    expect(session.inputs).toEqual(['timeout 1000'])
  })

  it.each(['resolves', 'rejects'])('resumes the session when what it waits for %s', async (how) => {
    const { driver, session, clock } = setUp()
    const until = how === 'resolves' ? Promise.resolve() : Promise.reject(new Error('TLS'))
    driver.input(() => session.outputs.push({ type: 'wait', until }))
    expect(session.inputs).toEqual([])
    await clock.settle()
    expect(session.inputs).toEqual(['resume 1000'])
  })

  it('lets nothing reach the session after dispose', async () => {
    const { driver, session, clock } = setUp()
    session.wakeAt = 1100
    driver.input(() => session.outputs.push({ type: 'wait', until: Promise.resolve() }))
    driver.dispose()
    await clock.advance(1000)
    driver.receive(message(1), pathPair().client)
    expect(session.inputs).toEqual([])
    expect(clock.armed).toBe(0)
    expect(driver.disposed).toBe(true)
  })

  it('stops draining when a handler disposes it', () => {
    const seen: bigint[] = []
    const { driver, session } = setUp((event, itself) => {
      if (event.type === 'spi-claimed') seen.push(event.spi)
      itself.dispose()
    })
    session.wakeAt = 1100
    driver.input(() => session.outputs.push(spi(1n), spi(2n)))
    expect(seen).toEqual([1n])
  })

  it('gives messages to the session with time and path', () => {
    const { driver, session } = setUp()
    const path = pathPair().client
    driver.receive(message(1), path)
    expect(session.inputs).toEqual([`receive 1000 28 on ${path.id}`])
  })

  it('logs to the logger that it was given', () => {
    const clock = new VirtualClock()
    const session = new ScriptedSession()
    const driver = new IkeDriver(session as unknown as IkeSession, clock, silentLogger, () => undefined)
    expect(() =>
      driver.input(() => session.outputs.push({ type: 'log', level: 'warn', message: 'unheard' }))
    ).not.toThrow()
  })
})
