import { describe, expect, it } from 'vitest'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import { Secret } from '../../../src/secret.ts'
import { encodeMessage } from '../../../src/wire/ike-codec.ts'
import { EapType, ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { readMessageHeader } from '../../../src/wire/ike-header.ts'
import { espSpiToBytes, notify } from '../../../src/wire/ike-helpers.ts'
import type { IkeHeader } from '../../../src/wire/ike-message.ts'
import { Pair, PSK, pathPair } from '../../support/ike-pair.ts'

function connected() {
  const pair = new Pair().connect()
  const [established] = pair.client.of('established')
  if (established === undefined) throw new Error('not established')
  pair.client.said()
  const { info, path } = established
  const rumour = (changes: Partial<IkeHeader>, payload = notify(NotifyType.INVALID_IKE_SPI)) => {
    const header: IkeHeader = {
      spiI: info.spiI,
      spiR: info.spiR,
      majorVersion: 2,
      minorVersion: 0,
      exchangeType: ExchangeType.INFORMATIONAL,
      fromInitiator: false,
      isResponse: true,
      messageId: 2,
      ...changes
    }
    pair.client.session.receive(pair.now, encodeMessage({ header, payloads: [payload] }), path)
    pair.drain()
  }
  const spiOut = [...pair.client.children.values()][0]?.outbound.spi ?? 0
  return { pair, path, rumour, spiOut }
}

describe('a rumour that the peer has lost the IKE SA', () => {
  it('is passed on if it answers what is outstanding, and changes nothing', () => {
    const { pair, path, rumour } = connected()
    pair.client.session.checkLiveness(pair.now)
    pair.drain()
    rumour({})
    expect(pair.client.of('hint')).toEqual([{ type: 'hint', about: 'ike', path }])
    pair.settle()
    expect(pair.client.of('liveness')).toMatchObject([{ outcome: 'alive' }])
    expect(pair.client.session.state).toBe('ESTABLISHED')
    expect(pair.client.children.size).toBe(1)
  })

  it.each([
    { messageId: 3 },
    { exchangeType: ExchangeType.CREATE_CHILD_SA },
    { spiI: 1n },
    { spiR: 1n },
    { isResponse: false }
  ])('is not passed on otherwise (%s)', (changes) => {
    const { pair, rumour } = connected()
    pair.client.session.checkLiveness(pair.now)
    pair.drain()
    rumour(changes)
    expect(pair.client.of('hint')).toEqual([])
  })

  it('is a reason to ask, with the right SPIs, but not at every one', () => {
    const { pair, rumour } = connected()
    for (let count = 0; count < 5; count++) rumour({ messageId: 77 })
    expect(pair.client.said()).toHaveLength(1)
    expect(pair.client.of('hint')).toEqual([])
    pair.settle()
    pair.advance(20_000)
    pair.client.said()
    rumour({ messageId: 77 })
    expect(pair.client.said()).toHaveLength(1)
  })

  it('is nothing to a session that is not up yet, or on its way out', () => {
    const { pair, rumour } = connected()
    pair.client.session.close(pair.now)
    pair.drain()
    rumour({})
    expect(pair.client.of('hint')).toEqual([])
  })
})

describe('a rumour that the peer has lost an IKE SA that is being set up', () => {
  /** It comes while this request of IKE_AUTH is outstanding. */
  function rumourAt(messageId: number, changes: Partial<IkeHeader> = {}) {
    const pair = new Pair({
      client: {
        localAuth: { method: 'eap', credentials: { user: 'alice', password: new Secret('wonderland') } }
      },
      policy: {
        authenticationFor: () => ({
          localIdentity: identityFromText('gw.example.org'),
          localAuth: PSK,
          remoteAuth: {
            method: 'eap',
            server: { methods: [EapType.MSCHAPV2], passwordOf: () => new Secret('wonderland') }
          }
        })
      }
    })
    const path = pathPair()
    pair.addPath(path)
    pair.client.session.connect(pair.now, path.client)
    pair.drain()
    for (let request = 0; request < messageId; request++) {
      pair.pass(pair.client)
      pair.pass(pair.gateway)
    }
    const [outstanding] = pair.client.sent
    if (outstanding === undefined) throw new Error('nothing is outstanding')
    const { header } = readMessageHeader(outstanding.message)
    expect(header).toMatchObject({ exchangeType: ExchangeType.IKE_AUTH, messageId })
    const answer = { ...header, fromInitiator: false, isResponse: true, ...changes }
    const rumour = encodeMessage({ header: answer, payloads: [notify(NotifyType.INVALID_IKE_SPI)] })
    pair.client.session.receive(pair.now, rumour, path.client)
    pair.drain()
    return { pair, path: path.client }
  }

  it('is passed on if it answers the first IKE_AUTH, and changes nothing', () => {
    const { pair, path } = rumourAt(1)
    expect(pair.client.of('hint')).toEqual([{ type: 'hint', about: 'ike', path }])
    pair.settle()
    expect(pair.client.of('established')).toHaveLength(1)
  })

  it.each([
    { messageId: 2 },
    { exchangeType: ExchangeType.INFORMATIONAL },
    { spiR: 1n },
    { isResponse: false }
  ])('is not passed on otherwise (%s)', (changes) => {
    expect(rumourAt(1, changes).pair.client.of('hint')).toEqual([])
  })

  it('is nothing once the gateway has answered: what is late then may wait for a person', () => {
    expect(rumourAt(2).pair.client.of('hint')).toEqual([])
  })
})

describe('a rumour that the peer has lost a Child SA', () => {
  const about = (spi: number) => notify(NotifyType.INVALID_SPI, espSpiToBytes(spi))
  const outside = { spiI: 0n, spiR: 0n, messageId: 0, isResponse: false, fromInitiator: true }

  it('is passed on, and a reason to ask, when it names the SPI that we send on', () => {
    const { pair, path, rumour, spiOut } = connected()
    rumour(outside, about(spiOut))
    expect(pair.client.of('hint')).toEqual([{ type: 'hint', about: 'esp', path }])
    expect(pair.client.said()).toHaveLength(1)
    pair.settle()
    expect(pair.client.children.size).toBe(1)
  })

  it('is nothing for any other SPI, or as an answer', () => {
    const { pair, rumour, spiOut } = connected()
    rumour(outside, about(spiOut ^ 1))
    rumour(outside, notify(NotifyType.INVALID_SPI, new Uint8Array(3)))
    rumour({ ...outside, isResponse: true }, about(spiOut))
    rumour({ ...outside, exchangeType: ExchangeType.CREATE_CHILD_SA }, about(spiOut))
    expect(pair.client.of('hint')).toEqual([])
    expect(pair.client.said()).toEqual([])
  })
})
