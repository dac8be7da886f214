/** Somebody who can change everything on the way. Each test first shows that the change arrives, then that it is of no use. */
import { describe, expect, it } from 'vitest'
import { startKeyExchange } from '../../src/crypto/key-exchange.ts'
import { formatProposal, parseProposals } from '../../src/crypto/proposal.ts'
import { identityFromText } from '../../src/ike/auth/identity.ts'
import type { LocalAuth, RemoteAuth } from '../../src/ike/auth/types.ts'
import { Secret } from '../../src/secret.ts'
import { encodeMessage } from '../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType, PayloadType } from '../../src/wire/ike-constants.ts'
import { findNotify, findPayload, notify } from '../../src/wire/ike-helpers.ts'
import type { Payload } from '../../src/wire/ike-message.ts'
import { Pair, pathPair } from '../support/ike-pair.ts'
import { alterInit, type Direction, readMessage, settleThrough } from '../support/man-in-the-middle.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const STRONG = 'aes256gcm16-prfsha384-ecp384'
const WEAK = 'aes128-sha1-prfsha1-ecp384'
const BOTH = { ikeProposals: parseProposals([STRONG, WEAK], 'ike') }

function started(options: ConstructorParameters<typeof Pair>[0] = { client: BOTH, gateway: BOTH }): Pair {
  const pair = new Pair(options)
  const path = pathPair('tcp')
  pair.addPath(path)
  pair.client.session.connect(pair.now, path.client)
  return pair
}

function chosenSuite(messages: readonly { direction: Direction; message: Uint8Array }[]): string {
  const answer = messages.find(({ direction }) => direction === 'down')
  const offer = findPayload(readMessage(answer?.message ?? new Uint8Array(0)).payloads, PayloadType.SA)
  const [chosen] = offer?.proposals ?? []
  return chosen === undefined ? 'nothing' : formatProposal(chosen, 'ike')
}

/** The gateway may have believed the client before the client refuses the gateway; then it is told so. */
function expectNothingCameOfIt(pair: Pair): void {
  pair.advance(120_000)
  expect(pair.client.of('established')).toEqual([])
  expect(pair.client.of('child-up')).toEqual([])
  expect(pair.client.of('closed')).toHaveLength(1)
  expect(pair.gateway.children.size).toBe(0)
  expect(pair.gateway.of('closed')).toHaveLength(1)
}

const without =
  (...types: number[]) =>
  (payloads: readonly Payload[]) =>
    payloads.filter((payload) => payload.type !== PayloadType.NOTIFY || !types.includes(payload.notifyType))

/** The proposals without any but the weakest, which keeps its number. */
function onlyWeakest(payloads: readonly Payload[]): Payload[] {
  return payloads.map((payload) =>
    payload.type === PayloadType.SA ? { ...payload, proposals: payload.proposals.slice(-1) } : payload
  )
}

const replaceNotify = (notifyType: number, data: Uint8Array) => (payloads: readonly Payload[]) =>
  payloads.map((payload) =>
    payload.type === PayloadType.NOTIFY && payload.notifyType === notifyType
      ? notify(notifyType, data)
      : payload
  )

const hasNotify = (notifyType: number) => (payloads: readonly Payload[]) =>
  findNotify(payloads, notifyType) !== undefined

interface Change {
  readonly what: string
  readonly direction: Direction
  readonly alter: (payloads: readonly Payload[]) => readonly Payload[]
  /** What the victim has been made to see; the untouched message does not fit. */
  readonly seen: (payloads: readonly Payload[]) => boolean
}

const firstByte = (notifyType: number) => (payloads: readonly Payload[]) =>
  findNotify(payloads, notifyType)?.data.every((byte) => byte === 0xaa) ?? false
const changedHash = new Uint8Array(20).fill(0xaa)

