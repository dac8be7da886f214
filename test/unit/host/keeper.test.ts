import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SystemError } from '../../../src/errors.ts'
import { Keeper } from '../../../src/host/keeper.ts'
import {
  type KeeperReply,
  LineReader,
  MAX_LINE_LENGTH,
  parseReply,
  parseRequest
} from '../../../src/host/keeper-protocol.ts'
import type { AppliedConfig, HostSession } from '../../../src/host/types.ts'

const OPEN = { op: 'open', pid: 1, settings: { stateDirectory: '/state', sessionName: 'office' } }
const CONFIG = {
  interface: 'ike0',
  addresses: [{ address: '10.88.0.7', prefixLength: 32 }],
  mtu: 1400,
  routes: ['0.0.0.0/0', '::/0'],
  pinned: ['198.18.0.1'],
  dns: { servers: ['10.77.0.53'], domains: ['corp.example'], exclusive: true }
}
const APPLY = { op: 'apply', config: CONFIG }
const { addresses, routes, dns } = CONFIG
const NETWORK = { addresses, routes, dns }

/** A keeper of a host that does nothing but say what it was asked. */
function keeper(failures: Partial<Record<string, Error>> = {}) {
  const calls: string[] = []
  const replies: KeeperReply[] = []
  const done = async (call: string): Promise<void> => {
    calls.push(call)
    const failure = failures[call]
    if (failure !== undefined) throw failure
  }
  const applied: AppliedConfig = {
    conflicts: [{ kind: 'route-exists', subject: '10.0.0.0/8', message: 'there already' }],
    dnsMode: 'file',
    undo: () => done('undo'),
    updatePinned: (pinned) => done(`pin ${pinned}`),
    repin: async () => {
      await done('repin')
      return ['198.18.0.1']
    },
    reconfigure: async (network) => {
      await done(`reconfigure ${network.routes}`)
      return []
    },
    setMtu: (mtu) => done(`mtu ${mtu}`)
  }
  const host: HostSession = {
    apply: async (config) => {
      await done(`apply ${config.interface}`)
      return applied
    },
    close: () => done('close')
  }
  const one = new Keeper({
    send: (reply) => replies.push(reply),
    open: async (settings) => {
      await done(`open ${settings.sessionName}`)
      return host
    }
  })
  let id = 0
  return {
    calls,
    replies,
    ended: one.ended,
    ask: (...asks: unknown[]) => {
      for (const ask of asks) one.receive(JSON.stringify({ id: ++id, ask }))
    },
    say: (line: string) => one.receive(line),
    hangUp: () => one.end()
  }
}

