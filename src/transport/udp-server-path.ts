/**
 * The paths of a UDP server: one for each pair of a local and a remote address and port that something came from.
 *
 * Invariants: at most `capacity` paths of peers that nobody vouches for are remembered, and the one that was silent
 * longest makes way; paths in use are kept until they are given back. A path that was forgotten can still be sent to by
 * whoever holds it.
 * @module
 */
import type { Endpoint, Path } from '../wire/endpoint.ts'
import { nextPathId } from './path-id.ts'

export class UdpServerPath implements Path {
  readonly id = nextPathId()
  readonly transport = 'udp'
  readonly reliable = false
  readonly local: Endpoint
  readonly remote: Endpoint
  readonly key: string
  /** `struct sockaddr` of the remote end. */
  readonly sockaddr: Buffer
  readonly localAddress: Uint8Array

  constructor(
    key: string,
    ends: {
      readonly local: Endpoint
      readonly remote: Endpoint
      readonly sockaddr: Buffer
      readonly localAddress: Uint8Array
    }
  ) {
    this.key = key
    this.local = ends.local
    this.remote = ends.remote
    this.sockaddr = ends.sockaddr
    this.localAddress = ends.localAddress
  }
}

export class UdpPathTable<P extends UdpServerPath> {
  readonly #capacity: number
  readonly #kept = new Map<string, P>()
  /** In order of last use. */
  readonly #loose = new Map<string, P>()

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get size(): number {
    return this.#kept.size + this.#loose.size
  }

  get kept(): readonly P[] {
    return [...this.#kept.values()]
  }

  /** The path of this key, made if it is not known. */
  of(key: string, make: () => P): P {
    const kept = this.#kept.get(key)
    if (kept !== undefined) return kept
    const path = this.#loose.get(key) ?? make()
    this.#loose.delete(key)
    this.#loose.set(key, path)
    if (this.#loose.size > this.#capacity) {
      const oldest = this.#loose.keys().next()
      if (oldest.done !== true) this.#loose.delete(oldest.value)
    }
    return path
  }

  /** Keeps the path until `release`. A path that took its place meanwhile gives way. */
  keep(path: P): void {
    this.#loose.delete(path.key)
    this.#kept.set(path.key, path)
  }

  release(path: P): void {
    if (this.#kept.get(path.key) !== path) return
    this.#kept.delete(path.key)
    this.of(path.key, () => path)
  }

  clear(): void {
    this.#kept.clear()
    this.#loose.clear()
  }
}
