/**
 * Web addresses that strangers give us: shown to people, never followed.
 * @module
 */

const MAX_LENGTH = 2_048

/** The normal form of an http or https URL; null for everything else. Nothing in it harms a terminal. */
export function webUrl(value: unknown, base?: URL): string | null {
  if (typeof value !== 'string' || value.length > MAX_LENGTH) return null
  let url: URL
  try {
    url = new URL(value, base)
  } catch {
    return null
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null
  // Credentials in a URL are a way to make it look like another one.
  url.username = ''
  url.password = ''
  return /^[\x21-\x7e]+$/.test(url.href) ? url.href : null
}
