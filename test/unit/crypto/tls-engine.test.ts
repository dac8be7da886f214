import { describe, expect, it } from 'vitest'
import {
  type CertifiedKey,
  createCertificateAuthority,
  issueClientCertificate,
  issueServerCertificate
} from '../../../src/crypto/certificate-authority.ts'
import { createTlsEngine, type TlsEngine, type TlsEngineOptions } from '../../../src/crypto/tls-engine.ts'
import { InternalError } from '../../../src/errors.ts'
import { Secret } from '../../../src/secret.ts'
import { hex } from './support.ts'

// TLS itself looks at the machine's clock.
const VALID = { notBeforeMs: Date.now() - 3_600_000, notAfterMs: Date.now() + 3_600_000 }
const authority = createCertificateAuthority('EAP CA', VALID)
const stranger = createCertificateAuthority('Other CA', VALID)
const server = issueServerCertificate(authority, ['radius.example', '192.0.2.1'], VALID)
const client = issueClientCertificate(authority, ['user@example'], VALID)
const foreign = issueClientCertificate(stranger, ['user@example'], VALID)

const credentials = ({ certificatePem, privateKeyPem }: CertifiedKey) => ({
  cert: certificatePem,
  key: privateKeyPem
})
const ca = [authority.certificatePem]

function engines(
  clientOptions: Partial<TlsEngineOptions> = {},
  serverOptions: Partial<TlsEngineOptions> = {}
) {
  return {
    client: createTlsEngine({ role: 'client', ca, serverName: 'radius.example', ...clientOptions }),
    server: createTlsEngine({ role: 'server', ca, ...credentials(server), ...serverOptions })
  }
}

