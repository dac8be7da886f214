import { describe, expect, it } from 'vitest'
import { arePaired, floatingPathPair, Pair, pathPair } from '../../support/ike-pair.ts'

describe('establishing an IKE SA with a pre-shared key', () => {
  it('comes up in two exchanges with one Child SA whose keys agree', () => {
    const pair = new Pair().connect()
    expect(pair.client.logs.filter((line) => /^(warn|error)/.test(line))).toEqual([])
    expect(pair.client.of('established')).toHaveLength(1)
    expect(pair.gateway.of('established')).toHaveLength(1)
    const [ours] = pair.client.children.values()
    const [theirs] = pair.gateway.children.values()
    expect(ours && theirs && arePaired(ours, theirs)).toBe(true)
  })
})
