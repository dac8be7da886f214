/**
 * Who a client certificate speaks for (RFC 5216 section 5.2): the Peer-Id of EAP-TLS.
 * @module
 */
import { certificateFields } from '../../crypto/certificate-fields.ts'
import { contextTag, type DerElement, DerTag, derOid, readDerAll, readDerSequence } from '../../crypto/der.ts'
import { commonNameOf } from '../auth/distinguished-name.ts'

const SUBJECT_ALT_NAME = '2.5.29.17'
/** Microsoft's User Principal Name, an otherName. */
const USER_PRINCIPAL_NAME = derOid('1.3.6.1.4.1.311.20.2.3')
const MAX_NAMES = 32

/**
 * The name that an EAP-TLS client proved to be.
 *
 * @param certificate DER, of a path that has been validated
 * @param claimed its EAP-Identity: kept if the certificate carries it (a certificate may carry several names)
 * @returns undefined if the certificate holds no name that can identify a user
 */
export function eapTlsIdentity(certificate: Uint8Array, claimed: string): string | undefined {
  const names = certificateUserNames(certificate)
  const folded = claimed.toLowerCase()
  return names.some((name) => name.toLowerCase() === folded) ? claimed : names[0]
}

/** Principal names, then mail addresses, then host names, then the common name of the subject. */
export function certificateUserNames(certificate: Uint8Array): string[] {
  const fields = certificateFields(certificate)
  if (fields === undefined) return []
  const extension = fields.extension(SUBJECT_ALT_NAME)
  const alternatives = (extension && readDerSequence(extension.value)?.slice(0, MAX_NAMES)) ?? []
  const commonName = commonNameOf(fields.subject)
  return [
    ...alternatives.map(principalName),
    ...alternatives.filter(({ tag }) => tag === contextTag(1, false)).map(asText),
    ...alternatives.filter(({ tag }) => tag === contextTag(2, false)).map(asText),
    commonName
  ].filter((name): name is string => name !== undefined && name !== '' && !/\p{Cc}/u.test(name))
}

function principalName(element: DerElement): string | undefined {
  if (element.tag !== contextTag(0)) return undefined
  const [type, value] = readDerAll(element.contents) ?? []
  if (type === undefined || value?.tag !== contextTag(0)) return undefined
  const isPrincipal =
    type.encoding.length === USER_PRINCIPAL_NAME.length &&
    type.encoding.every((byte, index) => byte === USER_PRINCIPAL_NAME[index])
  const [name] = readDerAll(value.contents) ?? []
  return isPrincipal && name?.tag === DerTag.UTF8_STRING ? asText(name) : undefined
}

function asText(element: DerElement): string {
  return new TextDecoder().decode(element.contents)
}