const CHANGES: readonly Change[] = (['up', 'down'] as const).flatMap((direction) => [
  ...(
    [
      ['SIGNATURE_HASH_ALGORITHMS', NotifyType.SIGNATURE_HASH_ALGORITHMS],
      ['IKEV2_FRAGMENTATION_SUPPORTED', NotifyType.IKEV2_FRAGMENTATION_SUPPORTED],
      ['NAT_DETECTION_SOURCE_IP', NotifyType.NAT_DETECTION_SOURCE_IP],
      ['NAT_DETECTION_DESTINATION_IP', NotifyType.NAT_DETECTION_DESTINATION_IP]
    ] as const
  ).map(([name, type]) => ({
    what: `without ${name}`,
    direction,
    alter: without(type),
    seen: (payloads: readonly Payload[]) => !hasNotify(type)(payloads)
  })),
  ...[NotifyType.NAT_DETECTION_SOURCE_IP, NotifyType.NAT_DETECTION_DESTINATION_IP].map((type) => ({
    what: `with another NAT detection hash (${type})`,
    direction,
    alter: replaceNotify(type, changedHash),
    seen: firstByte(type)
  })),
  {
    what: 'with SHA-1 for the only signature hash',
    direction,
    alter: replaceNotify(NotifyType.SIGNATURE_HASH_ALGORITHMS, Uint8Array.of(0, 1)),
    seen: (payloads: readonly Payload[]) =>
      findNotify(payloads, NotifyType.SIGNATURE_HASH_ALGORITHMS)?.data.length === 2
  },
  {
    what: 'with a notify that nobody sent',
    direction,
    alter: (payloads: readonly Payload[]) => [...payloads, notify(40_961)],
    seen: hasNotify(40_961)
  },
  {
    what: 'with another nonce',
    direction,
    alter: (payloads: readonly Payload[]) =>
      payloads.map((one) => (one.type === PayloadType.NONCE ? { ...one, data: new Uint8Array(32) } : one)),
    seen: (payloads: readonly Payload[]) =>
      findPayload(payloads, PayloadType.NONCE)?.data.every((byte) => byte === 0) ?? false
  }
])

describe('a man in the middle of IKE_SA_INIT', () => {
  it('who changes nothing is not noticed', () => {
    const pair = started()
    const passed = settleThrough(pair, (message) => [message])
    expect(pair.client.of('established')).toHaveLength(1)
    expect(chosenSuite(passed)).toBe(STRONG)
  })

  it('who takes the strong suites out of the offer gets the weak one chosen, and no IKE SA', () => {
    const pair = started()
    const passed = settleThrough(pair, alterInit('up', onlyWeakest))
    expect(chosenSuite(passed)).toBe(WEAK)
    expect(pair.client.of('init-answered')).toHaveLength(1)
    expectNothingCameOfIt(pair)
    expect(pair.client.of('closed')[0]?.error?.exitCode).toBe(77)
  })

  it('who puts a suite that was not offered into the answer is refused at once', () => {
    const pair = started({ client: { ikeProposals: parseProposals([STRONG], 'ike') }, gateway: BOTH })
    const weak = parseProposals([WEAK], 'ike')
    settleThrough(
      pair,
      alterInit('down', (payloads) =>
        payloads.map((one) => (one.type === PayloadType.SA ? { ...one, proposals: weak } : one))
      )
    )
    expect(pair.client.of('init-answered')).toEqual([])
    expectNothingCameOfIt(pair)
  })

  it.each(CHANGES)('who delivers it $what ($direction) makes AUTH fail', ({ direction, alter, seen }) => {
    const pair = started()
    const passed = settleThrough(pair, alterInit(direction, alter))
    const first = passed.find((one) => one.direction === direction)
    const arrived = readMessage(first?.message ?? new Uint8Array(0)).payloads
    expect(seen(arrived)).toBe(true)
    const [untouched] = settleThrough(started(), (message) => [message]).filter(
      (one) => one.direction === direction
    )
    expect(seen(readMessage(untouched?.message ?? new Uint8Array(0)).payloads)).toBe(false)
    expect(pair.client.of('init-answered')).toHaveLength(1)
    expectNothingCameOfIt(pair)
  })

  it('who exchanges keys of his own reads nothing that follows', () => {
    const pair = started()
    const own = startKeyExchange(20, new SeededRandom(5))
    if (own === undefined) throw new Error('no group 20')
    const swap = (payloads: readonly Payload[]) =>
      payloads.map((one) => (one.type === PayloadType.KE ? { ...one, data: own.publicValue } : one))
    const [up, down] = [alterInit('up', swap), alterInit('down', swap)]
    settleThrough(pair, (message, way) => (way === 'up' ? up(message, way) : down(message, way)))
    expect(pair.client.of('init-answered')).toHaveLength(1)
    expectNothingCameOfIt(pair)
  })

  it('who invents a cookie has it carried, and gains an AUTH that fails', () => {
    const pair = started()
    const inserted = alterInit('up', (payloads) => [
      notify(NotifyType.COOKIE, new Uint8Array(8).fill(7)),
      ...payloads
    ])
    settleThrough(pair, inserted)
    expect(pair.client.of('init-answered')).toHaveLength(1)
    expectNothingCameOfIt(pair)
  })
})

