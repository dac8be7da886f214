import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  type CertifiedKey,
  createCertificateAuthority,
  issueClientCertificate,
  issueServerCertificate
} from '../../../src/crypto/certificate-authority.ts'
import { certificateFields } from '../../../src/crypto/certificate-fields.ts'
import { prfById } from '../../../src/crypto/prf.ts'
import { SUPPORTED_SIGNATURE_HASHES, signingKeyFrom } from '../../../src/crypto/signature.ts'
import type { Prf } from '../../../src/crypto/types.ts'
import { AuthenticationError, InternalError } from '../../../src/errors.ts'
import {
  certificatePayloads,
  certificateRequest,
  createAuth,
  createEapAuth,
  type ReceivedAuth,
  verifyAuth,
  verifyEapAuth
} from '../../../src/ike/auth/authenticator.ts'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import type { LocalAuth, RemoteAuth } from '../../../src/ike/auth/types.ts'
import { Secret } from '../../../src/secret.ts'
import { AuthMethod, PrfId } from '../../../src/wire/ike-constants.ts'

const SEED = 20_260_104
const prf = prfById(PrfId.HMAC_SHA2_256) as Prf
const octets = new TextEncoder().encode('octets that both ends agree on')
const context = { prf, octets }
const NOW_MS = Date.UTC(2030, 5, 1)
const validity = { notBeforeMs: Date.UTC(2030, 0, 1), notAfterMs: Date.UTC(2031, 0, 1) }
const PSK_TEXT = 'correct-horse-marker'

let authority: CertifiedKey
let stranger: CertifiedKey
let gateway: CertifiedKey
let laptop: CertifiedKey

beforeAll(() => {
  authority = createCertificateAuthority('Test CA', validity)
  stranger = createCertificateAuthority('Other CA', validity)
  gateway = issueServerCertificate(
    authority,
    ['vpn.example.com', 'alias.example.com', '198.51.100.7'],
    validity
  )
  laptop = issueClientCertificate(authority, ['alice@example.com'], validity)
})

function localCertificate(own: CertifiedKey): LocalAuth {
  return { method: 'certificate', chain: [own.certificate], key: signingKeyFrom(own.privateKey) }
}
function trusting(...anchors: CertifiedKey[]): RemoteAuth {
  return {
    method: 'certificate',
    trust: { anchors: anchors.map(({ certificate }) => certificate), crls: [] }
  }
}

/** What the gateway sends, signed with `own`. */
function fromGateway(own: CertifiedKey, change: Partial<ReceivedAuth> = {}): ReceivedAuth {
  return {
    ...createAuth(localCertificate(own), { ...context, peerHashes: SUPPORTED_SIGNATURE_HASHES }),
    identity: identityFromText('vpn.example.com'),
    certificates: [own.certificate],
    atMs: NOW_MS,
    acceptedHashes: SUPPORTED_SIGNATURE_HASHES,
    purpose: 'server',
    ...change
  }
}

function fromPsk(text: string, change: Partial<ReceivedAuth> = {}): ReceivedAuth {
  return {
    ...fromGateway(gateway),
    ...createAuth({ method: 'psk', secret: new Secret(text) }, { ...context, peerHashes: undefined }),
    certificates: [],
    ...change
  }
}

const psk = (text: string): RemoteAuth => ({ method: 'psk', secret: new Secret(text) })

function failureOf(remote: RemoteAuth, received: ReceivedAuth) {
  const verdict = verifyAuth(remote, context, received)
  if (verdict.ok) throw new Error(`accepted: ${verdict.detail}`)
  return verdict.error
}

describe('pre-shared keys', () => {
  it('are accepted when they are the same', () => {
    expect(verifyAuth(psk(PSK_TEXT), context, fromPsk(PSK_TEXT))).toEqual({
      ok: true,
      detail: 'pre-shared key'
    })
  })

  it('explain a mismatch without showing either key', () => {
    const error = failureOf(psk(PSK_TEXT), fromPsk('another-marker'))
    expect(error).toBeInstanceOf(AuthenticationError)
    expect(error.code).toBe('auth-psk-mismatch')
    expect(`${error.message} ${error.hint}`).not.toMatch(/marker/)
    expect(error.hint).toContain('Compare the keys')
  })

  it.each([new Uint8Array(0), new Uint8Array(31), new Uint8Array(33)])(
    'refuse AUTH data of another length',
    (data) => {
      expect(failureOf(psk(PSK_TEXT), fromPsk(PSK_TEXT, { data })).code).toBe('auth-psk-mismatch')
    }
  )

  it('name the option that accepts the identity that the gateway has', () => {
    const error = failureOf(
      psk(PSK_TEXT),
      fromPsk(PSK_TEXT, { expectedIdentity: identityFromText('other.example.com') })
    )
    expect(error.code).toBe('auth-identity-mismatch')
    expect(error.message).toContain('vpn.example.com')
    expect(error.hint).toContain('--remote-identity "vpn.example.com"')
  })
})

