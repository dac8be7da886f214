import { describe, expect, it } from 'vitest'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import { CHILD_GRACE_MS } from '../../../src/ike/options.ts'
import { arePaired, type End, Pair } from '../../support/ike-pair.ts'

/** With this group only nonces take 32 random bytes. */
const IKE = { ikeProposals: parseProposals(['aes128gcm16-prfsha256-ecp384'], 'ike') }
const connected = (changes: object = {}) =>
  new Pair({ client: { ...IKE, ...changes }, gateway: { ...IKE, ...changes } }).connect()

function onlySpi(end: End): number {
  const [spi] = end.sendingOn.values()
  if (spi === undefined || end.sendingOn.size !== 1) throw new Error('not exactly one Child SA is sent on')
  return spi
}

/** Both ends hold the same single Child SA and send on it. */
function expectOneChild(pair: Pair): void {
  expect(pair.client.children.size).toBe(1)
  expect(pair.gateway.children.size).toBe(1)
  const ours = pair.client.children.get(onlySpi(pair.client))
  const theirs = pair.gateway.children.get(onlySpi(pair.gateway))
  expect(ours && theirs && arePaired(ours, theirs)).toBe(true)
}

const REKEY = 'CREATE_CHILD_SA request'

for (const role of ['client', 'gateway'] as const) {
  const other = role === 'client' ? 'gateway' : 'client'

  describe(`a Child SA rekeyed by the ${role}`, () => {
    it('is replaced make-before-break, and lingers a little for packets on their way', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const old = { a: onlySpi(a), b: onlySpi(b) }
      a.said()
      b.said()
      // CREATE_CHILD_SA { N(REKEY_SA), SA, Ni, TSi, TSr } -->
      a.session.rekeyChild(pair.now, old.a)
      pair.drain()
      pair.pass(a)
      // The responder receives on the new one, and still sends on the old one.
      expect(b.children.size).toBe(2)
      expect(onlySpi(b)).toBe(old.b)
      // <-- CREATE_CHILD_SA { SA, Nr, TSi, TSr }
      pair.pass(b)
      expect(onlySpi(a)).not.toBe(old.a)
      // INFORMATIONAL { D } -->
      pair.pass(a)
      expect(onlySpi(b)).not.toBe(old.b)
      // <-- INFORMATIONAL { D }
      pair.pass(b)
      expect(a.said().map((line) => line.replace(/ \d+ /, ' '))).toEqual([
        `${REKEY} [ N(REKEY_SA) SA NONCE TSi TSr ]`,
        'INFORMATIONAL request [ D(ESP) ]'
      ])
      expect(b.said().at(-1)).toContain('[ D(ESP) ]')
      expect(a.children.size).toBe(2)
      pair.advance(CHILD_GRACE_MS)
      expectOneChild(pair)
      expect(a.of('child-up').at(-1)).toMatchObject({ replaces: old.a })
      expect(a.of('child-down').at(-1)).toMatchObject({ spiIn: old.a, spiOut: old.b })
      const ids = a.of('child-up').map(({ child }) => child.childId)
      expect(new Set(ids).size).toBe(1)
      for (const end of [a, b]) expect(end.of('rekeyed').map(({ what }) => what)).toEqual(['child'])
    })

    it('gets keys of its own with PFS, after INVALID_KE_PAYLOAD in the group that the peer wants', () => {
      const groups = { client: 'x448-ecp384', gateway: 'ecp384' }
      const offer = (end: 'client' | 'gateway') => ({
        ...IKE,
        espProposals: parseProposals([`aes128gcm16-${groups[end === role ? 'client' : 'gateway']}`], 'esp')
      })
      const pair = new Pair({ client: offer('client'), gateway: offer('gateway') }).connect()
      const a = pair[role]
      a.said()
      a.session.rekeyChild(pair.now, onlySpi(a))
      pair.settle()
      const requests = a.said().filter((line) => line.startsWith(REKEY))
      expect(requests).toHaveLength(2)
      expect(requests[0]).toContain('KE')
      pair.advance(CHILD_GRACE_MS)
      expectOneChild(pair)
    })

    it('is sent on for as long as the answer does not arrive, since nothing can be received on the new one', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const old = { a: onlySpi(a), b: onlySpi(b) }
      a.session.rekeyChild(pair.now, old.a)
      pair.drain()
      pair.pass(a)
      // Four answers get lost, which takes more than seven seconds.
      for (let lost = 0; lost < 4; lost++) {
        b.sent.splice(0)
        while (a.sent.length === 0) pair.advance(1_000, { deliver: false })
        pair.pass(a)
      }
      expect([onlySpi(a), onlySpi(b)]).toEqual([old.a, old.b])
      pair.settle()
      pair.advance(CHILD_GRACE_MS)
      expectOneChild(pair)
    })

    it('stays when the peer refuses, and the next attempt is made later', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const spi = onlySpi(a)
      // The peer is about to rekey the IKE SA: <-- CREATE_CHILD_SA { SA, Ni, KEi }
      b.session.rekeyIke(pair.now)
      a.session.rekeyChild(pair.now, spi)
      pair.drain()
      pair.pass(a)
      // <-- CREATE_CHILD_SA { N(TEMPORARY_FAILURE) }
      expect(b.said().at(-1)).toContain('N(TEMPORARY_FAILURE)')
      pair.settle()
      pair.advance(10_000)
      expect(onlySpi(a)).not.toBe(spi)
      expectOneChild(pair)
    })
  })

  describe(`both ends rekey the Child SA, and the lowest nonce is in the exchange of the ${role}`, () => {
    for (const lowest of ['Ni', 'Nr'] as const) {
      it(`(its ${lowest}): the ${role} deletes its own new one, the ${other} the old one`, () => {
        const pair = connected()
        const [loser, winner] = [pair[role], pair[other]]
        const old = { loser: onlySpi(loser), winner: onlySpi(winner) }
        loser.random.nonceStarts.push(lowest === 'Ni' ? 0 : 0x80, 0x81)
        winner.random.nonceStarts.push(0x82, lowest === 'Nr' ? 0 : 0x83)
        loser.said()
        winner.said()
        // CREATE_CHILD_SA { N(REKEY_SA), SA, Ni1, TSi, TSr } -->
        // <-- CREATE_CHILD_SA { N(REKEY_SA), SA, Ni2, TSi, TSr }
        loser.session.rekeyChild(pair.now, old.loser)
        winner.session.rekeyChild(pair.now, old.winner)
        pair.drain()
        pair.pass(loser)
        pair.pass(winner)
        // CREATE_CHILD_SA { SA, Nr2, TSi, TSr } -->
        // <-- CREATE_CHILD_SA { SA, Nr1, TSi, TSr }
        pair.pass(loser)
        pair.pass(winner)
        const deleteOf = (end: End) => end.said().at(-1)
        expect(deleteOf(loser)).toMatch(/INFORMATIONAL request \d+ \[ D\(ESP\) \]/)
        expect(deleteOf(winner)).toMatch(/INFORMATIONAL request \d+ \[ D\(ESP\) \]/)
        pair.settle()
        pair.advance(CHILD_GRACE_MS)
        expectOneChild(pair)
        // The survivor is the one that the winner asked for.
        const survivor = onlySpi(winner)
        const made = winner.of('child-up').filter(({ replaces }) => replaces === old.winner)
        expect(made).toHaveLength(2)
        expect(made[1]?.child.inbound.spi).toBe(survivor)
      })
    }

    it('late: until then nobody sends on what will be deleted', () => {
      const pair = connected()
      const [loser, winner] = [pair[role], pair[other]]
      loser.random.nonceStarts.push(0, 0x81)
      winner.random.nonceStarts.push(0x82, 0x83)
      loser.session.rekeyChild(pair.now, onlySpi(loser))
      winner.session.rekeyChild(pair.now, onlySpi(winner))
      pair.drain()
      for (const from of [loser, winner, loser, winner]) pair.pass(from)
      // The loser's DELETE gets lost again and again; everything else passes.
      const lost = loser.sent.splice(0)
      pair.settle()
      const survivor = onlySpi(winner)
      for (let count = 0; count < 10; count++) {
        pair.now += 1_000
        for (const end of [loser, winner]) end.session.timeout(pair.now)
        pair.drain()
        loser.sent.length = 0
        winner.sent.length = 0
        expect(onlySpi(winner)).toBe(survivor)
      }
      const [message] = lost
      if (message === undefined) throw new Error('no DELETE was sent')
      pair.deliver(loser, message)
      pair.settle()
      pair.advance(CHILD_GRACE_MS)
      expectOneChild(pair)
    })

    it('but its request comes late: CHILD_SA_NOT_FOUND ends the matter (RFC 7296 section 2.8.1)', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const old = { a: onlySpi(a), b: onlySpi(b) }
      a.session.rekeyChild(pair.now, old.a)
      b.session.rekeyChild(pair.now, old.b)
      pair.drain()
      // req1 is lost; req2, resp2, D and its answer pass.
      const lost = a.sent.shift()
      pair.pass(b)
      pair.pass(a)
      pair.pass(b)
      pair.pass(a)
      if (lost === undefined) throw new Error('nothing was sent')
      b.said()
      pair.deliver(a, lost)
      expect(b.said()).toEqual([expect.stringContaining('N(CHILD_SA_NOT_FOUND)')])
      pair.settle()
      pair.advance(CHILD_GRACE_MS)
      expectOneChild(pair)
    })
  })

  describe(`the ${role} deletes a Child SA`, () => {
    it('and both halves are gone', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      a.session.deleteChild(pair.now, onlySpi(a))
      pair.settle()
      expect(a.children.size).toBe(0)
      expect(b.children.size).toBe(0)
      expect(b.session.state).toBe('ESTABLISHED')
    })

    it('while the other end rekeys it: TEMPORARY_FAILURE, and it is gone', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      const spiOfB = onlySpi(b)
      a.session.deleteChild(pair.now, onlySpi(a))
      b.session.rekeyChild(pair.now, spiOfB)
      pair.drain()
      a.said()
      // <-- CREATE_CHILD_SA { N(REKEY_SA), ... }
      pair.pass(b)
      expect(a.said()).toEqual([expect.stringContaining('N(TEMPORARY_FAILURE)')])
      pair.settle()
      pair.advance(10_000)
      expect(a.children.size).toBe(0)
      expect(b.children.size).toBe(0)
    })

    it('at the same time as the other end: neither answer names it (RFC 7296 section 1.4.1)', () => {
      const pair = connected()
      const [a, b] = [pair[role], pair[other]]
      a.session.deleteChild(pair.now, onlySpi(a))
      b.session.deleteChild(pair.now, onlySpi(b))
      pair.drain()
      a.said()
      b.said()
      pair.settle()
      for (const end of [a, b]) {
        expect(end.said()).toEqual([expect.stringMatching(/INFORMATIONAL response \d+ \[ \]/)])
        expect(end.children.size).toBe(0)
        expect(end.of('child-down')).toHaveLength(1)
      }
    })
  })
}

