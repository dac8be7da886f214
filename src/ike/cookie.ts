/**
 * Stateless cookies against floods of IKE_SA_INIT (RFC 7296 section 2.6).
 *
 * `Cookie = version | HMAC-SHA-256(secret, Ni | IP address | SPIi | difficulty of a puzzle, if there is one)`. The port is left out, because a cookie may come
 * back over another connection or through a NAT that changed it (RFC 9329 section 6.3).
 * @module
 */
import { equalInConstantTime } from '../crypto/legacy-hash.ts'
import { prfById } from '../crypto/prf.ts'
import type { RandomSource } from '../crypto/types.ts'
import { InternalError } from '../errors.ts'
import { PrfId } from '../wire/ike-constants.ts'
import { spiToBytes } from '../wire/ike-helpers.ts'
import { concat } from './keymat.ts'
import { COOKIE_SECRET_LIFETIME_MS } from './options.ts'

const SECRET_LENGTH = 32

export interface CookieInputs {
  readonly nonce: Uint8Array
  readonly address: string
  readonly spiI: bigint
  /** Of the puzzle that goes with it (RFC 8019 section 7.1.1.3); absent: there is none. */
  readonly difficulty?: number
}

/** What makes cookies good at another member of a cluster, too. */
export interface CookieSecrets {
  readonly version: number
  readonly secret: Uint8Array
  readonly previous: Uint8Array | undefined
  /** Since the secret was made. */
  readonly ageMs: number
}

export class CookieJar {
  readonly #random: RandomSource
  #version = 0
  #secret: Uint8Array
  #previous: Uint8Array | undefined
  #changedAt: number | undefined

  constructor(random: RandomSource) {
    this.#random = random
    this.#secret = random.bytes(SECRET_LENGTH)
  }

  make(now: number, inputs: CookieInputs): Uint8Array {
    this.#rotate(now)
    return concat(Uint8Array.of(this.#version), macOf(this.#secret, inputs))
  }

  /** Counts the secrets. */
  get version(): number {
    return this.#version
  }

  secrets(now: number): CookieSecrets {
    this.#rotate(now)
    const ageMs = now - (this.#changedAt ?? now)
    return { version: this.#version, secret: this.#secret, previous: this.#previous, ageMs }
  }

  /** Goes on with those of another member. */
  use(now: number, { version, secret, previous, ageMs }: CookieSecrets): void {
    this.#version = version
    this.#secret = secret
    this.#previous = previous
    this.#changedAt = now - ageMs
  }

  /** Made with the current secret or the one before. */
  verify(now: number, cookie: Uint8Array, inputs: CookieInputs): boolean {
    this.#rotate(now)
    const isPrevious = cookie[0] === ((this.#version - 1) & 0xff)
    const secret = cookie[0] === this.#version ? this.#secret : isPrevious ? this.#previous : undefined
    return secret !== undefined && equalInConstantTime(cookie.subarray(1), macOf(secret, inputs))
  }

  #rotate(now: number): void {
    this.#changedAt ??= now
    const age = now - this.#changedAt
    if (age < COOKIE_SECRET_LIFETIME_MS) return
    // After a long pause the one before is too old as well.
    this.#previous = age < 2 * COOKIE_SECRET_LIFETIME_MS ? this.#secret : undefined
    this.#secret = this.#random.bytes(SECRET_LENGTH)
    this.#version = (this.#version + 1) & 0xff
    this.#changedAt = now
  }
}

function macOf(secret: Uint8Array, { nonce, address, spiI, difficulty }: CookieInputs): Uint8Array {
  const prf = prfById(PrfId.HMAC_SHA2_256)
  if (prf === undefined) throw new InternalError('no-cookie-mac', 'HMAC-SHA-256 is missing')
  const info = difficulty === undefined ? new Uint8Array(0) : Uint8Array.of(difficulty)
  return prf.compute(secret, nonce, new TextEncoder().encode(address), spiToBytes(spiI), info)
}