describe('certificates', () => {
  it.each(['ecdsa', 'rsa', 'ed25519'] as const)('sign and are verified with %s keys', (kind) => {
    const own = issueServerCertificate(authority, ['vpn.example.com'], validity, kind)
    expect(verifyAuth(trusting(authority), context, fromGateway(own))).toMatchObject({
      ok: true,
      detail: expect.stringContaining('vpn.example.com')
    })
  })

  it.each(['ecdsa', 'rsa'] as const)('use the old methods when the peer announced no hashes (%s)', (kind) => {
    const own = issueServerCertificate(authority, ['vpn.example.com'], validity, kind)
    const made = createAuth(localCertificate(own), { ...context, peerHashes: undefined })
    expect(made.method).toBe(kind === 'rsa' ? AuthMethod.RSA_DIGITAL_SIGNATURE : AuthMethod.ECDSA_SHA256_P256)
    expect(verifyAuth(trusting(authority), context, fromGateway(own, made))).toMatchObject({ ok: true })
  })

  it('cannot sign for a peer that understands none of the signatures', () => {
    const own = issueServerCertificate(authority, ['vpn.example.com'], validity, 'ed25519')
    expect(() => createAuth(localCertificate(own), { ...context, peerHashes: undefined })).toThrow(
      expect.objectContaining({ code: 'auth-no-common-signature' })
    )
  })

  it('are accepted when another name of theirs was expected', () => {
    for (const name of ['alias.example.com', '198.51.100.7', 'vpn.example.com']) {
      const received = fromGateway(gateway, { expectedIdentity: identityFromText(name) })
      expect(verifyAuth(trusting(authority), context, received)).toMatchObject({ ok: true })
    }
  })

  it('are refused when they do not hold the expected name', () => {
    const error = failureOf(
      trusting(authority),
      fromGateway(gateway, { expectedIdentity: identityFromText('elsewhere.example.com') })
    )
    expect(error.code).toBe('auth-identity-mismatch')
    expect(error.message).toContain('elsewhere.example.com')
  })

  it('are refused when they do not hold the identity of the ID payload', () => {
    const error = failureOf(
      trusting(authority),
      fromGateway(gateway, {
        identity: identityFromText('elsewhere.example.com'),
        expectedIdentity: identityFromText('vpn.example.com')
      })
    )
    expect(error.code).toBe('certificate-identity-mismatch')
  })

  it('are refused from a stranger, with the option that would trust it', () => {
    const error = failureOf(trusting(stranger), fromGateway(gateway))
    expect(error.code).toBe('certificate-untrusted-issuer')
    expect(error.hint).toContain('--cafile')
  })

  it('are refused after their time', () => {
    const error = failureOf(trusting(authority), fromGateway(gateway, { atMs: Date.UTC(2032, 0, 1) }))
    expect(error.code).toBe('certificate-expired')
    expect(error.message).toContain('2031-01-01')
  })

  it('are refused for a purpose that they were not issued for', () => {
    const received = fromGateway(laptop, { identity: identityFromText('alice@example.com') })
    expect(failureOf(trusting(authority), received).code).toBe('certificate-bad-key-usage')
    expect(verifyAuth(trusting(authority), context, { ...received, purpose: 'client' })).toMatchObject({
      ok: true
    })
  })

  it('are refused when somebody else signed', () => {
    const received = fromGateway(laptop, { certificates: [gateway.certificate] })
    expect(failureOf(trusting(authority), received).code).toBe('auth-bad-signature')
  })

  it('are needed to check a signature', () => {
    const error = failureOf(trusting(authority), fromGateway(gateway, { certificates: [] }))
    expect(error.code).toBe('auth-no-certificate')
    expect(error.hint).toContain('send')
  })

  it('are not replaced by a signature with a hash that was not announced', () => {
    const received = fromGateway(gateway, { acceptedHashes: [4] })
    expect(failureOf(trusting(authority), received).code).toBe('auth-bad-signature')
  })

  it('make the payloads and the request that the other end needs', () => {
    const payloads = certificatePayloads({
      method: 'certificate',
      chain: [gateway.certificate, authority.certificate],
      key: signingKeyFrom(gateway.privateKey)
    })
    expect(payloads.map(({ encoding, data }) => [encoding, data])).toEqual([
      [4, gateway.certificate],
      [4, authority.certificate]
    ])
    expect(certificatePayloads({ method: 'psk', secret: new Secret('x') })).toEqual([])
    const keyHash = (certificate: Uint8Array) =>
      createHash('sha1')
        .update(certificateFields(certificate)?.subjectPublicKeyInfo ?? new Uint8Array(0))
        .digest('hex')
    const request = certificateRequest({
      anchors: [authority.certificate, Uint8Array.of(1), stranger.certificate],
      crls: []
    })
    expect(Buffer.from(request).toString('hex')).toBe(
      keyHash(authority.certificate) + keyHash(stranger.certificate)
    )
  })
})

