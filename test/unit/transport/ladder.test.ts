import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AuthenticationError, ProtocolError, TemporaryError, UnreachableError } from '../../../src/errors.ts'
import { isDefinitive, Ladder } from '../../../src/transport/ladder.ts'
import type { LadderOutput } from '../../../src/transport/ladder-types.ts'
import type { TransportFailureCode } from '../../../src/transport/types.ts'
import {
  type Behaviour,
  dropped,
  good,
  type Network,
  refused,
  simulate,
  udpDropped,
  udpUnreachable
} from './ladder-simulator.ts'

const A = '198.51.100.1'
const B = '2001:db8::1'
const all = { addresses: [A], order: ['udp', 'tcp', 'tls'] } as const

function rungs(udp: Behaviour, tcp: Behaviour, tls: Behaviour): Network {
  return (transport) => ({ udp, tcp, tls })[transport]
}

const silentIke: Behaviour = { open: 0 }

describe('a cold climb', () => {
  test('takes UDP when it answers, and never opens a stream', () => {
    const { chosen, timeline } = simulate(all, rungs(good, good, good))
    expect(chosen).toMatchObject([{ at: 20, rung: { transport: 'udp' }, probeLater: [] }])
    expect(timeline.filter(({ output }) => output.type === 'open')).toHaveLength(1)
  })

  test('is up over TCP within 4 s where UDP is dropped', () => {
    const { chosen, story } = simulate(all, rungs(udpDropped, good, good))
    expect(chosen).toMatchObject([{ rung: { transport: 'tcp' }, probeLater: ['udp'] }])
    expect(chosen[0]?.at).toBeLessThan(3000)
    expect(story).toEqual([
      `0 udp ${A} trying`,
      `1000 tcp ${A} trying`,
      `1000 tls ${A} trying`,
      `2500 udp ${A} failed timeout`,
      `2510 tcp ${A} answered`,
      `2570 tls ${A} skipped not-needed`
    ])
  })

  test('is up over TLS within 6 s where TCP is dropped too, without waiting for TCP to time out', () => {
    const { chosen } = simulate(all, rungs(udpDropped, dropped, good))
    expect(chosen).toMatchObject([{ rung: { transport: 'tls' }, probeLater: ['udp', 'tcp'] }])
    expect(chosen[0]?.at).toBeLessThan(3500)
  })

  test('is up over TLS within 6 s where TCP opens but swallows IKE', () => {
    const { chosen, story } = simulate(all, rungs(udpDropped, silentIke, good))
    expect(chosen[0]?.rung.transport).toBe('tls')
    expect(chosen[0]?.at).toBeLessThan(5000)
    expect(story).toContain(`4500 tcp ${A} failed ike-silent`)
  })

  test('promotes the streams at once when the UDP port is unreachable', () => {
    const { chosen, story } = simulate(all, rungs(udpUnreachable, good, good))
    expect(chosen[0]).toMatchObject({ at: 20, rung: { transport: 'tcp' } })
    expect(story).toContain(`0 udp ${A} failed port-unreachable`)
  })

  test('gives a TCP connection that is only a little slower than TLS its preference', () => {
    const { chosen } = simulate(all, rungs(udpUnreachable, { ...good, open: 250 }, { ...good, open: 0 }))
    expect(chosen[0]).toMatchObject({ at: 270, rung: { transport: 'tcp' } })
  })

  test('takes TLS when TCP is much slower to open', () => {
    const { chosen } = simulate(all, rungs(udpUnreachable, { ...good, open: 900 }, { ...good, open: 100 }))
    expect(chosen[0]).toMatchObject({ at: 420, rung: { transport: 'tls' } })
  })

  test('falls through when IKE_SA_INIT is answered on 500 but IKE_AUTH is silent on 4500', () => {
    const { chosen, story } = simulate(all, rungs({ open: 0, init: 20 }, good, good))
    expect(story).toContain(`2520 udp ${A} failed ike-auth-silent`)
    expect(chosen[0]).toMatchObject({ at: 2540, rung: { transport: 'tcp' } })
  })

  test('does not fall through while IKE_AUTH makes progress, however long a password prompt takes', () => {
    const slow: Behaviour = { open: 0, init: 20, progress: 40, auth: 30_000, esp: 'passes' }
    const { chosen } = simulate(all, rungs(slow, good, good))
    expect(chosen).toMatchObject([{ at: 30_020, rung: { transport: 'udp' } }])
  })

  test('falls through when IKE passes but ESP does not', () => {
    const { chosen, story, timeline } = simulate(all, rungs({ ...good, esp: 'silent' }, good, good))
    expect(chosen.map(({ rung }) => rung.transport)).toEqual(['udp', 'tcp'])
    expect(story).toContain(`2520 udp ${A} failed esp-silent`)
    expect(timeline.map(({ output }) => output)).toContainEqual(
      expect.objectContaining({ type: 'abandon-ike', rung: expect.objectContaining({ transport: 'udp' }) })
    )
  })

  test('gives the session back to UDP that answers late, as long as the stream has not authenticated', () => {
    const late: Behaviour = { open: 0, init: 2600, auth: 10, esp: 'passes' }
    const slowStream: Behaviour = { open: 0, init: 50, auth: 500, esp: 'passes' }
    const { chosen, timeline } = simulate(all, rungs(late, slowStream, slowStream))
    expect(chosen).toMatchObject([{ at: 2610, rung: { transport: 'udp' } }])
    expect(timeline.map(({ output }) => output)).toContainEqual(
      expect.objectContaining({
        type: 'abandon-ike',
        reason: 'superseded',
        rung: expect.objectContaining({ transport: 'tcp' })
      })
    )
  })

  test('ignores UDP that answers when the stream has authenticated', () => {
    const late: Behaviour = { open: 0, init: 2600, auth: 10, esp: 'passes' }
    const { chosen, timeline } = simulate(all, rungs(late, good, good))
    expect(chosen).toMatchObject([{ rung: { transport: 'tcp' } }])
    expect(timeline.map(({ output }) => output)).toContainEqual(
      expect.objectContaining({ type: 'abandon-ike', rung: expect.objectContaining({ transport: 'udp' }) })
    )
  })

  test('returns to the streams once when late UDP goes silent again', () => {
    const late: Behaviour = { open: 0, init: 2600 }
    const slowStream: Behaviour = { open: 0, init: 50, auth: 500, esp: 'passes' }
    const { chosen } = simulate(all, rungs(late, slowStream, slowStream))
    expect(chosen).toMatchObject([{ at: 2600 + 2500 + 550, rung: { transport: 'tcp' } }])
  })

  test('reopens a stream that the gateway closed while it was held in reserve', () => {
    const impatient: Behaviour = { ...good, idleCloseMs: 1000 }
    const { chosen, timeline } = simulate(all, rungs(udpDropped, impatient, dropped))
    expect(chosen[0]).toMatchObject({ at: 2520, rung: { transport: 'tcp' } })
    expect(
      timeline.filter(({ output }) => output.type === 'open' && output.rung.transport === 'tcp')
    ).toHaveLength(2)
  })
})