describe('the lifetime of a Child SA', () => {
  it('has it rekeyed in its last tenth, by either end, before it is over', () => {
    const pair = connected()
    const before = onlySpi(pair.client)
    pair.advance(3_600_000 * 0.9 - 1)
    expect(onlySpi(pair.client)).toBe(before)
    pair.advance(3_600_000 * 0.1)
    expect(onlySpi(pair.client)).not.toBe(before)
    expectOneChild(pair)
  })

  it('has it rekeyed when the data plane reports its limit', () => {
    const pair = connected()
    const before = onlySpi(pair.client)
    pair.client.session.childLimitReached(pair.now, before, 'packets')
    pair.settle()
    pair.advance(CHILD_GRACE_MS)
    expect(onlySpi(pair.client)).not.toBe(before)
    expectOneChild(pair)
  })

  it('ends it hard when the gateway refuses every rekeying, and a new one is asked for', () => {
    const timers = { childLifetimeMs: 600_000 }
    const pair = new Pair({
      client: { ...IKE, timers: { ...new Pair().client.config.timers, ...timers } },
      gateway: { ...IKE, timers: { ...new Pair().client.config.timers, childLifetimeMs: 0 } }
    }).connect()
    const before = onlySpi(pair.client)
    pair.advance(700_000)
    expect(onlySpi(pair.client)).not.toBe(before)
    expectOneChild(pair)
  })
})