describe('methods that were not asked for', () => {
  it.each([
    [
      'a shared key where a certificate is demanded',
      () => trusting(authority),
      () => fromPsk(PSK_TEXT),
      '--psk-file'
    ],
    [
      'a signature where a shared key is demanded',
      () => psk(PSK_TEXT),
      () => fromGateway(gateway),
      '--cafile'
    ],
    [
      'no authentication where a certificate is demanded',
      () => trusting(authority),
      () => fromGateway(gateway, { method: AuthMethod.NULL }),
      '--psk-file'
    ]
  ])('%s is refused with the option to use', (_what, remote, received, option) => {
    const error = failureOf(remote(), received())
    expect(error.code).toBe('auth-method-unacceptable')
    expect(error.hint).toContain(option)
  })

  it('a signature method that nobody knows is refused', () => {
    expect(failureOf(trusting(authority), fromGateway(gateway, { method: 200 })).code).toBe(
      'auth-bad-signature'
    )
  })
})

describe('AUTH after EAP', () => {
  const eapKey = new Uint8Array(64).fill(3)

  it('is accepted with the same key and refused with another', () => {
    const received = createEapAuth({ ...context, eapKey })
    expect(verifyEapAuth({ ...context, eapKey }, received)).toEqual({ ok: true, detail: 'EAP' })
    expect(verifyEapAuth({ ...context, eapKey: new Uint8Array(64) }, received)).toMatchObject({
      ok: false,
      error: { code: 'auth-eap-key-mismatch' }
    })
    expect(verifyEapAuth({ ...context, eapKey }, { ...received, method: 14 })).toMatchObject({
      ok: false,
      error: { code: 'auth-method-unacceptable' }
    })
  })

  it('is a bug to ask for before there is a key', () => {
    const local: LocalAuth = { method: 'eap', credentials: { user: 'alice' } }
    expect(() => createAuth(local, { ...context, peerHashes: undefined })).toThrow(InternalError)
  })
})

describe('hostile AUTH payloads', () => {
  it('never throw and are never accepted', () => {
    fc.assert(
      fc.property(
        fc.nat(255),
        fc.uint8Array({ maxLength: 200 }),
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 3 }),
        fc.constantFrom(1, 2, 3, 5, 9, 11, 99),
        fc.uint8Array({ maxLength: 40 }),
        fc.boolean(),
        (method, data, garbage, idType, idData, withRealLeaf) => {
          const received: ReceivedAuth = {
            method,
            data,
            identity: { idType, data: idData },
            certificates: withRealLeaf ? [gateway.certificate, ...garbage] : garbage,
            expectedIdentity: identityFromText('vpn.example.com'),
            atMs: NOW_MS,
            acceptedHashes: SUPPORTED_SIGNATURE_HASHES,
            purpose: 'server'
          }
          for (const remote of [psk(PSK_TEXT), trusting(authority)]) {
            const verdict = verifyAuth(remote, context, received)
            expect(verdict.ok).toBe(false)
            if (!verdict.ok) expect(`${verdict.error.message} ${verdict.error.hint}`).not.toContain('marker')
          }
        }
      ),
      { numRuns: 300, seed: SEED }
    )
  })
})
