/**
 * Reads the recorded strongSwan sessions: opens their IKE_AUTH messages with the recorded keys.
 * @module
 */
import { cipherSuite } from '../../../src/crypto/cipher-suite.ts'
import { createIkeCipher } from '../../../src/crypto/ike-cipher.ts'
import type { CipherSuite, IkeCipher } from '../../../src/crypto/types.ts'
import { EncryptionId, IntegrityId } from '../../../src/wire/ike-constants.ts'
import recorded from '../../vectors/strongswan-ike-auth.json' with { type: 'json' }
import { unhex } from './support.ts'

export type RecordedSession = (typeof recorded.sessions)[number]
export const recordedSessions: readonly RecordedSession[] = recorded.sessions

export interface InnerPayload {
  readonly type: number
  readonly body: Buffer
}

export function suiteOfSession(session: RecordedSession): CipherSuite {
  const suite =
    session.name === 'cbc'
      ? cipherSuite(EncryptionId.AES_CBC, 256, IntegrityId.HMAC_SHA2_256_128)
      : session.name === 'chapoly'
        ? cipherSuite(EncryptionId.CHACHA20_POLY1305, undefined, IntegrityId.NONE)
        : cipherSuite(EncryptionId.AES_GCM_16, 128, IntegrityId.NONE)
  if (suite === undefined) throw new Error('no suite')
  return suite
}

export function cipherOf(session: RecordedSession, from: 'initiator' | 'responder'): IkeCipher {
  const suite = suiteOfSession(session)
  const [encryption, integrity] =
    from === 'initiator' ? [session.skei, session.skai] : [session.sker, session.skar]
  return createIkeCipher(suite, unhex(encryption), unhex(integrity ?? ''))
}

export interface SealedParts {
  readonly associated: Buffer
  readonly iv: Buffer
  readonly sealed: Buffer
  readonly firstInner: number
}

/** The parts of a message whose first payload is SK or SKF. */
export function partsOf(message: Buffer, cipher: IkeCipher): SealedParts {
  const isFragment = message.readUInt8(16) === 53
  const header = 28 + (isFragment ? 8 : 4)
  return {
    associated: message.subarray(0, header),
    iv: message.subarray(header, header + cipher.ivLength),
    sealed: message.subarray(header + cipher.ivLength),
    firstInner: message.readUInt8(28)
  }
}

/** Every payload inside of one side's IKE_AUTH, fragments joined. */
export function authPayloads(session: RecordedSession, from: 'initiator' | 'responder'): InnerPayload[] {
  const cipher = cipherOf(session, from)
  let firstInner = 0
  const texts: Buffer[] = []
  for (const message of session.messages.map(unhex)) {
    const isResponse = (message.readUInt8(19) & 0x20) !== 0
    if (message.readUInt8(18) !== 35 || isResponse !== (from === 'responder')) continue
    const parts = partsOf(message, cipher)
    const plaintext = cipher.open(parts.associated, parts.iv, parts.sealed)
    if (plaintext === undefined) throw new Error('a recorded message does not open')
    if (parts.firstInner !== 0) firstInner = parts.firstInner
    texts.push(Buffer.from(plaintext.subarray(0, plaintext.length - 1 - (plaintext.at(-1) ?? 0))))
  }
  return splitPayloads(firstInner, Buffer.concat(texts))
}

function splitPayloads(firstType: number, bytes: Buffer): InnerPayload[] {
  const payloads: InnerPayload[] = []
  for (let type = firstType, offset = 0; type !== 0; ) {
    const length = bytes.readUInt16BE(offset + 2)
    payloads.push({ type, body: bytes.subarray(offset + 4, offset + length) })
    type = bytes.readUInt8(offset)
    offset += length
  }
  return payloads
}
