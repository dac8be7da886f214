/**
 * Which peer an inbound ESP SPI belongs to. SPIs are chosen at random for each peer on its own, so that two peers may
 * have the same: the path that a packet came on then decides.
 * @module
 */
import type { Path } from '../wire/endpoint.ts'

export class SpiTable<P extends { readonly path: Path }> {
  readonly #owners = new Map<number, P[]>()

  get size(): number {
    return this.#owners.size
  }

  add(spi: number, peer: P): void {
    const owners = this.#owners.get(spi)
    if (owners === undefined) this.#owners.set(spi, [peer])
    else if (!owners.includes(peer)) owners.push(peer)
  }

  remove(spi: number, peer: P): void {
    const left = this.#owners.get(spi)?.filter((owner) => owner !== peer) ?? []
    if (left.length === 0) this.#owners.delete(spi)
    else this.#owners.set(spi, left)
  }

  find(spi: number, path: Path): P | undefined {
    const owners = this.#owners.get(spi)
    if (owners === undefined || owners.length === 1) return owners?.[0]
    return owners.find((owner) => owner.path.id === path.id) ?? owners[0]
  }
}
