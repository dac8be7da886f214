/**
 * Apple's words for algorithms (IKESecurityAssociationParameters, ChildSecurityAssociationParameters) as proposals.
 * @module
 */
import { parseProposals } from '../../crypto/proposal.ts'
import { IkestreamError } from '../../errors.ts'
import type { ProfileDraft } from './draft.ts'
import type { SettingsReader } from './settings-reader.ts'

const ENCRYPTION: Readonly<Record<string, string>> = {
  'AES-128': 'aes128',
  'AES-256': 'aes256',
  'AES-128-GCM': 'aes128gcm16',
  'AES-256-GCM': 'aes256gcm16',
  ChaCha20Poly1305: 'chacha20poly1305'
}
const INTEGRITY: Readonly<Record<string, string>> = {
  'SHA1-96': 'sha1',
  'SHA2-256': 'sha256',
  'SHA2-384': 'sha384',
  'SHA2-512': 'sha512'
}
const GROUPS: Readonly<Record<number, string>> = {
  14: 'modp2048',
  15: 'modp3072',
  16: 'modp4096',
  19: 'ecp256',
  20: 'ecp384',
  21: 'ecp521',
  31: 'x25519',
  32: 'x448'
}
/** Apple's defaults, for keys that the dictionary lacks. */
const DEFAULTS = { encryption: 'AES-256', integrity: 'SHA2-256', group: 14 } as const
const SECONDS_PER_MINUTE = 60

/** Reads both dictionaries of an IKEv2 payload; the second is like the first where it is not there. */
export function carryProposals(ikev2: SettingsReader, draft: ProfileDraft): void {
  const ike = ikev2.dict('IKESecurityAssociationParameters')
  const child = ikev2.dict('ChildSecurityAssociationParameters')
  const withPfs = ikev2.flag('EnablePFS') === true
  if (ike !== undefined) {
    carry(ike, 'ike', true, draft)
    carryLifetime(ike, 'ike-lifetime', draft)
  }
  const esp = child ?? ike
  if (esp !== undefined) carry(esp, 'esp', withPfs, draft)
  else if (withPfs) draft.leave('EnablePFS', 'without algorithms; add a group to auth.esp-proposal')
  if (child !== undefined) carryLifetime(child, 'child-lifetime', draft)
}

function carry(
  parameters: SettingsReader,
  kind: 'ike' | 'esp',
  withGroup: boolean,
  draft: ProfileDraft
): void {
  const encryption = parameters.text('EncryptionAlgorithm') ?? DEFAULTS.encryption
  const integrity = parameters.text('IntegrityAlgorithm') ?? DEFAULTS.integrity
  const group = parameters.integer('DiffieHellmanGroup') ?? DEFAULTS.group
  const words = [wordOf(ENCRYPTION, encryption), wordOf(INTEGRITY, integrity), wordOf(GROUPS, String(group))]
  const [cipher, hash, exchange] = words
  if (cipher === undefined || hash === undefined || (withGroup && exchange === undefined)) {
    const wanted = `${encryption}, ${integrity}, group ${group}`
    draft.leave(parameters.path, `ikestream does not speak ${wanted}; its own proposals are used`)
    return
  }
  // The combined-mode ciphers need no integrity algorithm; in IKE the word then says which PRF.
  const isCombined = /gcm|poly/.test(cipher)
  const second = isCombined ? (kind === 'ike' ? [`prf${hash}`] : []) : [hash]
  const proposal = [cipher, ...second, ...(withGroup && exchange !== undefined ? [exchange] : [])].join('-')
  draft.set(`${kind}-proposal`, acceptedProposals([proposal], kind, parameters.path, draft), parameters.path)
  parameters.ignore('PostQuantumKeyExchangeMethods')
  if (parameters.has('PostQuantumKeyExchangeMethods'))
    draft.leave(`${parameters.path}.PostQuantumKeyExchangeMethods`, 'ikestream has no post-quantum exchange')
}

function wordOf(words: Readonly<Record<string | number, string>>, name: string): string | undefined {
  return Object.hasOwn(words, name) ? words[name] : undefined
}

function carryLifetime(parameters: SettingsReader, key: string, draft: ProfileDraft): void {
  const minutes = parameters.integer('LifeTimeInMinutes')
  if (minutes !== undefined)
    draft.set(key, minutes * SECONDS_PER_MINUTE, `${parameters.path}.LifeTimeInMinutes`)
}

/** Those that ikestream speaks; the others are left out by name. */
export function acceptedProposals(
  texts: readonly string[],
  kind: 'ike' | 'esp',
  setting: string,
  draft: ProfileDraft
): string[] {
  return texts.filter((text) => {
    try {
      return parseProposals([text], kind).length > 0
    } catch (error) {
      if (!(error instanceof IkestreamError)) throw error
      draft.leave(setting, error.message)
      return false
    }
  })
}