describe('a man in the middle who speaks IKE with both', () => {
  const key = (text: string): LocalAuth & RemoteAuth => ({ method: 'psk', secret: new Secret(text) })

  /** Client to impostor, and impostor to gateway. */
  function impersonate(known: string) {
    const [right, guessed] = [key('correct horse'), key(known)]
    const toClient = new Pair({
      client: { localAuth: right, remoteAuth: right },
      policy: {
        authenticationFor: () => ({
          localIdentity: identityFromText('gw.example.org'),
          localAuth: guessed,
          remoteAuth: guessed
        })
      }
    }).connect()
    const toGateway = new Pair({ client: { localAuth: guessed, remoteAuth: guessed }, seed: 2 }).connect()
    return [toClient, toGateway].map((pair) =>
      [pair.client, pair.gateway].map((end) => end.of('established').length)
    )
  }

  it('is between them if he knows the key that they share', () => {
    expect(impersonate('correct horse')).toEqual([
      [1, 1],
      [1, 1]
    ])
  })

  it('gets in at neither end if he does not', () => {
    expect(impersonate('battery staple')).toEqual([
      [0, 0],
      [0, 0]
    ])
  })
})

describe('a forged INVALID_KE_PAYLOAD', () => {
  const offer = { ikeProposals: parseProposals(['aes256gcm16-prfsha256-ecp384-ecp256'], 'ike') }
  const groupIn = (bytes: Uint8Array) => findPayload(readMessage(bytes).payloads, PayloadType.KE)?.group

  /** The client's first message is answered by the attacker, who asks for this group. */
  function lied(group: number): { pair: Pair; groups: (number | undefined)[] } {
    const pair = started({ client: offer, gateway: offer })
    let hasLied = false
    const passed = settleThrough(pair, (bytes, direction) => {
      if (hasLied || direction !== 'up') return [bytes]
      hasLied = true
      const { header } = readMessage(bytes)
      const lie = encodeMessage({
        header: { ...header, fromInitiator: false, isResponse: true },
        payloads: [notify(NotifyType.INVALID_KE_PAYLOAD, Uint8Array.of(0, group))]
      })
      pair.client.session.receive(pair.now, lie, pair.client.sent[0]?.path ?? pathPair('tcp').client)
      pair.client.drain()
      return []
    })
    const isInit = (bytes: Uint8Array) => readMessage(bytes).header.exchangeType === ExchangeType.IKE_SA_INIT
    const requests = passed.filter(({ direction, message }) => direction === 'up' && isInit(message))
    return { pair, groups: requests.map(({ message }) => groupIn(message)) }
  }

  it('chooses among the groups that both ends accept, and nothing else', () => {
    const { pair, groups } = lied(19)
    expect(groups).toEqual([19])
    expect(pair.client.of('established')).toHaveLength(1)
  })

  it('does not make the client use a group that it did not offer', () => {
    const { pair, groups } = lied(14)
    expect(groups).toEqual([])
    expect(pair.client.of('established')).toEqual([])
    expect(pair.client.of('closed')).toHaveLength(1)
  })
})
