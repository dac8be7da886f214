import { describe, expect, it } from 'vitest'
import { prfById } from '../../../src/crypto/prf.ts'
import { suiteOf, transformOf } from '../../../src/crypto/proposal.ts'
import type { CipherSuite, Prf } from '../../../src/crypto/types.ts'
import { FragmentReassembler } from '../../../src/ike/fragments.ts'
import {
  deriveChildKeys,
  deriveIkeKeys,
  type IkeKeys,
  initialSkeyseed,
  rekeySkeyseed
} from '../../../src/ike/keymat.ts'
import { Protection } from '../../../src/ike/protection.ts'
import { decodeMessage, decodePayloads } from '../../../src/wire/ike-codec.ts'
import { ExchangeType, PayloadType, ProtocolId, TransformType } from '../../../src/wire/ike-constants.ts'
import { findPayload, spiFromBytes } from '../../../src/wire/ike-helpers.ts'
import type { IkeHeader, Payload, Proposal } from '../../../src/wire/ike-message.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import vectors from '../../vectors/strongswan-ike-sessions.json' with { type: 'json' }

type Recorded = (typeof vectors.sessions)[number]
type RecordedKeys = Partial<Record<keyof IkeKeys | 'sharedSecret' | 'skeyseed' | 'skDWithPpk', string>>

interface Half {
  readonly nonce: Uint8Array
  readonly proposal: Proposal
}

interface Sa {
  readonly prf: Prf
  readonly suite: CipherSuite
  readonly keys: IkeKeys
  /** SK_d that Child SAs come from: another one where a PPK was mixed in (RFC 8784). */
  readonly skD: Uint8Array
  readonly fromInitiator: Protection
  readonly fromResponder: Protection
}

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'))
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

/** Walks through a recorded session with nothing but its DH secrets, deriving and decrypting everything. */
class Replay {
  readonly opened: string[] = []
  readonly #ikeKeys: RecordedKeys[]
  readonly #childKeys: Record<string, string | undefined>[]
  readonly #sas = new Map<string, Sa>()
  readonly #inits = new Map<bigint, Half>()
  readonly #requests = new Map<string, readonly Payload[]>()
  readonly #fragments = new Map<string, FragmentReassembler>()
  readonly #seen = new Set<string>()

  constructor(session: Recorded) {
    this.#ikeKeys = [...(session.ikeSas as RecordedKeys[])]
    this.#childKeys = [...(session.childSas as Record<string, string | undefined>[])]
  }

  get leftOver(): number {
    return this.#ikeKeys.length + this.#childKeys.length
  }

  take(bytes: Uint8Array): void {
    // Retransmissions are bit-identical: once is enough.
    if (this.#seen.has(text(bytes))) return
    this.#seen.add(text(bytes))
    const decoded = decodeMessage(bytes)
    if (!decoded.ok) throw decoded.error
    const { header, payloads } = decoded.message
    if (header.exchangeType === ExchangeType.IKE_SA_INIT) {
      this.#takeInit(header, payloads)
      return
    }
    const sa = this.#sas.get(`${header.spiI}/${header.spiR}`)
    const encrypted = payloads.at(-1)
    if (sa === undefined || decoded.encryptedOffset === undefined) throw new Error('no keys for this message')
    if (encrypted?.type !== PayloadType.SK && encrypted?.type !== PayloadType.SKF) throw new Error('not SK')
    const protection = header.fromInitiator ? sa.fromInitiator : sa.fromResponder
    const plaintext = protection.open(bytes, decoded.encryptedOffset, encrypted)
    if (plaintext === undefined) throw new Error('a recorded message does not open')
    const broken = Uint8Array.from(bytes)
    broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1
    const again = decodeMessage(broken)
    if (again.ok) {
      const body = again.message.payloads.at(-1)
      if (body?.type === encrypted.type) {
        expect(protection.open(broken, decoded.encryptedOffset, body as typeof encrypted)).toBeUndefined()
      }
    }
    const whole =
      encrypted.type === PayloadType.SK
        ? { firstInner: encrypted.firstInner, plaintext }
        : this.#reassemble(header, encrypted, plaintext)
    if (whole === undefined) return
    const inner = decodePayloads(whole.firstInner, whole.plaintext)
    if (!inner.ok) throw inner.error
    this.opened.push(`${header.exchangeType} ${header.isResponse ? 'response' : 'request'}`)
    this.#takeInner(sa, header, inner.value)
  }

  #reassemble(
    header: IkeHeader,
    fragment: { fragmentNumber: number; totalFragments: number; firstInner: number },
    plaintext: Uint8Array
  ) {
    const key = `${header.spiI}/${header.isResponse}/${header.fromInitiator}`
    const reassembler = this.#fragments.get(key) ?? new FragmentReassembler()
    this.#fragments.set(key, reassembler)
    return reassembler.add(0, { ...fragment, messageId: header.messageId, plaintext })
  }

