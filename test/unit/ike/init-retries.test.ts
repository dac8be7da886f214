import { describe, expect, it } from 'vitest'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import { DEFAULT_TIMERS, INIT_DOUBT_MS, MAX_INIT_RETRIES } from '../../../src/ike/options.ts'
import type { Path } from '../../../src/wire/endpoint.ts'
import { decodeMessage, encodeMessage } from '../../../src/wire/ike-codec.ts'
import { NotifyType, PayloadType } from '../../../src/wire/ike-constants.ts'
import { findNotify, findPayload, notify } from '../../../src/wire/ike-helpers.ts'
import type { IkeMessage, Payload } from '../../../src/wire/ike-message.ts'
import { type End, Pair, pathPair } from '../../support/ike-pair.ts'

const IKE = { ikeProposals: parseProposals(['aes256gcm16-prfsha256-x25519-ecp384-ecp256'], 'ike') }

function started(transport: Path['transport'] = 'udp') {
  const pair = new Pair({ client: IKE })
  const path = pathPair(transport)
  pair.addPath(path)
  pair.client.session.connect(pair.now, path.client)
  pair.drain()
  return { pair, client: pair.client, path: path.client }
}

function lastSent(end: End): IkeMessage {
  const decoded = decodeMessage(end.sent.at(-1)?.message ?? new Uint8Array(0))
  if (!decoded.ok) throw decoded.error
  return decoded.message
}

/** An unprotected answer to the last IKE_SA_INIT. */
function answer(pair: Pair, path: Path, payloads: readonly Payload[], spiR = 0n): void {
  const { header } = lastSent(pair.client)
  const message = encodeMessage({
    header: { ...header, spiR, fromInitiator: false, isResponse: true },
    payloads
  })
  pair.client.session.receive(pair.now, message, path)
  pair.client.drain()
}

const cookie = (...bytes: number[]) => notify(NotifyType.COOKIE, Uint8Array.from(bytes))
const wantGroup = (group: number) => notify(NotifyType.INVALID_KE_PAYLOAD, Uint8Array.of(0, group))