describe('several addresses', () => {
  const two = { addresses: [A, B], order: ['udp', 'tcp', 'tls'] } as const

  test('are tried 250 ms apart, and the first that answers wins', () => {
    const { chosen, timeline } = simulate(two, (transport, address) =>
      transport === 'udp' && address === B ? good : udpDropped
    )
    expect(chosen).toMatchObject([{ at: 270, rung: { transport: 'udp', address: B } }])
    expect(timeline.map(({ output }) => output)).toContainEqual(
      expect.objectContaining({ type: 'abandon-ike', reason: 'superseded' })
    )
  })

  test('move on at once when one is unreachable', () => {
    const { chosen } = simulate(two, (transport, address) => {
      if (transport !== 'udp') return dropped
      return address === B ? good : { open: { fail: 'network-unreachable' } }
    })
    expect(chosen).toMatchObject([{ at: 20, rung: { transport: 'udp', address: B } }])
  })

  test('do not delay the streams: UDP dropped everywhere, TCP at the second address within 4 s', () => {
    const { chosen } = simulate(two, (transport, address) => {
      if (transport === 'udp') return udpDropped
      return transport === 'tcp' && address === B ? good : dropped
    })
    expect(chosen).toMatchObject([{ rung: { transport: 'tcp', address: B } }])
    expect(chosen[0]?.at).toBeLessThan(4000)
  })

  test('a network that swallows IKE on TCP reaches TLS within 6 s even with many addresses', () => {
    const addresses = [A, B, '198.51.100.2', '2001:db8::2', '198.51.100.3']
    const { chosen } = simulate({ ...two, addresses }, rungs(udpDropped, silentIke, good))
    expect(chosen[0]?.rung.transport).toBe('tls')
    expect(chosen[0]?.at).toBeLessThan(6000)
  })

  test('an address that is busy over UDP makes way for the next over UDP', () => {
    const { chosen } = simulate(two, (transport, address) => {
      if (transport !== 'udp') return good
      if (address === B) return { ...good, init: 400 }
      return { open: 0, init: 10, auth: { error: new TemporaryError('busy', 'busy'), afterMs: 10 } }
    })
    expect(chosen[0]?.rung).toMatchObject({ transport: 'udp', address: B })
  })

  test('UDP at an address that was set aside is the last resort', () => {
    const { chosen } = simulate({ ...two, order: ['udp'] }, (_, address) =>
      address === A ? { open: 0, init: 10 } : { ...good, init: 400 }
    )
    expect(chosen[0]?.rung).toMatchObject({ transport: 'udp', address: B })
  })
})