/** Carries bytes between both until neither has any, in pieces of `chunk` bytes. */
async function exchange(a: TlsEngine, b: TlsEngine, chunk = 100_000): Promise<void> {
  for (let moved = true; moved; ) {
    moved = false
    for (const [from, to] of [
      [a, b],
      [b, a]
    ] as const) {
      await from.settled()
      const bytes = from.pull()
      moved ||= bytes.length > 0
      for (let offset = 0; offset < bytes.length; offset += chunk)
        to.push(bytes.subarray(offset, offset + chunk))
    }
  }
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('%s', (version) => {
  const versions = { minVersion: version, maxVersion: version }
  const mutual = (serverOptions: Partial<TlsEngineOptions> = {}) =>
    engines({ ...credentials(client), ...versions }, { requestCert: true, ...versions, ...serverOptions })

  it('establishes both ends, which then export the same keys', async () => {
    const pair = mutual()
    expect(pair.client.state.phase).toBe('handshaking')
    await exchange(pair.client, pair.server)
    expect([pair.client.state, pair.server.state]).toEqual([
      { phase: 'established' },
      { phase: 'established' }
    ])
    expect([pair.client.protocol, pair.server.protocol]).toEqual([version, version])
    const exported = (engine: TlsEngine, context?: Uint8Array) =>
      hex(engine.exportKeyingMaterial(128, 'client EAP encryption', context))
    expect(exported(pair.client)).toHaveLength(256)
    expect(exported(pair.client)).toBe(exported(pair.server))
    expect(exported(pair.client, Uint8Array.of(13))).toBe(exported(pair.server, Uint8Array.of(13)))
    expect(exported(pair.client, Uint8Array.of(13))).not.toBe(exported(pair.client))
    expect(hex(pair.client.peerCertificate)).toBe(hex(server.certificate))
    expect(hex(pair.server.peerCertificate)).toBe(hex(client.certificate))
  })

  it('does not mind how the stream is cut', async () => {
    const pair = mutual()
    await exchange(pair.client, pair.server, 7)
    expect([pair.client.state.phase, pair.server.state.phase]).toEqual(['established', 'established'])
  })

  it('carries application data both ways', async () => {
    const pair = mutual()
    await exchange(pair.client, pair.server)
    pair.server.writeApplicationData(Uint8Array.of(0))
    pair.client.writeApplicationData(Buffer.from('hello'))
    await exchange(pair.client, pair.server)
    expect(hex(pair.client.takeApplicationData())).toBe('00')
    expect(Buffer.from(pair.server.takeApplicationData()).toString()).toBe('hello')
    expect(pair.server.takeApplicationData()).toHaveLength(0)
  })

  it.each<[string, Partial<TlsEngineOptions>, Partial<TlsEngineOptions>, RegExp]>([
    ['another name', { serverName: 'other.example' }, {}, /other\.example/],
    ['another address', { serverName: '192.0.2.2' }, {}, /192\.0\.2\.2/],
    ['an unknown issuer', { ca: [stranger.certificatePem] }, {}, /certificate/],
    ['no trust anchors at all', { ca: [] }, {}, /certificate/],
    ['a certificate for clients', {}, credentials(client), /purpose/]
  ])('a client refuses a server with %s', async (_, clientOptions, serverOptions, reason) => {
    const pair = engines({ ...versions, ...clientOptions }, { ...versions, ...serverOptions })
    await exchange(pair.client, pair.server)
    expect(pair.client.state).toMatchObject({ phase: 'failed', reason: expect.stringMatching(reason) })
    expect(() => pair.client.exportKeyingMaterial(64, 'label')).toThrow(InternalError)
    expect(pair.client.protocol).toBeUndefined()
    expect(pair.client.peerCertificate).toBeUndefined()
  })

  it('a client takes an address, or any name when none was asked for', async () => {
    for (const serverName of ['192.0.2.1', undefined]) {
      const pair = engines({ ...versions, serverName })
      await exchange(pair.client, pair.server)
      expect(pair.client.state.phase).toBe('established')
    }
  })

  it.each<[string, Partial<TlsEngineOptions>, RegExp]>([
    ['no certificate', {}, /no certificate/],
    ['a certificate of an unknown issuer', credentials(foreign), /./],
    ['a certificate for servers', credentials(server), /PURPOSE/]
  ])('a server refuses a client with %s', async (_, clientOptions, reason) => {
    const pair = engines({ ...versions, ...clientOptions }, { requestCert: true, ...versions })
    await exchange(pair.client, pair.server)
    expect(pair.server.state).toMatchObject({ phase: 'failed', reason: expect.stringMatching(reason) })
    expect(() => pair.server.exportKeyingMaterial(64, 'label')).toThrow(InternalError)
  })
})

describe('a peer that misbehaves', () => {
  it('fails the engine, with rubbish of any kind, and never throws', async () => {
    for (const role of ['client', 'server'] as const) {
      const engine = engines()[role]
      await engine.settled()
      engine.pull()
      engine.push(Buffer.from('GET / HTTP/1.0\r\n\r\n'))
      engine.push(Buffer.alloc(0))
      await engine.settled()
      expect(engine.state.phase).toBe('failed')
      engine.push(Buffer.from('more'))
      await engine.settled()
      engine.close()
      expect(engine.state.phase).toBe('failed')
    }
  })

  it('fails the engine when a record is bent in flight', async () => {
    const pair = engines()
    await pair.client.settled()
    const hello = Uint8Array.from(pair.client.pull())
    hello[hello.length - 1] = (hello.at(-1) ?? 0) ^ 1
    pair.server.push(hello)
    await exchange(pair.server, pair.client)
    expect([pair.client.state.phase, pair.server.state.phase]).toContain('failed')
  })

  it('without a common version fails both ends', async () => {
    const pair = engines({ maxVersion: 'TLSv1.2' }, { minVersion: 'TLSv1.3' })
    await exchange(pair.client, pair.server)
    expect(pair.server.state.phase).toBe('failed')
    expect(pair.client.state.phase).toBe('failed')
  })
})

it('fails at once with a certificate or key that cannot be read', async () => {
  const bad = createTlsEngine({ role: 'server', ca, cert: 'nonsense', key: new Secret('nonsense') })
  expect(bad.state.phase).toBe('failed')
  bad.push(Uint8Array.of(1))
  await bad.settled()
  expect(bad.pull()).toHaveLength(0)
  const mismatch = createTlsEngine({
    role: 'client',
    ca,
    cert: client.certificatePem,
    key: server.privateKeyPem
  })
  expect(mismatch.state.phase).toBe('failed')
})

it('is quiet after being closed', async () => {
  const pair = engines()
  await exchange(pair.client, pair.server)
  pair.client.close()
  pair.client.writeApplicationData(Uint8Array.of(1))
  pair.client.push(Uint8Array.of(1))
  await pair.client.settled()
  expect(pair.client.state.phase).toBe('closed')
})