describe('the keeper of a host', () => {
  it('does what it is asked, in order, and answers each request', async () => {
    const { ask, calls, replies, ended } = keeper()
    ask(OPEN, APPLY, { op: 'set-mtu', mtu: 1300 }, { op: 'update-pinned', addresses: ['198.18.0.2'] })
    ask({ op: 'repin' }, { op: 'reconfigure', network: NETWORK }, { op: 'undo' }, { op: 'close' })
    await ended
    expect(calls).toEqual([
      ...['open office', 'apply ike0', 'mtu 1300', 'pin 198.18.0.2', 'repin'],
      ...['reconfigure 0.0.0.0/0,::/0', 'undo', 'close']
    ])
    expect(replies.map((reply) => reply.type === 'done' && reply.id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(replies[1]).toMatchObject({ result: { conflicts: [{ subject: '10.0.0.0/8' }], dnsMode: 'file' } })
    expect(replies[4]).toMatchObject({ result: { moved: ['198.18.0.1'] } })
  })

  it('puts everything back when the session is gone, once', async () => {
    const { ask, calls, ended, hangUp } = keeper()
    ask(OPEN, APPLY)
    hangUp()
    hangUp()
    ask({ op: 'repin' })
    await ended
    expect(calls).toEqual(['open office', 'apply ike0', 'close'])
  })

  it('tells of errors with family, code and hint, and goes on', async () => {
    const refused = new SystemError('command-failed', 'no such device', { hint: 'look' })
    const { ask, replies, ended } = keeper({ 'mtu 1300': refused })
    ask(OPEN, APPLY, { op: 'set-mtu', mtu: 1300 }, { op: 'close' })
    await ended
    expect(replies[2]).toEqual({
      type: 'failed',
      id: 3,
      family: 'SystemError',
      code: 'command-failed',
      message: 'no such device',
      hint: 'look'
    })
    expect(replies[3]).toMatchObject({ type: 'done', id: 4 })
  })

  it.each([
    ['another session', [OPEN, OPEN]],
    ['another configuration', [OPEN, APPLY, APPLY]],
    ['a change before there is anything to change', [OPEN, { op: 'repin' }]],
    ['a configuration of no session', [APPLY]],
    ['an end of no session', [{ op: 'close' }]]
  ])('refuses %s, and puts everything back', async (_what, asks) => {
    const { ask, calls, replies, ended } = keeper()
    ask(...asks, { op: 'set-mtu', mtu: 1300 })
    await ended
    const opened = asks[0] === OPEN
    expect(calls.filter((call) => call === 'close')).toHaveLength(opened ? 1 : 0)
    expect(calls).not.toContain('mtu 1300')
    expect(replies).toContainEqual(expect.objectContaining({ type: 'log', level: 'error' }))
  })

  const change = (changes: object) => ({ op: 'reconfigure', network: { ...NETWORK, ...changes } })
  it.each([
    ['a word that is none of its own', { op: 'run', argv: ['sh'] }],
    ['a field too much', { op: 'repin', script: '/bin/sh' }],
    ['an address that is none', { op: 'update-pinned', addresses: ['198.18.0.1; reboot'] }],
    ['an address that looks like an option', { op: 'update-pinned', addresses: ['-batch'] }],
    ['an MTU out of bounds', { op: 'set-mtu', mtu: 1e9 }],
    ['an MTU that is no number', { op: 'set-mtu', mtu: '1300' }],
    ['a route that is no network', change({ routes: ['default via 10.0.0.1'] })],
    [
      'a prefix of an IPv4 address that is too long',
      change({ addresses: [{ address: '10.0.0.1', prefixLength: 33 }] })
    ],
    ['a domain that would be two lines', change({ dns: { ...dns, domains: ['a\nnameserver 6.6.6.6'] } })],
    ['a domain that looks like an option', change({ dns: { ...dns, domains: ['--help'] } })],
    ['a server that is a name', change({ dns: { ...dns, servers: ['evil.example'] } })],
    ['more addresses than a gateway has', { op: 'update-pinned', addresses: Array(65).fill('10.0.0.1') }],
    ['another device', change({ interface: 'eth0' })]
  ])('refuses %s', async (_what, ask) => {
    const one = keeper()
    one.ask(OPEN, APPLY, ask)
    await one.ended
    expect(one.calls).toEqual(['open office', 'apply ike0', 'close'])
  })

  it.each(['-eth0', 'a b', '..', 'a/b', 'x'.repeat(16), ''])(
    'takes no device of the name %j',
    async (name) => {
      const one = keeper()
      one.ask(OPEN, { op: 'apply', config: { ...CONFIG, interface: name } })
      await one.ended
      expect(one.calls).toEqual(['open office', 'close'])
    }
  )

  it('does nothing at all for lines that are no requests, whatever they are', async () => {
    const junk = fc.oneof(
      fc.string(),
      fc.json(),
      fc.object().map((value) => JSON.stringify({ id: 1, ask: value }))
    )
    await fc.assert(
      fc.asyncProperty(junk, async (line) => {
        const { say, calls, ended } = keeper()
        say(line)
        await ended
        expect(calls).toEqual([])
      }),
      { seed: 7296 }
    )
  })
})

describe('its lines', () => {
  it('may come byte by byte, as long as any may be', () => {
    // Copying all that is there for every byte would need minutes.
    const lines: string[] = []
    const reader = new LineReader((line) => lines.push(line))
    const text = Buffer.from(`${'x'.repeat(MAX_LINE_LENGTH)}\nshort\n`)
    let isOpen = true
    for (let at = 0; at < text.length; at++) isOpen &&= reader.push(text.subarray(at, at + 1))
    expect(isOpen).toBe(true)
    expect(lines.map(({ length }) => length)).toEqual([MAX_LINE_LENGTH, 5])
  })

  it('are put together from whatever pieces they come in', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(40), { minLength: 1 }), (cuts) => {
        const lines: string[] = []
        const reader = new LineReader((line) => lines.push(line))
        const text = Buffer.from('{"a":1}\n{"ü":"€"}\n\n{"last":true}\n')
        let from = 0
        for (const to of [...cuts.filter((cut) => cut < text.length).sort((a, b) => a - b), text.length]) {
          expect(reader.push(text.subarray(from, to))).toBe(true)
          from = to
        }
        expect(lines).toEqual(['{"a":1}', '{"ü":"€"}', '', '{"last":true}'])
      }),
      { seed: 9329 }
    )
  })

  it('end the conversation when they are too long', () => {
    const reader = new LineReader(() => undefined)
    expect(reader.push(Buffer.alloc(MAX_LINE_LENGTH, 'x'))).toBe(true)
    expect(reader.push(Buffer.from('x'))).toBe(false)
  })

  it('carry a configuration with thousands of routes', () => {
    const many = Array.from({ length: 16_000 }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`)
    const line = JSON.stringify({ id: 1, ask: { op: 'apply', config: { ...CONFIG, routes: many } } })
    expect(line.length).toBeLessThan(MAX_LINE_LENGTH)
    expect(parseRequest(line)?.ask).toMatchObject({ op: 'apply' })
  })

  it('are no replies unless they are whole', () => {
    expect(parseReply('{"type":"done","id":1,"result":{}}')).toEqual({
      type: 'done',
      id: 1,
      result: { conflicts: [], dnsMode: null, moved: [] }
    })
    for (const line of ['', '{}', '{"type":"done","id":"1","result":{}}', '{"type":"log","level":"loud"}'])
      expect(parseReply(line)).toBeUndefined()
  })
})
