/**
 * What a file that somebody was given is, and what is in it: a .mobileconfig (signed or not) or a .sswan, told apart by contents.
 * @module
 */
import { openSignedMessage } from '../../crypto/cms.ts'
import { DataError } from '../../errors.ts'
import type { Leftover, ProfileDraft } from './draft.ts'
import { readMobileconfig } from './mobileconfig.ts'
import { parsePlist } from './plist.ts'
import { readSswan } from './sswan.ts'

/** Certificates, keys and an icon or two; what is larger is something else. */
const MAX_BYTES = 4 << 20
const DER_SEQUENCE = 0x30
const PEM_MESSAGE = /^\s*-----BEGIN (?:PKCS7|CMS)-----([\s\S]*?)-----END (?:PKCS7|CMS)-----\s*$/

export interface ImportContents {
  readonly drafts: readonly ProfileDraft[]
  /** What concerns the file as a whole. */
  readonly leftovers: readonly Leftover[]
  /** Of a signed file: who signed it, as the certificate in it says; null: it does not say. The signature is not checked. */
  readonly signature: { readonly signer: string | null } | undefined
}

/**
 * @param fallbackTitle for a file that gives its connection no name
 * @throws DataError for whatever cannot be used
 */
export function readImport(bytes: Uint8Array, fallbackTitle: string): ImportContents {
  if (bytes.length > MAX_BYTES)
    throw new DataError('import-too-large', 'The file is larger than 4 MiB: that is no VPN profile.')
  const message = signedMessage(bytes)
  if (message === undefined) return { ...contentsOf(bytes, fallbackTitle), signature: undefined }
  const opened = openSignedMessage(message)
  if (opened.kind === 'encrypted')
    throw new DataError('import-encrypted', 'The file is encrypted.', {
      hint: 'Ask whoever made it for one that is not.'
    })
  if (opened.kind === 'unknown') throw unknownFormat()
  return { ...contentsOf(opened.content, fallbackTitle), signature: { signer: opened.signer ?? null } }
}

function signedMessage(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes[0] === DER_SEQUENCE) return bytes
  const text = startsWith(bytes, '-----BEGIN') ? Buffer.from(bytes).toString('latin1') : ''
  const base64 = PEM_MESSAGE.exec(text)?.[1]
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64')
}

function contentsOf(bytes: Uint8Array, fallbackTitle: string): Omit<ImportContents, 'signature'> {
  if (startsWith(bytes, 'bplist'))
    throw new DataError('import-binary', 'The file is a property list in binary form.', {
      hint: 'Turn it into XML first: plutil -convert xml1 <file> (macOS), or plistutil -i <file> -o <new file>.'
    })
  if (startsWith(bytes, '<')) {
    const value = parsePlist(withoutMark(bytes))
    if (value instanceof Map) return readMobileconfig(value, fallbackTitle)
    throw new DataError('import-syntax', 'The property list is no configuration profile.')
  }
  if (!startsWith(bytes, '{')) throw unknownFormat()
  return { drafts: [readSswan(decodeText(bytes), fallbackTitle)], leftovers: [] }
}

function unknownFormat(): DataError {
  return new DataError('import-format', 'The file is neither a .mobileconfig nor a .sswan profile.', {
    hint: 'Others are written by hand: see the example of a profile in the README.'
  })
}

/** Whether the text begins so, after a byte order mark and white space. */
function startsWith(bytes: Uint8Array, text: string): boolean {
  return Buffer.from(withoutMark(bytes).subarray(0, 1024)).toString('latin1').trimStart().startsWith(text)
}

function withoutMark(bytes: Uint8Array): Uint8Array {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new DataError('import-syntax', 'The file is not UTF-8.', { cause })
  }
}
