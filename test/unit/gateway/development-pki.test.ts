import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { developmentPki } from '../../../src/gateway/development-pki.ts'
import { silentLogger } from '../../../src/log.ts'

const DAY_MS = 86_400_000
const now = Date.UTC(2030, 0, 1)
let parent: string
let directory: string
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'ikestream-pki-'))
  directory = join(parent, 'gateway')
})
afterEach(() => rmSync(parent, { recursive: true }))

const make = (names: readonly [string, ...string[]] = ['gw.test', '10.1.2.3', 'fd00::1'], at = now) =>
  developmentPki(directory, names, at, silentLogger)
const leafOf = (pki: Awaited<ReturnType<typeof make>>): X509Certificate =>
  new X509Certificate(pki.certificate.chain[0] ?? new Uint8Array(0))

describe('development PKI', () => {
  it('makes a CA and a certificate for all names, readable by nobody else', async () => {
    const pki = await make()
    const leaf = leafOf(pki)
    const authority = new X509Certificate(readFileSync(pki.cafile))
    expect(leaf.verify(authority.publicKey)).toBe(true)
    expect(leaf.checkIssued(authority)).toBe(true)
    expect(leaf.checkHost('gw.test')).toBe('gw.test')
    expect(leaf.checkIP('10.1.2.3')).toBe('10.1.2.3')
    expect(leaf.checkIP('fd00::1')).toBe('fd00::1')
    expect(leaf.checkPrivateKey(pki.certificate.key)).toBe(true)
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    for (const file of ['ca.key', 'gateway.key'])
      expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600)
  })

  it('finds both again on the next start', async () => {
    const first = await make()
    const ca = readFileSync(first.cafile)
    const second = await make()
    expect(leafOf(second).fingerprint256).toBe(leafOf(first).fingerprint256)
    expect(readFileSync(second.cafile)).toEqual(ca)
    // Fewer names are no reason for another certificate.
    expect(leafOf(await make(['gw.test'])).fingerprint256).toBe(leafOf(first).fingerprint256)
  })

  it.each([
    ['it lacks a name', ['other.test'], now],
    ['it runs out soon', ['gw.test'], now + 380 * DAY_MS]
  ] as const)('issues a new certificate of the same CA when %s', async (_why, names, at) => {
    const first = await make()
    const ca = readFileSync(first.cafile)
    const second = await make([names[0]], at)
    expect(leafOf(second).fingerprint256).not.toBe(leafOf(first).fingerprint256)
    expect(readFileSync(second.cafile)).toEqual(ca)
    expect(leafOf(second).verify(new X509Certificate(ca).publicKey)).toBe(true)
    expect(leafOf(second).checkHost(names[0])).toBe(names[0])
  })

  it('makes everything anew when the CA is about to run out', async () => {
    const first = await make()
    const ca = readFileSync(first.cafile)
    const second = await make(undefined, now + 3640 * DAY_MS)
    expect(readFileSync(second.cafile)).not.toEqual(ca)
    expect(leafOf(second).verify(new X509Certificate(readFileSync(second.cafile)).publicKey)).toBe(true)
  })

  it('repairs half of a pair', async () => {
    const first = await make()
    rmSync(join(directory, 'gateway.key'))
    expect(leafOf(await make()).fingerprint256).not.toBe(leafOf(first).fingerprint256)
  })

  it('says which files are damaged', async () => {
    await make()
    writeFileSync(join(directory, 'ca.pem'), 'not a certificate')
    await expect(make()).rejects.toMatchObject({
      code: 'pki-damaged',
      exitCode: 65,
      message: expect.stringContaining(join(directory, 'ca.pem'))
    })
  })
})