describe('IKE_SA_INIT', () => {
  it('comes again with the cookie as its first payload and everything else unchanged', () => {
    const { pair, client, path } = started()
    const first = lastSent(client)
    answer(pair, path, [cookie(1, 2, 3)])
    const second = lastSent(client)
    expect(second.header).toEqual(first.header)
    expect(second.payloads).toEqual([cookie(1, 2, 3), ...first.payloads])
  })

  it('takes cookies and other groups in any order, keeping what it has', () => {
    const { pair, client, path } = started()
    const nonce = findPayload(lastSent(client).payloads, PayloadType.NONCE)
    answer(pair, path, [cookie(1)])
    answer(pair, path, [wantGroup(20)])
    expect(findNotify(lastSent(client).payloads, NotifyType.COOKIE)?.data).toEqual(Uint8Array.of(1))
    expect(findPayload(lastSent(client).payloads, PayloadType.KE)?.group).toBe(20)
    answer(pair, path, [cookie(2)])
    answer(pair, path, [wantGroup(19)])
    expect(findPayload(lastSent(client).payloads, PayloadType.KE)?.group).toBe(19)
    expect(findNotify(lastSent(client).payloads, NotifyType.COOKIE)?.data).toEqual(Uint8Array.of(2))
    expect(findPayload(lastSent(client).payloads, PayloadType.NONCE)).toEqual(nonce)
    expect(client.sent).toHaveLength(5)
  })

  it('does not answer the same cookie or group twice on UDP: those answer its retransmissions', () => {
    const { pair, client, path } = started()
    for (let count = 0; count < 3; count++) answer(pair, path, [cookie(1)])
    expect(client.sent).toHaveLength(2)
    for (let count = 0; count < 3; count++) answer(pair, path, [wantGroup(20)])
    expect(client.sent).toHaveLength(3)
  })

  it('nor on a stream, as often as it was repeated there; after that the gateway makes no sense', () => {
    const { pair, client, path } = started('tcp')
    pair.advance(DEFAULT_TIMERS.streamFirstRetransmitMs, { deliver: false })
    expect(client.sent).toHaveLength(2)
    answer(pair, path, [wantGroup(20)])
    answer(pair, path, [wantGroup(20)])
    expect(client.sent).toHaveLength(3)
    expect(client.of('closed')).toEqual([])
    answer(pair, path, [wantGroup(20)])
    expect(client.of('closed')).toHaveLength(1)
  })

  it('is given up when there is no end to it', () => {
    const { pair, client, path } = started('tcp')
    for (let count = 0; count <= MAX_INIT_RETRIES + 3; count++) answer(pair, path, [cookie(count)])
    expect(client.sent).toHaveLength(MAX_INIT_RETRIES + 1)
    expect(client.of('closed')[0]?.error).toMatchObject({ code: 'init-loop' })
  })

  it('on UDP waits for a better answer after an error, then believes it', () => {
    const { pair, client, path } = started()
    answer(pair, path, [notify(NotifyType.NO_PROPOSAL_CHOSEN)])
    pair.advance(INIT_DOUBT_MS - 1, { deliver: false })
    expect(client.of('closed')).toEqual([])
    pair.advance(1, { deliver: false })
    expect(client.of('closed')[0]).toMatchObject({
      reason: 'rejected',
      error: { code: 'no-proposal-chosen', exitCode: 76 }
    })
    expect(client.of('closed')[0]?.error?.message).toContain('aes256gcm16-prfsha256-x25519-ecp384-ecp256')
  })

  it('survives forged errors and nonsense while the genuine answer comes', () => {
    const { pair, client, path } = started()
    answer(pair, path, [notify(NotifyType.NO_PROPOSAL_CHOSEN)])
    answer(pair, path, [wantGroup(14)])
    answer(pair, path, [cookie()])
    const { payloads } = lastSent(client)
    const offer = findPayload(payloads, PayloadType.SA)
    answer(
      pair,
      path,
      [
        { type: PayloadType.SA, proposals: offer?.proposals ?? [] },
        { type: PayloadType.KE, group: 31, data: new Uint8Array(32) },
        { type: PayloadType.NONCE, data: new Uint8Array(32) }
      ],
      5n
    )
    pair.settle()
    pair.advance(INIT_DOUBT_MS * 2)
    expect(client.of('established')).toHaveLength(1)
  })

  it('believes an error on a stream at once (RFC 9329 section 6.4)', () => {
    const { pair, client, path } = started('tls')
    answer(pair, path, [notify(NotifyType.NO_PROPOSAL_CHOSEN)])
    expect(client.of('closed')[0]?.error).toMatchObject({ code: 'no-proposal-chosen' })
  })

  it('goes unchanged over a new connection when the gateway closed the first one', () => {
    const { pair, client, path } = started('tcp')
    answer(pair, path, [wantGroup(20)])
    client.session.pathLost(pair.now, path)
    const next = pathPair('tcp')
    pair.addPath(next)
    client.sent.length = client.sent.length - 1
    const expected = client.logs.length
    client.session.movePath(pair.now, next.client)
    client.drain()
    expect(client.sent.at(-1)?.path).toBe(next.client)
    expect(findPayload(lastSent(client).payloads, PayloadType.KE)?.group).toBe(20)
    expect(client.logs.length).toBe(expected)
    client.sent.splice(0, client.sent.length - 1)
    pair.settle()
    expect(client.of('established')).toHaveLength(1)
  })

  it('fails as a timeout when nobody answers', () => {
    const { pair, client } = started()
    pair.advance(120_000, { deliver: false })
    expect(client.sent).toHaveLength(7)
    expect(new Set(client.sent.map(({ message }) => Buffer.from(message).toString('hex'))).size).toBe(1)
    expect(client.of('closed')[0]).toMatchObject({ reason: 'timeout', error: { exitCode: 75 } })
  })
})