describe('the last part of a lifetime', () => {
  it('leaves time for a rekeying whose messages get lost', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { client, gateway } = new Pair({ client: IKE, gateway: IKE, seed }).connect()
      for (const { session } of [client, gateway]) {
        const info = session.info()
        for (const { rekeyTimeMs = 0, lifeTimeMs = 0 } of [info, ...info.childSas]) {
          expect(lifeTimeMs - rekeyTimeMs).toBeGreaterThanOrEqual(0.05 * lifeTimeMs)
          expect(lifeTimeMs - rekeyTimeMs).toBeLessThanOrEqual(0.1 * lifeTimeMs)
        }
      }
    }
  })

  it('may end while a rekeying is under way: its late outcome is what takes over, once', () => {
    const { timers } = new Pair().client.config
    const pair = new Pair({
      client: { ...IKE, timers: { ...timers, childLifetimeMs: 30_000 } },
      gateway: { ...IKE, timers: { ...timers, childLifetimeMs: 0 } }
    }).connect()
    pair.client.session.rekeyChild(pair.now, onlySpi(pair.client))
    pair.advance(30_000, { deliver: false })
    expect(pair.client.session.info().tasksActive).toEqual(['child-rekey'])
    pair.settle()
    pair.advance(CHILD_GRACE_MS)
    expectOneChild(pair)
  })
})

describe('further Child SAs', () => {
  it('are made on request and named apart', () => {
    const pair = connected()
    const [child] = pair.client.children.values()
    if (child === undefined) throw new Error('no Child SA')
    pair.client.session.createChild(pair.now, child.localTs, child.remoteTs)
    pair.gateway.session.createChild(pair.now, child.remoteTs, child.localTs)
    pair.settle()
    expect(pair.client.children.size).toBe(3)
    expect(pair.gateway.children.size).toBe(3)
    expect(pair.client.sendingOn.size).toBe(3)
    for (const one of pair.client.children.values()) {
      const other = pair.gateway.children.get(one.outbound.spi)
      expect(other && arePaired(one, other)).toBe(true)
    }
  })
})
