/**
 * Wireshark's key tables (`--unsafe-dump-keys`): with them a capture of the outer packets can be decrypted, by anybody
 * who has them. Files are 0600, in a directory that nobody else can write to.
 * @module
 */
import { appendFileSync, constants, lstatSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { SystemError } from '../errors.ts'
import type { ChildSaParameters, EspSaParameters } from '../esp/types.ts'
import { openPrivateFile } from '../host/private-file.ts'
import type { IkeKeyLog } from '../ike/types.ts'
import { EncryptionId, IntegrityId } from '../wire/ike-constants.ts'

/** Others may write there: they could have put a link, or a file of theirs. */
const WRITABLE_BY_OTHERS = 0o022
const IKE_TABLE = 'ikev2_decryption_table'
const ESP_TABLE = 'esp_sa'

export class KeyTables {
  /** Open from the beginning: with `--setuid` later keys come when the directory cannot be entered any more. */
  readonly #ikeTable: number
  readonly #espTable: number

  /** @throws SystemError when the directory or the files in it cannot be made */
  constructor(directory: string) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      const { uid, mode } = lstatSync(directory)
      if (uid !== process.geteuid?.()) throw new Error(`it belongs to user ${uid}`)
      if ((mode & WRITABLE_BY_OTHERS) !== 0) throw new Error('others can write there')
      this.#ikeTable = openPrivateFile(join(directory, IKE_TABLE), constants.O_APPEND)
      this.#espTable = openPrivateFile(join(directory, ESP_TABLE), constants.O_APPEND)
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new SystemError('key-directory', `The directory ${directory} for keys cannot be used: ${why}.`, {
        hint: 'Name a directory of your own, or one that does not exist.',
        cause
      })
    }
  }

  addIke(keys: IkeKeyLog): void {
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
    const spi = (value: bigint): string => value.toString(16).padStart(16, '0')
    const columns = [
      spi(keys.spiI),
      spi(keys.spiR),
      hex(keys.skEi),
      hex(keys.skEr),
      `"${ikeEncryptionName(keys.encryptionId, keys.encryptionKeyBits)}"`,
      hex(keys.skAi),
      hex(keys.skAr),
      `"${ikeIntegrityName(keys.integrityId)}"`
    ]
    append(this.#ikeTable, columns)
  }

  /** By SPI alone: the addresses around an SA change when the session moves, and proxies have addresses of their own. */
  addChild(child: ChildSaParameters): void {
    for (const family of ['IPv4', 'IPv6'] as const) {
      append(this.#espTable, espColumns(family, child.outbound))
      append(this.#espTable, espColumns(family, child.inbound))
    }
  }
}

function append(file: number, columns: readonly string[]): void {
  appendFileSync(file, `${columns.join(',')}\n`)
}

function espColumns(family: 'IPv4' | 'IPv6', sa: EspSaParameters): string[] {
  const hex = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString('hex')}`
  const columns = [
    family,
    '*',
    '*',
    `0x${sa.spi.toString(16).padStart(8, '0')}`,
    espEncryptionName(sa.encryptionId),
    hex(sa.encryptionKey),
    espIntegrityName(sa.integrityId),
    hex(sa.integrityKey)
  ]
  return columns.map((column) => `"${column}"`)
}

function ikeEncryptionName(id: number, bits: number): string {
  if (id === EncryptionId.AES_GCM_16) return `AES-GCM-${bits} with 16 octet ICV [RFC5282]`
  if (id === EncryptionId.CHACHA20_POLY1305) return 'ChaCha20-Poly1305 with 16 octet ICV [RFC7634]'
  return `AES-CBC-${bits} [RFC3602]`
}

function ikeIntegrityName(id: number): string {
  switch (id) {
    case IntegrityId.HMAC_SHA2_256_128:
      return 'HMAC_SHA2_256_128 [RFC4868]'
    case IntegrityId.HMAC_SHA2_384_192:
      return 'HMAC_SHA2_384_192 [RFC4868]'
    case IntegrityId.HMAC_SHA2_512_256:
      return 'HMAC_SHA2_512_256 [RFC4868]'
    case IntegrityId.HMAC_SHA1_96:
      return 'HMAC_SHA1_96 [RFC2404]'
    default:
      return 'NONE [RFC4306]'
  }
}

function espEncryptionName(id: number): string {
  if (id === EncryptionId.AES_GCM_16) return 'AES-GCM with 16 octet ICV [RFC4106]'
  if (id === EncryptionId.CHACHA20_POLY1305) return 'ChaCha20 with Poly1305 [RFC7634]'
  return 'AES-CBC [RFC3602]'
}

function espIntegrityName(id: number): string {
  switch (id) {
    case IntegrityId.HMAC_SHA2_256_128:
      return 'HMAC-SHA-256-128 [RFC4868]'
    case IntegrityId.HMAC_SHA2_384_192:
      return 'HMAC-SHA-384-192 [RFC4868]'
    case IntegrityId.HMAC_SHA2_512_256:
      return 'HMAC-SHA-512-256 [RFC4868]'
    case IntegrityId.HMAC_SHA1_96:
      return 'HMAC-SHA-1-96 [RFC2404]'
    default:
      return 'NULL'
  }
}
