/**
 * What an import makes, before anything is written: settings under our own names, files that go beside the profile, and what could
 * not be carried over.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import { clipped } from '../../crypto/certificate-text.ts'
import { toPem } from '../credentials.ts'
import { checkOption } from '../option-check.ts'

export interface Leftover {
  /** As it is called in the file that is imported. */
  readonly setting: string
  /** Why it is left out, or what to do about it. */
  readonly reason: string
}

export interface DraftFile {
  /** The option that names it. */
  readonly key: string
  /** What is added to the profile's name. */
  readonly suffix: string
  readonly contents: Uint8Array | string
  /** Only its owner may read it. */
  readonly secret: boolean
}

export class ProfileDraft {
  readonly title: string
  readonly server: string
  readonly values = new Map<string, unknown>()
  readonly files: DraftFile[] = []
  readonly leftovers: Leftover[] = []

  /** @param title as its author calls it; any text */
  constructor(title: string, server: string) {
    this.title = title
    this.server = server
  }

  /**
   * Sets an option, unless it would be refused in a profile.
   * @param from the setting that it comes from
   */
  set(key: string, value: string | number | boolean | readonly string[] | undefined, from: string): void {
    if (value === undefined || (Array.isArray(value) && value.length === 0)) return
    const checked = checkOption(key, value)
    if ('value' in checked) this.values.set(key, checked.value)
    else this.leave(from, `it is ${clipped(String(value))}, and ${key} must be ${checked.wanted}`)
  }

  attach(key: string, suffix: string, contents: Uint8Array | string): void {
    this.files.push({ key, suffix, contents, secret: true })
  }

  leave(setting: string, reason: string): void {
    // Both may quote the file.
    this.leftovers.push({ setting: clipped(setting), reason: clipped(reason) })
  }

  /** REDIRECT (RFC 5685) is not to be followed. */
  forbidRedirect(): void {
    this.values.set('redirect', false)
  }

  /** A password or pre-shared key, as `readSecretFile` reads it again. */
  attachSecret(key: string, suffix: string, secret: string): void {
    this.attach(key, suffix, `${secret}\n`)
  }

  /** A pre-shared key that is meant as it stands: our files take `0x` and `0s` for other ways of writing one. */
  attachPresharedKey(key: Uint8Array): void {
    const text = new TextDecoder().decode(key)
    const isPlain = /^(?!0[xs])[\x20-\x7e]+$/i.test(text)
    this.attachSecret('psk-file', '.psk', isPlain ? text : `0x${Buffer.from(key).toString('hex')}`)
  }

  /** CA certificates, each once, in one PEM file. @param certificates DER */
  attachAuthorities(certificates: readonly Uint8Array[]): void {
    const pem = [...new Set(certificates.map(toPem))].map(
      (text) => `# ${clipped(new X509Certificate(text).subject.replaceAll('\n', ', '))}\n${text}`
    )
    if (pem.length > 0)
      this.files.push({ key: 'cafile', suffix: '-ca.pem', contents: pem.join(''), secret: false })
  }
}