describe('a network that is remembered', () => {
  const known = { ...all, remembered: { transport: 'tls', address: A } } as const

  test('starts at what worked, within 1 s, and names what is to be probed later', () => {
    const { chosen, timeline } = simulate(known, rungs(udpDropped, dropped, { ...good, open: 300 }))
    expect(chosen).toMatchObject([
      { at: 320, rung: { transport: 'tls', remembered: true }, probeLater: ['udp', 'tcp'] }
    ])
    expect(timeline.filter(({ output }) => output.type === 'open')).toHaveLength(1)
  })

  test('climbs the whole ladder at once when that fails', () => {
    const { chosen } = simulate(known, rungs(good, good, refused))
    expect(chosen).toMatchObject([{ at: 20, rung: { transport: 'udp' } }])
  })

  test('climbs the whole ladder beside it after 1 s of silence', () => {
    const { chosen } = simulate(known, rungs(good, good, silentIke))
    expect(chosen).toMatchObject([{ at: 1020, rung: { transport: 'udp' } }])
  })

  test('still takes it when it is only slow', () => {
    const { chosen } = simulate(known, rungs(udpDropped, dropped, { ...good, open: 800, init: 700 }))
    expect(chosen).toMatchObject([{ at: 1510, rung: { transport: 'tls' } }])
  })

  test('begins with the address that worked over UDP', () => {
    const { chosen } = simulate(
      { addresses: [A, B], order: ['udp', 'tcp'], remembered: { transport: 'udp', address: B } },
      rungs(good, good, good)
    )
    expect(chosen).toMatchObject([{ at: 20, rung: { transport: 'udp', address: B, remembered: true } }])
  })
})

describe('orders and proxies', () => {
  test.each(['udp', 'tcp', 'tls'] as const)('a forced transport is a ladder of one: %s', (transport) => {
    const { chosen, timeline } = simulate({ addresses: [A], order: [transport] }, rungs(good, good, good))
    expect(chosen).toMatchObject([{ at: 20, rung: { transport }, probeLater: [] }])
    expect(timeline.filter(({ output }) => output.type === 'open')).toHaveLength(1)
  })

  test('a forced UDP is listened to for longer, since nothing waits for its place', () => {
    const slow: Behaviour = { open: 0, init: 7600, auth: 10, esp: 'passes' }
    const { chosen } = simulate({ addresses: [A], order: ['udp'] }, rungs(slow, good, good))
    expect(chosen).toMatchObject([{ at: 7610 }])
  })

  test('UDP behind streams is tried when they have failed', () => {
    const { chosen } = simulate({ addresses: [A], order: ['tcp', 'udp', 'tls'] }, rungs(good, refused, good))
    expect(chosen).toMatchObject([{ at: 20, rung: { transport: 'udp' }, probeLater: ['tcp'] }])
  })

  test('streams through a proxy use the name, UDP the addresses', () => {
    const via = 'http://proxy.example:3128'
    const { timeline } = simulate(
      { addresses: [A], streamAddresses: ['vpn.example'], order: ['udp', 'tcp'], via },
      rungs(udpDropped, good, good)
    )
    const opened = timeline.flatMap(({ output }) => (output.type === 'open' ? [output.rung] : []))
    expect(opened).toMatchObject([
      { transport: 'udp', address: A, via: null },
      { transport: 'tcp', address: 'vpn.example', via }
    ])
  })
})

