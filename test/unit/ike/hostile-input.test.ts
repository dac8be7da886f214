import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { IkeResponder } from '../../../src/ike/responder.ts'
import { ExchangeType } from '../../../src/wire/ike-constants.ts'
import { plainPayload } from '../../support/arbitrary-messages.ts'
import { Pair, pathPair, responderConfig } from '../../support/ike-pair.ts'
import { ManualPeer } from '../../support/manual-peer.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const RUNS = { seed: 20_260, numRuns: 300 }

describe('whatever bytes come in', () => {
  it('no session throws, and an established one stays as it is', () => {
    const path = pathPair()
    const pair = new Pair().connect(path)
    const before = JSON.stringify(pair.client.session.info(pair.now))
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        pair.client.session.receive(pair.now, bytes, path.client)
        pair.gateway.session.receive(pair.now, bytes, path.gateway)
        pair.drain()
        expect(JSON.stringify(pair.client.session.info(pair.now))).toBe(before)
      }),
      RUNS
    )
  })

  it('the responder neither throws nor keeps anything', () => {
    const environment = { random: new SeededRandom(3), wallClockMs: () => 0 }
    const responder = new IkeResponder(responderConfig(), environment)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, isInit) => {
        const message = Uint8Array.from(bytes)
        if (isInit && message.length >= 28) {
          message.set([0, 0, 0, 0, 0, 0, 0, 0], 8)
          message.set([33, 0x20, ExchangeType.IKE_SA_INIT, 0x08, 0, 0, 0, 0, 0, 0, 0, message.length], 16)
        }
        responder.receive(1, message, pathPair().gateway)
        while (responder.poll() !== undefined);
        expect(responder.sessions).toEqual([])
      }),
      RUNS
    )
  })
})

describe('whatever an authentic peer says', () => {
  for (const role of ['client', 'gateway'] as const) {
    it(`the ${role} answers every request or ends, and never throws`, () => {
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.constantFrom(35, 36, 37, 43, 99), fc.array(plainPayload, { maxLength: 6 })), {
            maxLength: 6
          }),
          (requests) => {
            const path = pathPair()
            const pair = new Pair({ logKeys: true }).connect(path)
            const end = pair[role]
            const peer = new ManualPeer(end, path[role], role === 'gateway')
            let messageId = role === 'gateway' ? 2 : 0
            for (const [exchangeType, payloads] of requests) {
              end.sent.length = 0
              peer.say(pair.now, peer.header(exchangeType, false, messageId++), payloads)
              expect(end.sent.length).toBeGreaterThan(0)
              if (end.of('closed').length > 0) break
            }
          }
        ),
        { ...RUNS, numRuns: 40 }
      )
    })

    it(`the ${role} takes any answer to its requests without throwing`, () => {
      fc.assert(
        fc.property(
          fc.constantFrom('rekeyChild', 'rekeyIke', 'createChild', 'checkLiveness', 'movePath', 'close'),
          fc.array(plainPayload, { maxLength: 8 }),
          (what, payloads) => {
            const path = pathPair()
            const pair = new Pair({ logKeys: true }).connect(path)
            const end = pair[role]
            const peer = new ManualPeer(end, path[role], role === 'gateway')
            const [child] = end.children.values()
            if (child === undefined) throw new Error('no Child SA')
            const { session } = end
            if (what === 'rekeyChild') session.rekeyChild(pair.now, child.inbound.spi)
            else if (what === 'rekeyIke') session.rekeyIke(pair.now)
            else if (what === 'createChild') session.createChild(pair.now, child.localTs, child.remoteTs)
            else if (what === 'movePath') session.movePath(pair.now, path[role])
            else if (what === 'close') session.close(pair.now)
            else session.checkLiveness(pair.now)
            end.drain()
            const { header } = peer.hear()
            peer.say(pair.now, peer.header(header.exchangeType, true, header.messageId), payloads)
            for (let count = 0; count < 200 && end.of('closed').length === 0; count++) {
              pair.now = session.nextTimeout() ?? pair.now
              session.timeout(pair.now)
              end.drain()
            }
          }
        ),
        { ...RUNS, numRuns: 60 }
      )
    })
  }
})
