import { describe, expect, it } from 'vitest'
import type { Clock } from '../../../src/clock.ts'
import { ResponderDriver } from '../../../src/gateway/responder-driver.ts'
import type { IkeResponder, ResponderOutput } from '../../../src/ike/responder.ts'
import type { IkeSession } from '../../../src/ike/session.ts'
import { silentLogger } from '../../../src/log.ts'
import type { Path } from '../../../src/wire/endpoint.ts'

const end = { address: '127.0.0.1', port: 500 }
const path: Path = { id: 1, transport: 'udp', reliable: false, local: end, remote: end }
const session = {} as IkeSession
const message = Uint8Array.of(1)

/** A clock that stands still until it is told to go on. */
class StoppedClock implements Clock {
  armed: { readonly delayMs: number; readonly callback: () => void } | undefined
  now(): number {
    return 100
  }
  setTimer(delayMs: number, callback: () => void): { cancel(): void } {
    const timer = { delayMs, callback }
    this.armed = timer
    return {
      cancel: () => {
        if (this.armed === timer) this.armed = undefined
      }
    }
  }
  fire(): void {
    const { armed } = this
    this.armed = undefined
    armed?.callback()
  }
}

/** Answers with whatever is put into its queue. */
class ScriptedResponder {
  readonly sessions = [session]
  readonly calls: string[] = []
  readonly queue: ResponderOutput[] = []
  next: number | undefined
  onReceive: () => void = () => undefined

  receive(now: number): void {
    this.calls.push(`receive at ${now}`)
    this.onReceive()
  }
  timeout(now: number): void {
    this.calls.push(`timeout at ${now}`)
  }
  poll(): ResponderOutput | undefined {
    return this.queue.shift()
  }
  nextTimeout(): number | undefined {
    return this.next
  }
}

function setUp() {
  const responder = new ScriptedResponder()
  const clock = new StoppedClock()
  const seen: string[] = []
  const driver = new ResponderDriver(responder as unknown as IkeResponder, clock, silentLogger, {
    send: (_message, _path, of) => seen.push(of === undefined ? 'send' : 'send for a session'),
    onEvent: (of, event) => {
      seen.push(event.type)
      if (event.type === 'child-outbound')
        driver.input(of, () => responder.queue.push({ session, output: { type: 'send', path, message } }))
    },
    onFault: (error) => seen.push(String(error))
  })
  return { responder, clock, seen, driver }
}

describe('responder driver', () => {
  it('drains everything after each input, also what handlers cause', () => {
    const { responder, seen, driver } = setUp()
    responder.queue.push({ session: undefined, output: { type: 'send', path, message } })
    responder.queue.push({ session, output: { type: 'child-outbound', spiIn: 1 } })
    responder.queue.push({ session, output: { type: 'path-changed', path } })
    driver.receive(message, path)
    expect(seen).toEqual(['send', 'child-outbound', 'path-changed', 'send for a session'])
  })

  it('keeps one timer for what is due next', () => {
    const { responder, clock, driver } = setUp()
    driver.receive(message, path)
    expect(clock.armed).toBeUndefined()
    responder.next = 150
    driver.receive(message, path)
    expect(clock.armed?.delayMs).toBe(50)
    responder.next = 400
    clock.fire()
    expect(responder.calls.at(-1)).toBe('timeout at 100')
    expect(clock.armed?.delayMs).toBe(300)
  })

  it('tells a fault of the engine, and goes on with what it had to say', () => {
    const { responder, seen, driver } = setUp()
    responder.onReceive = () => {
      responder.queue.push({ session, output: { type: 'path-changed', path } })
      throw new Error('broken invariant')
    }
    driver.receive(message, path)
    expect(seen).toEqual(['Error: broken invariant', 'path-changed'])
  })

  it('resumes a session when what it waits for has settled, either way', async () => {
    const { responder, driver } = setUp()
    const resumed: number[] = []
    const waiting = { resume: (now: number) => resumed.push(now) } as unknown as IkeSession
    for (const until of [Promise.resolve(), Promise.reject(new Error('given up'))])
      responder.queue.push({ session: waiting, output: { type: 'wait', until } })
    driver.receive(message, path)
    await new Promise((resolve) => setImmediate(resolve))
    expect(resumed).toEqual([100, 100])
  })

  it('is silent once it is disposed of', () => {
    const { responder, clock, seen, driver } = setUp()
    responder.next = 150
    driver.receive(message, path)
    driver.dispose()
    expect(clock.armed).toBeUndefined()
    responder.queue.push({ session, output: { type: 'path-changed', path } })
    driver.receive(message, path)
    driver.input(session, () => responder.calls.push('input'))
    expect(seen).toEqual([])
    expect(responder.calls).toEqual(['receive at 100'])
  })
})