describe('the end of the ladder', () => {
  test('names every rung and why it failed, in order', () => {
    const { exhausted } = simulate(
      all,
      rungs(udpDropped, refused, { open: { fail: 'tls-error', afterMs: 20 } })
    )
    expect(
      exhausted?.reports.map(({ rung, reason, elapsedMs }) => [rung.transport, reason, elapsedMs])
    ).toEqual([
      ['tcp', 'connection-refused', 1000],
      ['tls', 'tls-error', 1020],
      ['udp', 'timeout', 10_000]
    ])
  })

  test('comes at once when everything refuses', () => {
    const { exhausted } = simulate(all, rungs(udpUnreachable, refused, refused))
    expect(exhausted?.at).toBe(0)
  })

  test('comes after the last connection attempt when everything is dropped', () => {
    const { exhausted } = simulate(all, rungs(udpDropped, dropped, dropped))
    expect(exhausted?.reports.map(({ reason }) => reason)).toEqual(['timeout', 'timeout', 'timeout'])
    expect(exhausted?.at).toBeLessThanOrEqual(10_000)
  })

  test('a gateway without addresses is exhausted, not stuck', () => {
    expect(simulate({ ...all, addresses: [] }, rungs(good, good, good)).exhausted?.reports).toEqual([])
  })

  test.each([
    new AuthenticationError('authentication-failed', 'no'),
    new ProtocolError('no-proposal-chosen', 'no')
  ])('$code is final: no other transport is tried', (error) => {
    const { fatal, chosen, ladder } = simulate(
      all,
      rungs({ open: 0, init: 10, auth: { error, afterMs: 10 } }, good, good)
    )
    expect(fatal).toEqual({ at: 20, error })
    expect(chosen).toEqual([])
    expect(ladder.over).toBe(true)
  })

  test.each([new TemporaryError('timeout', 'slow'), new UnreachableError('gone', 'gone')])(
    '$code is tried over another transport',
    (error) => {
      const { chosen } = simulate(all, rungs({ open: 0, init: 10, auth: { error } }, good, good))
      expect(chosen[0]?.rung.transport).toBe('tcp')
    }
  )

  test('which errors are final', () => {
    expect(isDefinitive(new AuthenticationError('x', 'x'))).toBe(true)
    expect(isDefinitive(new TemporaryError('x', 'x'))).toBe(false)
  })
})

const failures: readonly TransportFailureCode[] = [
  'timeout',
  'port-unreachable',
  'network-unreachable',
  'permission-denied',
  'connection-refused',
  'connection-reset',
  'closed-by-peer',
  'tls-error',
  'tls-untrusted',
  'proxy-unreachable',
  'proxy-refused',
  'proxy-auth-required',
  'framing-error',
  'io-error'
]

describe('each rung failing in each way falls through to the next', () => {
  const steps = ['open', 'init', 'auth'] as const
  const cases = failures.flatMap((code) => steps.map((step) => [code, step] as const))

  test.each(cases)('%s at %s', (fail, step) => {
    const bad: Behaviour = { ...good, [step]: { fail, afterMs: 5 } }
    expect(simulate(all, rungs(bad, good, good)).chosen[0]?.rung.transport).toBe('tcp')
    expect(simulate(all, rungs(bad, bad, good)).chosen[0]?.rung.transport).toBe('tls')
    const { exhausted } = simulate(all, rungs(bad, bad, bad))
    expect(exhausted?.reports.map(({ rung, reason }) => [rung.transport, reason])).toEqual([
      ['udp', fail],
      ['tcp', fail],
      ['tls', fail]
    ])
  })
})

