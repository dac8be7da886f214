import { describe, expect, it } from 'vitest'
import { prfById } from '../../../src/crypto/prf.ts'
import { SUPPORTED_SIGNATURE_HASHES } from '../../../src/crypto/signature.ts'
import {
  type AuthContext,
  createAuth,
  createEapAuth,
  type ReceivedAuth,
  verifyAuth,
  verifyEapAuth
} from '../../../src/ike/auth/authenticator.ts'
import { formatIdentity } from '../../../src/ike/auth/identity.ts'
import { sharedKeyAuth } from '../../../src/ike/auth/psk.ts'
import { signedOctets } from '../../../src/ike/auth/signed-octets.ts'
import { Secret } from '../../../src/secret.ts'
import { PrfId } from '../../../src/wire/ike-constants.ts'
import vectors from '../../vectors/auth.json' with { type: 'json' }

const prf = prfById(PrfId.HMAC_SHA2_256)
if (prf === undefined) throw new Error('PRF_HMAC_SHA2_256 is missing')
const bytes = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'))
const hex = (data: Uint8Array) => Buffer.from(data).toString('hex')
const DURING_VALIDITY = Date.UTC(2027, 0, 1)

interface Recorded {
  readonly by: string
  readonly identityBody: string
  readonly skP: string
  readonly message: string
  readonly nonce: string
  readonly macedIdentity: string
  readonly auth: { readonly method: number; readonly data: string }
  readonly secret?: string
  readonly certificates?: readonly string[]
}

const all: { name: string; recorded: Recorded }[] = Object.entries(vectors.sessions).flatMap(
  ([session, { authentications }]) =>
    (authentications as Recorded[]).map((recorded, index) => ({
      name: `${session}, ${recorded.by} (${index})`,
      recorded
    }))
)

function identityOf(recorded: Recorded) {
  const body = bytes(recorded.identityBody)
  return { idType: body[0] ?? 0, data: body.subarray(4) }
}

function contextOf(recorded: Recorded): AuthContext & { readonly prf: NonNullable<typeof prf> } {
  const octets = signedOctets({
    message: bytes(recorded.message),
    nonce: bytes(recorded.nonce),
    // Checked above; narrowing does not reach into functions.
    prf: prf as NonNullable<typeof prf>,
    skP: bytes(recorded.skP),
    identity: identityOf(recorded)
  })
  return { prf: prf as NonNullable<typeof prf>, octets }
}

function receivedFrom(recorded: Recorded): ReceivedAuth {
  return {
    method: recorded.auth.method,
    data: bytes(recorded.auth.data),
    identity: identityOf(recorded),
    certificates: (recorded.certificates ?? []).map(bytes),
    atMs: DURING_VALIDITY,
    acceptedHashes: SUPPORTED_SIGNATURE_HASHES,
    purpose: recorded.by === 'initiator' ? 'client' : 'server'
  }
}

describe('recorded strongSwan sessions', () => {
  it.each(all)('signed octets of $name', ({ recorded }) => {
    expect(hex(contextOf(recorded).octets)).toBe(recorded.message + recorded.nonce + recorded.macedIdentity)
  })

  it.each(all.filter(({ recorded }) => recorded.secret !== undefined))(
    'shared-key AUTH of $name',
    ({ recorded }) => {
      const context = contextOf(recorded)
      const secret = bytes(recorded.secret ?? '')
      expect(hex(sharedKeyAuth(context.prf, secret, context.octets))).toBe(recorded.auth.data)
      const verdict = verifyEapAuth({ ...context, eapKey: secret }, receivedFrom(recorded))
      expect(verdict.ok).toBe(true)
      const created = createEapAuth({ ...context, eapKey: secret })
      expect([created.method, hex(created.data)]).toEqual([2, recorded.auth.data])
    }
  )

  it('the pre-shared key of both ends', () => {
    const secret = new Secret(vectors.sessions.psk.preSharedKey)
    for (const recorded of vectors.sessions.psk.authentications) {
      const context = contextOf(recorded)
      const created = createAuth({ method: 'psk', secret }, { ...context, peerHashes: undefined })
      expect(hex(created.data)).toBe(recorded.auth.data)
      expect(verifyAuth({ method: 'psk', secret }, context, receivedFrom(recorded))).toEqual({
        ok: true,
        detail: 'pre-shared key'
      })
    }
  })

  it('the MSK of EAP-MSCHAPv2 is what both last AUTH payloads were keyed with', () => {
    const { msk, authentications } = vectors.sessions['eap-mschapv2']
    const keyed = (authentications as Recorded[]).filter(({ secret }) => secret !== undefined)
    expect(keyed.map(({ secret }) => secret)).toEqual([msk, msk])
  })

  it('after EAP-MD5, which derives no key, each end uses its own SK_p', () => {
    const keyed = (vectors.sessions['eap-md5'].authentications as Recorded[]).filter(({ secret }) => secret)
    expect(keyed).toHaveLength(2)
    for (const { secret, skP } of keyed) expect(secret).toBe(skP)
  })

  const signed = all.filter(({ recorded }) => recorded.certificates !== undefined)

  it.each(signed)('signature and certificate of $name', ({ recorded }) => {
    const received = receivedFrom(recorded)
    const anchor = received.certificates.at(-1)
    if (anchor === undefined) throw new Error('no certificate')
    const trust = { anchors: [anchor], crls: [] }
    const verdict = verifyAuth({ method: 'certificate', trust }, contextOf(recorded), received)
    expect(verdict).toMatchObject({ ok: true })
    const octets = Uint8Array.from(contextOf(recorded).octets)
    octets[100] = (octets[100] ?? 0) ^ 1
    const forged = verifyAuth({ method: 'certificate', trust }, { ...contextOf(recorded), octets }, received)
    expect(forged).toMatchObject({ ok: false, error: { code: 'auth-bad-signature' } })
    expect(!forged.ok && forged.error.message).toContain(formatIdentity(received.identity))
  })
})
