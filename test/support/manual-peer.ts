/**
 * The other end of one IKE SA, made by hand: knows the keys, keeps no state and obeys no rule, so that a test can say
 * to a session whatever a correct peer would not.
 * @module
 */
import { cipherSuite } from '../../src/crypto/cipher-suite.ts'
import type { IkeKeys } from '../../src/ike/keymat.ts'
import { Protection } from '../../src/ike/protection.ts'
import type { Path } from '../../src/wire/endpoint.ts'
import { decodeMessage, decodePayloads } from '../../src/wire/ike-codec.ts'
import { PayloadType } from '../../src/wire/ike-constants.ts'
import type { IkeHeader, Payload } from '../../src/wire/ike-message.ts'
import type { End } from './ike-pair.ts'
import { SeededRandom } from './seeded-random.ts'

export class ManualPeer {
  readonly #end: End
  readonly #path: Path
  readonly #protection: Protection
  readonly #spis: { spiI: bigint; spiR: bigint }
  readonly #isInitiator: boolean

  /** @param end must have been made with `logKeys`; `isInitiator` is about the peer that this stands for */
  constructor(end: End, path: Path, isInitiator: boolean) {
    const keys = end.of('keys').at(-1)?.keys
    if (keys === undefined) throw new Error('no keys were logged')
    const suite = cipherSuite(keys.encryptionId, keys.encryptionKeyBits, keys.integrityId)
    if (suite === undefined) throw new Error('not a suite')
    const none = new Uint8Array(0)
    const sk: IkeKeys = { ...keys, skD: none, skPi: none, skPr: none }
    this.#end = end
    this.#path = path
    this.#spis = { spiI: keys.spiI, spiR: keys.spiR }
    this.#isInitiator = isInitiator
    this.#protection = new Protection(suite, sk, isInitiator, new SeededRandom(99))
    // The real peer has used up the first IVs of the counter.
    for (let count = 0; count < 1000; count++) this.#protection.seal(this.header(37, false, 0), [])
  }

  header(exchangeType: number, isResponse: boolean, messageId: number): IkeHeader {
    return {
      ...this.#spis,
      majorVersion: 2,
      minorVersion: 0,
      exchangeType,
      fromInitiator: this.#isInitiator,
      isResponse,
      messageId
    }
  }

  seal(header: IkeHeader, payloads: readonly Payload[], maxLength?: number): readonly Uint8Array[] {
    return this.#protection.seal(header, payloads, maxLength)
  }

  /** Sends a message to the session and drains it. */
  say(now: number, header: IkeHeader, payloads: readonly Payload[], path: Path = this.#path): void {
    for (const message of this.seal(header, payloads)) this.#end.session.receive(now, message, path)
    this.#end.drain()
  }

  /** Takes the oldest message that the session wants sent, and opens it. */
  hear(): { header: IkeHeader; payloads: readonly Payload[]; path: Path } {
    const output = this.#end.sent.shift()
    if (output === undefined) throw new Error('the session has said nothing')
    const decoded = decodeMessage(output.message)
    if (!decoded.ok || decoded.encryptedOffset === undefined) throw new Error('not a protected message')
    const encrypted = decoded.message.payloads.at(-1)
    if (encrypted?.type !== PayloadType.SK) throw new Error('not a whole message')
    const plaintext = this.#protection.open(output.message, decoded.encryptedOffset, encrypted)
    if (plaintext === undefined) throw new Error('does not open')
    const inner = decodePayloads(encrypted.firstInner, plaintext)
    if (!inner.ok) throw inner.error
    return { header: decoded.message.header, payloads: inner.value, path: output.path }
  }
}