  #takeInit(header: IkeHeader, payloads: readonly Payload[]): void {
    const half = halfOf(payloads)
    if (half === undefined) return
    if (!header.isResponse) {
      this.#inits.set(header.spiI, half)
      return
    }
    const request = this.#inits.get(header.spiI)
    if (request === undefined) throw new Error('a response without its request')
    this.#derive(half.proposal, request.nonce, half.nonce, header.spiI, header.spiR, undefined)
  }

  #takeInner(sa: Sa, header: IkeHeader, payloads: readonly Payload[]): void {
    const key = `${header.spiI}/${header.messageId}/${header.fromInitiator !== header.isResponse}`
    if (!header.isResponse) {
      this.#requests.set(key, payloads)
      return
    }
    const half = halfOf(payloads)
    const request = this.#requests.get(key)
    if (header.exchangeType === ExchangeType.IKE_AUTH) {
      const answer = findPayload(payloads, PayloadType.SA)
      const init = this.#initNonces(header)
      if (answer !== undefined && init !== undefined) this.#checkChild(sa, answer.proposals[0], ...init)
      return
    }
    if (half === undefined || request === undefined) return
    const asked = halfOf(request)
    if (asked === undefined) return
    if (half.proposal.protocolId === ProtocolId.IKE) {
      const spis = [spiFromBytes(asked.proposal.spi), spiFromBytes(half.proposal.spi)]
      this.#derive(half.proposal, asked.nonce, half.nonce, spis[0] ?? 0n, spis[1] ?? 0n, sa)
    } else this.#checkChild(sa, half.proposal, asked.nonce, half.nonce)
  }

  readonly #nonces = new Map<string, [Uint8Array, Uint8Array]>()

  #initNonces(header: IkeHeader): [Uint8Array, Uint8Array] | undefined {
    return this.#nonces.get(`${header.spiI}/${header.spiR}`)
  }

  #derive(
    chosen: Proposal,
    nonceI: Uint8Array,
    nonceR: Uint8Array,
    spiI: bigint,
    spiR: bigint,
    old: Sa | undefined
  ): void {
    const prf = prfById(transformOf(chosen, TransformType.PRF)?.id ?? 0)
    const suite = suiteOf(chosen)
    const recorded = this.#ikeKeys.shift()
    if (prf === undefined || suite === undefined || recorded?.sharedSecret === undefined)
      throw new Error('no keys')
    const secret = hex(recorded.sharedSecret)
    const skeyseed =
      old === undefined
        ? initialSkeyseed(prf, nonceI, nonceR, secret)
        : rekeySkeyseed(old.prf, old.skD, secret, nonceI, nonceR)
    expect(text(skeyseed)).toBe(recorded.skeyseed)
    const keys = deriveIkeKeys(prf, suite, skeyseed, nonceI, nonceR, spiI, spiR)
    for (const [name, key] of Object.entries(keys) as [keyof IkeKeys, Uint8Array][]) {
      expect(`${name} ${text(key)}`).toBe(`${name} ${recorded[name] ?? ''}`)
    }
    const random = new SeededRandom(1)
    this.#nonces.set(`${spiI}/${spiR}`, [nonceI, nonceR])
    this.#sas.set(`${spiI}/${spiR}`, {
      prf,
      suite,
      keys,
      skD: recorded.skDWithPpk === undefined ? keys.skD : hex(recorded.skDWithPpk),
      // A Protection opens what the other end sealed.
      fromInitiator: new Protection(suite, keys, false, random),
      fromResponder: new Protection(suite, keys, true, random)
    })
  }

  #checkChild(sa: Sa, chosen: Proposal | undefined, nonceI: Uint8Array, nonceR: Uint8Array): void {
    const recorded = this.#childKeys.shift()
    const suite = chosen === undefined ? undefined : suiteOf(chosen)
    if (recorded === undefined || suite === undefined) throw new Error('no Child SA was recorded')
    const secret = recorded['sharedSecret'] === undefined ? undefined : hex(recorded['sharedSecret'])
    const keys = deriveChildKeys(sa.prf, suite, sa.skD, secret, nonceI, nonceR)
    for (const [name, key] of Object.entries(keys)) {
      expect(`${name} ${text(key as Uint8Array)}`).toBe(`${name} ${recorded[name] ?? ''}`)
    }
  }
}

function halfOf(payloads: readonly Payload[]): Half | undefined {
  const nonce = findPayload(payloads, PayloadType.NONCE)?.data
  const proposal = findPayload(payloads, PayloadType.SA)?.proposals[0]
  return nonce === undefined || proposal === undefined ? undefined : { nonce, proposal }
}

describe('sessions recorded from strongSwan', () => {
  for (const session of vectors.sessions) {
    it(`${session.name}: every key is derived and every message opened`, () => {
      const replay = new Replay(session)
      let protectedMessages = 0
      for (const [, message = ''] of session.messages) replay.take(hex(message))
      protectedMessages = replay.opened.length
      expect(protectedMessages).toBeGreaterThan(1)
      expect(replay.leftOver).toBe(0)
    })
  }
})
