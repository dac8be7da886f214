import { describe, expect, test } from 'vitest'
import { ExitCode, ResolveError } from '../../../src/errors.ts'
import type { Lookup } from '../../../src/transport/hedged-lookup.ts'
import { interleave, resolveServer } from '../../../src/transport/resolve.ts'

const found = (...addresses: string[]): Lookup => {
  return async () => addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
}
const failing = (code: string): Lookup => {
  return () => Promise.reject(Object.assign(new Error(code), { code }))
}
const noLookup: Lookup = () => Promise.reject(new Error('must not be called'))

describe('resolving a server', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['2001:db8::7', '2001:db8::7'],
    ['[2001:db8::7]', '2001:db8::7']
  ])('an address passes through: %s', async (host, address) => {
    expect(await resolveServer(host, { lookup: noLookup })).toEqual([address])
  })

  test('families take turns, the first address first (RFC 8305 section 4)', async () => {
    const lookup = found('2001:db8::1', '2001:db8::2', '2001:db8::3', '192.0.2.1', '192.0.2.2')
    expect(await resolveServer('vpn.example', { lookup })).toEqual([
      '2001:db8::1',
      '192.0.2.1',
      '2001:db8::2',
      '192.0.2.2',
      '2001:db8::3'
    ])
    expect(await resolveServer('vpn.example', { lookup, family: 4 })).toEqual(['192.0.2.1', '192.0.2.2'])
  })

  test('an address that is listed twice is tried once', () => {
    const entry = { address: '192.0.2.1', family: 4 }
    expect(interleave([entry, entry])).toEqual(['192.0.2.1'])
  })

  test.each([
    ['ENOTFOUND', 'name-not-found'],
    ['EAI_AGAIN', 'name-lookup-failed'],
    ['ECONNREFUSED', 'name-lookup-failed']
  ])('%s is a ResolveError that says what to do', async (code, expected) => {
    const error = await resolveServer('vpn.example', { lookup: failing(code) }).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(ResolveError)
    expect(error).toMatchObject({ code: expected, exitCode: ExitCode.noHost, hint: expect.any(String) })
    expect((error as ResolveError).message).toContain('vpn.example')
  })

  test('a name without an address of the wanted family has no address', async () => {
    await expect(
      resolveServer('vpn.example', { lookup: found('192.0.2.1'), family: 6 })
    ).rejects.toMatchObject({
      code: 'no-address'
    })
    await expect(resolveServer('vpn.example', { lookup: found() })).rejects.toMatchObject({
      code: 'no-address'
    })
  })

  test('can be given up', async () => {
    const controller = new AbortController()
    const result = resolveServer('vpn.example', {
      lookup: () => new Promise(() => undefined),
      signal: controller.signal
    })
    controller.abort()
    await expect(result).rejects.toMatchObject({ code: 'resolve-aborted' })
  })
})
