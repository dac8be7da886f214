import { describe, expect, it } from 'vitest'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import { REPLACED_PATIENCE_MS } from '../../../src/ike/options.ts'
import { arePaired, type End, Pair } from '../../support/ike-pair.ts'

/** With this group only nonces take 32 random bytes. */
const IKE = { ikeProposals: parseProposals(['aes128gcm16-prfsha256-ecp384'], 'ike') }
const connected = () => new Pair({ client: IKE, gateway: IKE }).connect()

const spisOf = (end: End) => {
  const { initiatorSpi, responderSpi } = end.session.info()
  return `${initiatorSpi}/${responderSpi}`
}

/** One IKE SA at both ends, new, working, with the Child SA in its hands. */
function expectOneIkeSa(pair: Pair, before: string): void {
  expect(spisOf(pair.client)).toBe(spisOf(pair.gateway))
  expect(spisOf(pair.client)).not.toBe(before)
  for (const end of [pair.client, pair.gateway]) {
    const info = end.session.info()
    expect(info.state).toBe('ESTABLISHED')
    expect(info.predecessors).toEqual([])
    expect(info.childSas.map(({ state }) => state)).toEqual(['INSTALLED'])
    expect(end.of('spi-claimed').length - end.of('spi-released').length).toBe(1)
  }
  const [ours] = pair.client.children.values()
  const [theirs] = pair.gateway.children.values()
  expect(ours && theirs && arePaired(ours, theirs)).toBe(true)
  for (const end of [pair.client, pair.gateway]) {
    end.session.checkLiveness(pair.now)
    pair.settle()
    expect(end.of('liveness').at(-1)).toMatchObject({ outcome: 'alive' })
  }
}

for (const role of ['client', 'gateway'] as const) {
  const other = role === 'client' ? 'gateway' : 'client'

  describe(`the IKE SA rekeyed by the ${role}`, () => {
    it('hands its Child SA on, and its predecessor is deleted by who asked', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const before = spisOf(a)
      a.said()
      b.said()
      // CREATE_CHILD_SA { SA, Ni, KEi } -->
      // <-- CREATE_CHILD_SA { SA, Nr, KEr }
      // INFORMATIONAL { D } -->
      // <-- INFORMATIONAL { }
      a.session.rekeyIke(pair.now)
      pair.settle()
      expect(a.said().map((line) => line.replace(/ \d+ /, ' '))).toEqual([
        'CREATE_CHILD_SA request [ SA NONCE KE ]',
        'INFORMATIONAL request [ D(IKE) ]'
      ])
      expectOneIkeSa(pair, before)
      expect(a.session.info().initiator).toBe(true)
      expect(b.session.info().initiator).toBe(false)
      for (const end of [a, b]) expect(end.of('rekeyed')).toMatchObject([{ what: 'ike' }])
    })

    it('stays, where both ends delete its predecessor at once because no answer had come', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const before = spisOf(a)
      a.session.rekeyIke(pair.now)
      pair.drain()
      pair.pass(a)
      pair.pass(b)
      // a's DELETE is lost, until b deletes as well.
      pair.advance(REPLACED_PATIENCE_MS, { deliver: false })
      a.sent.length = 0
      expect(b.sent.length).toBeGreaterThan(0)
      pair.settle()
      // Whatever else was lost is sent again.
      pair.advance(40_000)
      expectOneIkeSa(pair, before)
    })

    it('again and again, also with its Child SA in between', () => {
      const pair = connected()
      for (let round = 0; round < 4; round++) {
        const before = spisOf(pair.client)
        pair[round % 2 === 0 ? role : other].session.rekeyIke(pair.now)
        pair.settle()
        const [spi = 0] = pair[role].sendingOn.values()
        pair[role].session.rekeyChild(pair.now, spi)
        pair.settle()
        pair.advance(3_000)
        expectOneIkeSa(pair, before)
      }
    })

    it('while the other end wants a Child SA: TEMPORARY_FAILURE, then it is made', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const [child] = b.children.values()
      if (child === undefined) throw new Error('no Child SA')
      b.session.createChild(pair.now, child.localTs, child.remoteTs)
      a.session.rekeyIke(pair.now)
      pair.drain()
      b.said()
      pair.pass(a)
      expect(b.said()).toEqual([expect.stringContaining('N(TEMPORARY_FAILURE)')])
      pair.settle()
      pair.advance(10_000)
      expect(pair.client.children.size).toBe(2)
      expect(pair.gateway.children.size).toBe(2)
      expect(a.of('rekeyed')).toMatchObject([{ what: 'ike' }])
    })

    it('while the other end closes it: closed at both ends', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      a.session.rekeyIke(pair.now)
      b.session.close(pair.now)
      pair.settle()
      for (const end of [a, b]) expect(end.of('closed')).toMatchObject([{ error: undefined }])
    })
  })

  describe(`both ends rekey the IKE SA, and the lowest nonce is in the exchange of the ${role}`, () => {
    for (const lowest of ['Ni', 'Nr'] as const) {
      it(`(its ${lowest}): its new IKE SA is deleted, the other one inherits`, () => {
        const pair = connected()
        const [loser, winner] = [pair[role], pair[other]]
        const before = spisOf(loser)
        loser.random.nonceStarts.push(lowest === 'Ni' ? 0 : 0x80, 0x81)
        winner.random.nonceStarts.push(0x82, lowest === 'Nr' ? 0 : 0x83)
        loser.session.rekeyIke(pair.now)
        winner.session.rekeyIke(pair.now)
        pair.drain()
        for (const from of [loser, winner, loser, winner]) pair.pass(from)
        pair.settle()
        expectOneIkeSa(pair, before)
        expect(winner.session.info().initiator).toBe(true)
      })
    }

    it('but its request comes late: TEMPORARY_FAILURE, or forgotten with the old IKE SA (section 2.8.2)', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const before = spisOf(a)
      a.session.rekeyIke(pair.now)
      b.session.rekeyIke(pair.now)
      pair.drain()
      const lost = a.sent.shift()
      // req2, resp2
      pair.pass(b)
      pair.pass(a)
      b.said()
      if (lost === undefined) throw new Error('nothing was sent')
      pair.deliver(a, lost)
      expect(b.said()).toEqual([expect.stringContaining('N(TEMPORARY_FAILURE)')])
      pair.settle()
      expectOneIkeSa(pair, before)
    })

    it('and the old one is deleted before its answer comes', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const before = spisOf(a)
      a.random.nonceStarts.push(0, 0x81)
      b.random.nonceStarts.push(0x82, 0x83)
      a.session.rekeyIke(pair.now)
      b.session.rekeyIke(pair.now)
      pair.drain()
      pair.pass(a)
      pair.pass(b)
      // b's answer to a is lost for good; a's answer decides for b, which deletes the old IKE SA.
      b.sent.shift()
      pair.pass(a)
      pair.settle()
      // What b made for a's request is left over, until b loses patience.
      pair.advance(REPLACED_PATIENCE_MS + 70_000)
      expectOneIkeSa(pair, before)
    })
  })
}

describe('the lifetime of an IKE SA', () => {
  it('has it rekeyed before it is over', () => {
    const pair = connected()
    const before = spisOf(pair.client)
    pair.advance(4 * 3_600_000)
    expect(spisOf(pair.client)).not.toBe(before)
    expect(pair.client.session.state).toBe('ESTABLISHED')
  })
})
