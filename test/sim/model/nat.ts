/**
 * The NAT in front of the client: gives every flow a port of its public address, forgets flows that were idle for too long, and
 * may lose all of them at once.
 * @module
 */
interface Mapping {
  readonly key: string
  readonly port: number
  lastOutAt: number
}

export class Nat {
  publicAddress: string
  idleMs: number
  readonly #outside = new Map<number, Mapping>()
  readonly #inside = new Map<string, Mapping>()
  #nextPort: number

  constructor(publicAddress: string, idleMs: number, firstPort: number) {
    this.publicAddress = publicAddress
    this.idleMs = idleMs
    this.#nextPort = firstPort
  }

  /** @returns the public port, and whether the mapping that there was had expired */
  out(now: number, key: string): { readonly port: number; readonly expired: boolean } {
    const known = this.#inside.get(key)
    if (known !== undefined && now - known.lastOutAt <= this.idleMs) {
      known.lastOutAt = now
      return { port: known.port, expired: false }
    }
    if (known !== undefined) this.#outside.delete(known.port)
    const mapping = { key, port: this.#freePort(), lastOutAt: now }
    this.#inside.set(key, mapping)
    this.#outside.set(mapping.port, mapping)
    return { port: mapping.port, expired: known !== undefined }
  }

  /** Whose packet this is; undefined: nobody's, or nobody's any more. */
  in(now: number, address: string, port: number): string | undefined {
    const mapping = this.#outside.get(port)
    if (mapping === undefined || address !== this.publicAddress) return undefined
    return now - mapping.lastOutAt <= this.idleMs ? mapping.key : undefined
  }

  /** @returns how many flows it has forgotten */
  forgetAll(): number {
    const forgotten = this.#inside.size
    this.#inside.clear()
    this.#outside.clear()
    return forgotten
  }

  #freePort(): number {
    do this.#nextPort = this.#nextPort >= 65_000 ? 20_000 : this.#nextPort + 1
    while (this.#outside.has(this.#nextPort))
    return this.#nextPort
  }
}
