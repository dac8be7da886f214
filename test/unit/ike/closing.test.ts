import { describe, expect, it } from 'vitest'
import { Pair, pathPair } from '../../support/ike-pair.ts'

/** A pair whose client has just sent its IKE_AUTH. */
function authenticating(): Pair {
  const pair = new Pair()
  const path = pathPair()
  pair.addPath(path)
  pair.client.session.connect(pair.now, path.client)
  pair.drain()
  pair.pass(pair.client)
  pair.pass(pair.gateway)
  expect(pair.client.said().at(-1)).toMatch(/^IKE_AUTH/)
  return pair
}

describe('closing a session that comes up', () => {
  it('waits for the last word in IKE_AUTH, and deletes what that made', () => {
    const pair = authenticating()
    pair.client.session.close(pair.now)
    pair.settle()
    expect(pair.client.of('closed')).toEqual([{ type: 'closed', reason: 'requested', error: undefined }])
    expect(pair.gateway.of('closed')[0]?.reason).toBe('deleted-by-peer')
    expect(pair.gateway.children.size + pair.client.children.size).toBe(0)
  })

  it('repeats its request meanwhile, in case it got lost', () => {
    const pair = authenticating()
    pair.client.sent.splice(0)
    pair.client.session.close(pair.now)
    pair.advance(1000)
    expect(pair.client.of('closed')).toHaveLength(1)
    expect(pair.gateway.of('closed')[0]?.reason).toBe('deleted-by-peer')
  })

  it('is not kept waiting by a gateway that says nothing more', () => {
    const pair = authenticating()
    pair.client.session.close(pair.now)
    pair.advance(10_000, { deliver: false })
    expect(pair.client.of('closed')).toHaveLength(1)
    expect(pair.client.of('established')).toEqual([])
  })

  it('is over at once where the gateway cannot have agreed to anything', () => {
    const pair = new Pair()
    const path = pathPair()
    pair.addPath(path)
    pair.client.session.connect(pair.now, path.client)
    pair.client.session.close(pair.now)
    pair.drain()
    expect(pair.client.of('closed')).toHaveLength(1)
  })

  it('is over with the refusal when the gateway does not agree', () => {
    const refusing = new Pair({ policy: { authenticationFor: () => undefined } })
    const path = pathPair()
    refusing.addPath(path)
    refusing.client.session.connect(refusing.now, path.client)
    refusing.drain()
    refusing.pass(refusing.client)
    refusing.pass(refusing.gateway)
    refusing.client.session.close(refusing.now)
    refusing.settle()
    expect(refusing.client.of('closed')[0]?.reason).toBe('authentication-failed')
  })
})
