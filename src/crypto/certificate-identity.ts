/**
 * Whether a certificate speaks for an IKE identity (RFC 7296 section 3.5, RFC 4945 section 3.1, RFC 6125).
 *
 * Names come from the subjectAltName; the subject's CN counts for host names of certificates without any. A wildcard
 * stands for exactly the left-most label.
 * @module
 */
import { timingSafeEqual, type X509Certificate } from 'node:crypto'
import { IdType } from '../wire/ike-constants.ts'
import { certificateFields, hasSubjectAltName, subjectKeyIdentifier } from './certificate-fields.ts'
import { sameName } from './certificate-path.ts'
import { clipped } from './certificate-text.ts'

/** Contents of an ID payload. */
export interface IdentityLike {
  readonly idType: number
  readonly data: Uint8Array
}

/** @throws NativeUnavailableError for distinguished names, where OpenSSL cannot be called */
export function certificateCarries(certificate: X509Certificate, identity: IdentityLike): boolean {
  const { data } = identity
  switch (identity.idType) {
    case IdType.FQDN:
      return carriesHost(certificate, textOf(data))
    case IdType.RFC822_ADDR:
      return textOf(data) !== '' && certificate.checkEmail(textOf(data), { subject: 'never' }) !== undefined
    case IdType.IPV4_ADDR:
    case IdType.IPV6_ADDR: {
      const address = addressText(data, identity.idType)
      return address !== undefined && certificate.checkIP(address) !== undefined
    }
    case IdType.DER_ASN1_DN: {
      const subject = certificateFields(certificate.raw)?.subject
      return subject !== undefined && sameName(subject, data)
    }
    case IdType.KEY_ID: {
      const fields = certificateFields(certificate.raw)
      const identifier = fields && subjectKeyIdentifier(fields)
      return (
        identifier !== undefined && identifier.length === data.length && timingSafeEqual(identifier, data)
      )
    }
    default:
      return false
  }
}

function textOf(data: Uint8Array): string {
  const text = Buffer.from(data).toString('latin1')
  // OpenSSL gives a leading dot and an asterisk meanings of their own; no identity may use them to match more.
  return /^[\x21-\x7e]+$/.test(text) && !text.startsWith('.') && !text.includes('*') ? text : ''
}

function carriesHost(certificate: X509Certificate, host: string): boolean {
  if (host === '') return false
  const fields = certificateFields(certificate.raw)
  if (fields === undefined) return false
  const subject = hasSubjectAltName(fields) ? 'never' : 'always'
  return (
    certificate.checkHost(host, {
      subject,
      partialWildcards: false,
      multiLabelWildcards: false,
      wildcards: true,
      singleLabelSubdomains: true
    }) !== undefined
  )
}

function addressText(data: Uint8Array, idType: number): string | undefined {
  if (idType === IdType.IPV4_ADDR) return data.length === 4 ? data.join('.') : undefined
  if (data.length !== 16) return undefined
  return Buffer.from(data).toString('hex').match(/.{4}/g)?.join(':')
}

/** An identity for people, as strongSwan prints it; other bytes than text as hex. */
export function describeIdentity({ idType, data }: IdentityLike): string {
  switch (idType) {
    case IdType.FQDN:
    case IdType.RFC822_ADDR:
      return clipped(Buffer.from(data).toString('utf8'))
    case IdType.IPV4_ADDR:
    case IdType.IPV6_ADDR:
      return addressText(data, idType) ?? Buffer.from(data).toString('hex')
    default:
      return clipped(`0x${Buffer.from(data).toString('hex')}`)
  }
}
