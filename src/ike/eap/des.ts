/**
 * DES as MS-CHAPv2 uses it: 7-byte keys and single blocks (RFC 2759 sections 8.5, 8.6).
 * @module
 */
import { desEncryptBlock } from '../../crypto/legacy-hash.ts'

/** Spreads 56 key bits over 8 bytes and sets odd parity (RFC 2759 section 9.3). */
export function expandDesKey(key: Uint8Array): Uint8Array {
  let bits = 0n
  for (const byte of key.subarray(0, 7)) bits = (bits << 8n) | BigInt(byte)
  const expanded = new Uint8Array(8)
  for (let index = 7; index >= 0; index--) {
    expanded[index] = withOddParity(Number(bits & 0x7fn) << 1)
    bits >>= 7n
  }
  return expanded
}

/** DesEncrypt() of RFC 2759 section 8.6: 8 bytes of clear text under a 7-byte key. */
export function desEncrypt(clear: Uint8Array, key: Uint8Array): Uint8Array {
  const expanded = expandDesKey(key)
  const encrypted = desEncryptBlock(expanded, clear)
  expanded.fill(0)
  return encrypted
}

function withOddParity(value: number): number {
  let ones = 0
  for (let bit = 1; bit < 8; bit++) ones += (value >> bit) & 1
  return ones % 2 === 0 ? value | 1 : value
}
