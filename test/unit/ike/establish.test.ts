import { describe, expect, it } from 'vitest'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import { decodeMessage } from '../../../src/wire/ike-codec.ts'
import { NotifyType, PayloadType } from '../../../src/wire/ike-constants.ts'
import { findNotify, findPayload } from '../../../src/wire/ike-helpers.ts'
import { arePaired, floatingPathPair, Pair, pathPair, selectors } from '../../support/ike-pair.ts'

function expectPaired(pair: Pair, count = 1): void {
  expect(pair.client.children.size).toBe(count)
  expect(pair.gateway.children.size).toBe(count)
  for (const ours of pair.client.children.values()) {
    const theirs = pair.gateway.children.get(ours.outbound.spi)
    expect(theirs !== undefined && arePaired(ours, theirs)).toBe(true)
  }
}

describe('establishing an IKE SA with a pre-shared key', () => {
  it('comes up in two exchanges with one Child SA whose keys agree', () => {
    const pair = new Pair()
    const path = pathPair()
    pair.addPath(path)
    pair.client.session.connect(pair.now, path.client)
    pair.drain()
    let messages = 0
    for (const from of [pair.client, pair.gateway, pair.client, pair.gateway]) {
      pair.pass(from)
      messages++
    }
    expect(messages).toBe(4)
    expect(pair.client.sent.length + pair.gateway.sent.length).toBe(0)
    expect(pair.client.logs.filter((line) => /^(warn|error)/.test(line))).toEqual([])
    const [established] = pair.client.of('established')
    expect(established?.info).toMatchObject({
      localIdentity: 'alice@example.org',
      remoteIdentity: 'gw.example.org',
      cluster: true,
      mobike: true,
      natRemote: true,
      config: {
        addresses: [
          { address: '10.9.0.5', prefixLength: 32 },
          { address: 'fd09::5', prefixLength: 128 }
        ],
        dns: ['10.9.0.1'],
        dnsDomains: ['example.org'],
        subnets: ['10.0.0.0/8']
      }
    })
    expectPaired(pair)
    expect([...pair.client.sendingOn.values()]).toEqual([...pair.client.children.keys()])
    expect(pair.client.session.state).toBe('ESTABLISHED')
  })

  it('narrows the selectors to the assigned addresses and to what the gateway allows', () => {
    const pair = new Pair().connect()
    const [child] = pair.client.children.values()
    expect(child?.localTs).toEqual(selectors('10.9.0.5', 'fd09::5'))
    expect(child?.remoteTs).toEqual(selectors('10.0.0.0/8', 'fd00::/8'))
  })

  it('floats to the NAT traversal port after IKE_SA_INIT on port 500', () => {
    const pair = new Pair()
    const path = floatingPathPair()
    pair.addPath(path)
    pair.addPath(path.natT)
    pair.client.session.connect(pair.now, path.client)
    pair.settle()
    expect(pair.client.of('established')[0]?.path).toEqual(path.natT.client)
    expect(pair.gateway.of('established')[0]?.path).toEqual(path.natT.gateway)
  })

  for (const suite of [
    ['aes256gcm16-prfsha384-ecp384', 'aes256gcm16-esn'],
    ['chacha20poly1305-prfsha512-x448', 'chacha20poly1305'],
    ['aes128-sha256-modp2048', 'aes192-sha384'],
    ['aes256-sha512-ecp521', 'aes256-sha512']
  ] as const) {
    it(`works with ${suite.join(' and ')}`, () => {
      const changes = {
        ikeProposals: parseProposals([suite[0]], 'ike'),
        espProposals: parseProposals([suite[1]], 'esp')
      }
      const pair = new Pair({ client: changes, gateway: changes }).connect()
      expect(pair.client.of('established')).toHaveLength(1)
      expectPaired(pair)
    })
  }

  it('works on a stream, where nothing is sent twice and nothing is fragmented', () => {
    const pair = new Pair({ client: { fragmentSize: 600 }, gateway: { fragmentSize: 600 } })
    pair.connect(pathPair('tcp'))
    expectPaired(pair)
  })

  it('repeats IKE_SA_INIT with the group that the gateway wants, keeping SPI and nonce', () => {
    const pair = new Pair({
      client: { ikeProposals: parseProposals(['aes256gcm16-prfsha256-x25519-ecp384'], 'ike') },
      gateway: { ikeProposals: parseProposals(['aes256gcm16-prfsha256-ecp384'], 'ike') }
    })
    const path = pathPair()
    pair.addPath(path)
    pair.client.session.connect(pair.now, path.client)
    pair.drain()
    const first = decodeMessage(pair.pass(pair.client))
    const refusal = decodeMessage(pair.pass(pair.gateway))
    const second = decodeMessage(pair.pass(pair.client))
    if (!first.ok || !second.ok || !refusal.ok) throw new Error('undecodable')
    expect(findNotify(refusal.message.payloads, NotifyType.INVALID_KE_PAYLOAD)?.data).toEqual(
      Uint8Array.of(0, 20)
    )
    expect(refusal.message.header.spiR).toBe(0n)
    expect(second.message.header).toEqual(first.message.header)
    for (const type of [PayloadType.NONCE, PayloadType.SA]) {
      expect(findPayload(second.message.payloads, type)).toEqual(findPayload(first.message.payloads, type))
    }
    pair.settle()
    expectPaired(pair)
  })

  it('refuses a gateway with another pre-shared key, and tells it', () => {
    const pair = new Pair({
      policy: {
        authenticationFor: () => undefined
      }
    }).connect()
    expect(pair.client.of('closed')[0]).toMatchObject({
      reason: 'authentication-failed',
      error: { code: 'authentication-failed', exitCode: 77 }
    })
    expect(pair.client.session.state).toBe('DESTROYED')
    pair.advance(10_000)
    expect(pair.gateway.of('closed')).toHaveLength(1)
  })

  it('closes an IKE SA that came without a Child SA, and says why', () => {
    const pair = new Pair({ gateway: { espProposals: [] } })
    pair.connect()
    expect(pair.client.of('closed')[0]).toMatchObject({
      reason: 'rejected',
      error: { code: 'no-proposal-chosen', exitCode: 76 }
    })
    expect(pair.gateway.of('closed')[0]).toMatchObject({ reason: 'deleted-by-peer', error: undefined })
  })

  it('reports an address pool that is used up', () => {
    const pair = new Pair({ policy: { assign: () => undefined } }).connect()
    expect(pair.client.of('closed')[0]?.error).toMatchObject({ code: 'internal-address-failure' })
  })

  it('reports selectors that the gateway does not allow', () => {
    const pair = new Pair({ client: { remoteTs: selectors('192.0.2.0/24') } }).connect()
    expect(pair.client.of('closed')[0]?.error).toMatchObject({ code: 'ts-unacceptable', exitCode: 76 })
  })
})
