/**
 * What the TLS around a stream turned out to be: an interceptor's certificate is worth knowing, although IKE does not depend
 * on it.
 * @module
 */
import { tlsInfoOf } from '../transport/tls.ts'
import type { Transport } from '../transport/types.ts'
import type { OuterTls } from './events.ts'

/** @returns null on UDP and TCP */
export function outerTls(transport: Transport): OuterTls | null {
  const info = tlsInfoOf(transport)
  if (info === undefined) return null
  const { protocol, authorized, authorizationError, issuer } = info
  return { protocol, authorized, problem: authorizationError ?? null, issuer }
}
