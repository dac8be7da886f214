import { expect, it, vi } from 'vitest'
import { validateCertificatePath } from '../../../src/crypto/certificate.ts'
import { NativeUnavailableError } from '../../../src/native/libc.ts'

vi.mock('../../../src/native/libcrypto-x509.ts', async (original) => ({
  ...(await original<object>()),
  x509Library() {
    throw new NativeUnavailableError('the certificate validation of the Node binary', undefined)
  }
}))

it('no certificate passes where OpenSSL cannot be called, and the user learns why', () => {
  const verdict = validateCertificatePath({
    leaf: new Uint8Array(0),
    intermediates: [],
    trust: { anchors: [], crls: [] },
    atMs: 0,
    identity: undefined,
    purpose: 'server'
  })
  expect(verdict).toMatchObject({ ok: false, code: 'unavailable', hint: expect.stringContaining('Node 20') })
})
