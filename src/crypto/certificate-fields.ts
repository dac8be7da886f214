/**
 * Parts of a certificate as the bytes that they are (RFC 5280 section 4.1), which node:crypto does not hand out.
 * Reading never throws; a certificate that is not strict DER has no parts.
 * @module
 */
import { contextTag, type DerElement, DerTag, derOid, readDer, readDerAll, readDerSequence } from './der.ts'

interface CertificateExtension {
  readonly critical: boolean
  /** Contents of the OCTET STRING. */
  readonly value: Uint8Array
}

export interface CertificateFields {
  /** DER of the INTEGER. */
  readonly serialNumber: Uint8Array
  /** DER of the subject's Name. */
  readonly subject: Uint8Array
  readonly issuer: Uint8Array
  /** DER of the SubjectPublicKeyInfo. */
  readonly subjectPublicKeyInfo: Uint8Array
  /** By dotted OID, those asked for alone; undefined: not there. */
  extension(oid: string): CertificateExtension | undefined
}

/** undefined when `certificate` is not one X.509 certificate in strict DER. */
export function certificateFields(certificate: Uint8Array): CertificateFields | undefined {
  const [toBeSigned] = readDerSequence(certificate) ?? []
  const parts = toBeSigned && readDerSequence(toBeSigned.encoding)
  if (parts === undefined) return undefined
  // The version is explicitly tagged and left out of version 1.
  const fixed = parts[0]?.tag === contextTag(0) ? parts.slice(1) : parts
  const [serial, , issuer, , subject, spki, ...optional] = fixed
  if (serial?.tag !== DerTag.INTEGER || issuer?.tag !== DerTag.SEQUENCE) return undefined
  if (subject?.tag !== DerTag.SEQUENCE || spki?.tag !== DerTag.SEQUENCE) return undefined
  const extensions = optional.find(({ tag }) => tag === contextTag(3))
  const list = extensions === undefined ? [] : (readDerSequence(extensions.contents) ?? [])
  return {
    serialNumber: serial.encoding,
    issuer: issuer.encoding,
    subject: subject.encoding,
    subjectPublicKeyInfo: spki.encoding,
    extension: (oid) => findExtension(list, oid)
  }
}

function findExtension(list: readonly DerElement[], oid: string): CertificateExtension | undefined {
  const wanted = derOid(oid)
  for (const element of list) {
    const [id, ...rest] = readDerAll(element.contents) ?? []
    if (id === undefined || Buffer.compare(id.encoding, wanted) !== 0) continue
    const value = rest.at(-1)
    if (value?.tag !== DerTag.OCTET_STRING) return undefined
    const critical = rest.length === 2 && rest[0]?.tag === DerTag.BOOLEAN && rest[0].contents[0] === 0xff
    return { critical, value: value.contents }
  }
  return undefined
}

const SUBJECT_KEY_IDENTIFIER = '2.5.29.14'
const SUBJECT_ALT_NAME = '2.5.29.17'

/** The subjectKeyIdentifier (RFC 5280 section 4.2.1.2). */
export function subjectKeyIdentifier(fields: CertificateFields): Uint8Array | undefined {
  const extension = fields.extension(SUBJECT_KEY_IDENTIFIER)
  const element = extension && readDer(extension.value)
  return element?.tag === DerTag.OCTET_STRING ? element.contents : undefined
}

export function hasSubjectAltName(fields: CertificateFields): boolean {
  return fields.extension(SUBJECT_ALT_NAME) !== undefined
}
