/**
 * From what the operating system, Node or a proxy says to the stable codes of `TransportFailure`.
 * @module
 */
import { UnreachableError } from '../errors.ts'
import type { TransportFailure, TransportFailureCode } from './types.ts'

/** A transport could not be opened. `code` and `failure.code` are the same. */
export class TransportError extends UnreachableError {
  readonly failure: TransportFailure

  constructor(code: TransportFailureCode, message: string, hint?: string, cause?: unknown) {
    super(code, message, { hint, cause })
    this.failure = { code, message }
  }
}

const CODES: Readonly<Record<string, TransportFailureCode>> = {
  ECONNREFUSED: 'connection-refused',
  ECONNRESET: 'connection-reset',
  ECONNABORTED: 'connection-reset',
  EPIPE: 'connection-reset',
  ETIMEDOUT: 'timeout',
  ENETUNREACH: 'network-unreachable',
  EHOSTUNREACH: 'network-unreachable',
  ENETDOWN: 'network-unreachable',
  EHOSTDOWN: 'network-unreachable',
  EADDRNOTAVAIL: 'network-unreachable',
  EAFNOSUPPORT: 'network-unreachable',
  EACCES: 'permission-denied',
  EPERM: 'permission-denied'
}

/** On UDP an ICMP "port unreachable" arrives as ECONNREFUSED (RFC 1122 section 4.1.3.3). */
const UDP_CODES: Readonly<Record<string, TransportFailureCode>> = {
  ...CODES,
  ECONNREFUSED: 'port-unreachable'
}

const SENTENCES: Partial<Readonly<Record<TransportFailureCode, string>>> = {
  'connection-refused': 'refused the connection',
  'connection-reset': 'reset the connection',
  timeout: 'did not answer in time',
  'network-unreachable': 'cannot be reached from this network',
  'permission-denied': 'may not be contacted: the local firewall or system policy forbids it',
  'port-unreachable': 'reports the port as unreachable (ICMP)'
}

/** The `code` property of a Node system error, such as `ECONNREFUSED`; '' when there is none. */
export function systemCode(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}

/** `what` names the far end, such as `192.0.2.1 TCP port 4500`. */
export function failureOf(errnoName: string, what: string, datagram = false): TransportFailure {
  const code = (datagram ? UDP_CODES : CODES)[errnoName] ?? 'io-error'
  const sentence = SENTENCES[code]
  return { code, message: sentence === undefined ? `${what}: ${errnoName}` : `${what} ${sentence}` }
}

export function transportError(failure: TransportFailure, cause?: unknown): TransportError {
  return new TransportError(failure.code, failure.message, undefined, cause)
}

/** The failure inside anything that an `open...` function rejects with. */
export function failureFrom(error: unknown): TransportFailure {
  if (error instanceof TransportError) return error.failure
  const name = systemCode(error)
  const message = error instanceof Error ? error.message : String(error)
  return { code: CODES[name] ?? 'io-error', message }
}

/** `[2001:db8::1]:4500` or `192.0.2.1:4500`. */
export function formatEndpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** `SystemCallError`, `AbortError` and the like, as a `TransportError` about `what`. */
export function wrapSystemError(error: unknown, what: string, datagram = false): TransportError {
  if (error instanceof TransportError) return error
  const name = systemCode(error)
  if (name === '') {
    const message = error instanceof Error ? error.message : String(error)
    return new TransportError('io-error', `${what}: ${message}`, undefined, error)
  }
  return transportError(failureOf(name, what, datagram), error)
}

/** What `signal` abortion looks like to the callers of `open...`. */
export function abortedError(what: string): TransportError {
  return new TransportError('closed', `${what}: given up`)
}
