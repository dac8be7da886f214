/**
 * Domain names as text, in the narrow form that may be handed to a resolver's configuration: labels of letters, digits, hyphens
 * and underscores, no escapes (RFC 1035 section 2.3.1, RFC 8598 section 4.1).
 * @module
 */

/** RFC 1035 section 2.3.4. */
const MAX_LENGTH = 253
const LABELS = /^(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?$/

export function isDomainName(text: string): boolean {
  return text.length <= MAX_LENGTH && LABELS.test(text)
}
