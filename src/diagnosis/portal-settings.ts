/**
 * Whom to ask about captive portals.
 * @module
 */
import { webUrl } from './web-url.ts'

/** The one that every Firefox asks; for one of your own see docs/CHECK.md. */
export const DEFAULT_PORTAL_URL = 'http://detectportal.firefox.com/success.txt'
/** RFC 8910 section 2: "there is no portal". */
export const UNRESTRICTED = 'urn:ietf:params:capport:unrestricted'

export interface PortalSettings {
  /** False: nobody is asked. */
  readonly enabled: boolean
  /** Of the web probe. */
  readonly url: string
  /** The API that the user named; undefined: the one that the system knows. */
  readonly api: string | undefined
}

/** RFC 8908 section 4: only https, whoever says otherwise. */
export function acceptedApiUrl(text: string): string | undefined {
  if (text === UNRESTRICTED) return text
  const url = webUrl(text)
  return url?.startsWith('https:') === true ? url : undefined
}

/** Only http: nobody can answer in the place of an https page without being found out. */
export function acceptedProbeUrl(text: string): string | undefined {
  const url = webUrl(text)
  return url?.startsWith('http:') === true ? url : undefined
}