describe('a stream that must be reopened for the same IKE session', () => {
  function untilIke(): { ladder: Ladder; drain: () => LadderOutput[] } {
    const ladder = new Ladder()
    const drain = () => {
      const outputs: LadderOutput[] = []
      for (let output = ladder.poll(); output !== undefined; output = ladder.poll()) outputs.push(output)
      return outputs
    }
    ladder.start(0, { addresses: [A], order: ['tcp'] })
    ladder.opened(1, 1)
    drain()
    return { ladder, drain }
  }

  test('is opened again and goes on', () => {
    const { ladder, drain } = untilIke()
    ladder.ikeAnswered(5, 1)
    ladder.reopen(6, 1)
    expect(drain().map(({ type }) => type)).toEqual(['report', 'close', 'open'])
    ladder.opened(8, 1)
    expect(drain()).toMatchObject([{ type: 'start-ike', resume: true }])
    ladder.ikeAnswered(9, 1)
    ladder.ikeEstablished(10, 1)
    expect(drain().map(({ type }) => type)).toEqual(['report', 'chosen'])
  })

  test('is not reopened for ever', () => {
    const { ladder, drain } = untilIke()
    for (let attempt = 0; attempt < 10; attempt++) {
      ladder.ikeAnswered(5, 1)
      ladder.reopen(6, 1)
      ladder.opened(7, 1)
    }
    expect(drain()).toContainEqual(
      expect.objectContaining({
        type: 'exhausted',
        reports: [expect.objectContaining({ reason: 'closed-by-peer' })]
      })
    )
  })
})

describe('stopping', () => {
  test('closes everything and says nothing more', () => {
    const ladder = new Ladder()
    ladder.start(0, all)
    ladder.opened(0, 1)
    ladder.timeout(1000)
    ladder.opened(1001, 2)
    while (ladder.poll() !== undefined);
    ladder.stop(1500)
    const types: string[] = []
    for (let output = ladder.poll(); output !== undefined; output = ladder.poll()) types.push(output.type)
    expect(types).toEqual(['close', 'report', 'close', 'report', 'abandon-ike', 'close', 'report'])
    expect(ladder.nextTimeout()).toBeUndefined()
  })
})

describe('any network', () => {
  const step = fc.oneof(
    fc.integer({ min: 0, max: 4000 }),
    fc.constant(undefined),
    fc.record({ fail: fc.constantFrom(...failures), afterMs: fc.integer({ min: 0, max: 3000 }) })
  )
  const behaviour = fc.record({
    open: step,
    init: step,
    progress: fc.oneof(fc.integer({ min: 0, max: 4000 }), fc.constant(undefined)),
    auth: step,
    esp: fc.constantFrom('passes' as const, 'silent' as const)
  })
  const order = fc.shuffledSubarray(['udp', 'tcp', 'tls'] as const, { minLength: 1 })

  test('ends with one verdict, or waits for the engine; IKE on one stream at a time; every try concluded', () => {
    fc.assert(
      fc.property(
        order,
        fc.array(behaviour, { minLength: 6, maxLength: 6 }),
        fc.constantFrom(undefined, 'udp' as const, 'tcp' as const, 'tls' as const),
        (chosenOrder, behaviours, remembered) => {
          const result = simulate(
            {
              addresses: [A, B],
              order: chosenOrder,
              ...(remembered === undefined ? {} : { remembered: { transport: remembered, address: B } })
            },
            (transport, address) =>
              behaviours[['udp', 'tcp', 'tls'].indexOf(transport) + (address === A ? 0 : 3)] ?? {}
          )
          const running = new Set<number>()
          for (const { output } of result.timeline) {
            if (output.type === 'start-ike' && output.rung.transport !== 'udp') {
              running.add(output.rung.id)
              expect(running.size).toBe(1)
            }
            if (output.type === 'abandon-ike') running.delete(output.rung.id)
            // The next session starts on the same rung when it is told that the old one is over.
            if (output.type === 'report' && output.outcome === 'failed') running.delete(output.rung.id)
          }
          const verdicts = result.timeline.filter(
            ({ output }) => output.type === 'exhausted' || output.type === 'fatal'
          )
          expect(verdicts.length).toBeLessThanOrEqual(1)
          if (result.ladder.over) {
            const last = new Map<number, string>()
            for (const { output } of result.timeline)
              if (output.type === 'report') last.set(output.rung.id, output.outcome)
            if (result.chosen.length > 0) last.delete(result.chosen.at(-1)?.rung.id ?? 0)
            expect([...last.values()].filter((outcome) => outcome === 'trying')).toEqual([])
          }
        }
      ),
      { seed: 9329, numRuns: 2000 }
    )
  })
})
