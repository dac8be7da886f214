/**
 * Names out of certificates, for people: on one line, and never longer than a message can bear, whatever a hostile
 * certificate holds.
 * @module
 */
import type { X509Certificate } from 'node:crypto'

const MAX_LENGTH = 200

/** At most `MAX_LENGTH` characters, without those that move the cursor or turn the direction of writing. */
export function clipped(text: string): string {
  const shown = text.slice(0, MAX_LENGTH).replaceAll(/[\p{Cc}\p{Cf}]/gu, '?')
  return text.length <= MAX_LENGTH ? shown : `${shown}...`
}

function oneLine(name: string | undefined): string {
  const parts = (name ?? '').split('\n').filter((part) => part !== '')
  return clipped(parts.join(', '))
}

/** The subject, in the order of its encoding; a stand-in when it is empty. */
export function subjectText(certificate: X509Certificate): string {
  return oneLine(certificate.subject) || `serial ${certificate.serialNumber}`
}

export function issuerText(certificate: X509Certificate): string {
  return oneLine(certificate.issuer) || 'no name'
}
