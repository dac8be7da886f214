/**
 * Virtual addresses of the embedded gateway: one lease of each family per peer, the same peer gets the same address
 * again as long as nobody needed it meanwhile.
 *
 * Invariants: an address is held by one peer at a time; network, broadcast (IPv4), subnet-router anycast (IPv6) and the
 * gateway's own address (the first host) are never leased. Memory grows with peers seen, bounded by `MAX_REMEMBERED`.
 * @module
 */
import { ConfigurationError } from '../errors.ts'
import { addressFromBigInt, addressToBigInt } from '../wire/cidr.ts'

const MAX_REMEMBERED = 65_536
/** IPv6 pools are far larger than anybody needs: lease from the first part only. */
const MAX_HOSTS = 1 << 20

/** Who holds an address; with a second IKE SA of the same peer that is to replace the first, twice. */
interface Held {
  readonly peer: string
  holders: number
}

interface Pool {
  readonly family: 4 | 6
  readonly prefixLength: number
  readonly base: bigint
  readonly hosts: number
  readonly leases: Map<number, Held>
  readonly remembered: Map<string, number>
  next: number
}

export interface PoolNetwork {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array
  readonly prefixLength: number
}

export interface Lease {
  readonly family: 4 | 6
  readonly address: Uint8Array
  readonly prefixLength: number
}

export class AddressPool {
  readonly #pools: readonly Pool[]

  /** @throws ConfigurationError for a pool without room for the gateway and one client */
  constructor(networks: readonly PoolNetwork[]) {
    this.#pools = networks.map(({ address, prefixLength }) => {
      const bits = address.length * 8
      const size = 2n ** BigInt(bits - prefixLength)
      const usable = size - (bits === 32 ? 3n : 2n)
      if (usable < 1n) {
        throw new ConfigurationError(
          'pool-too-small',
          `A pool with prefix length ${prefixLength} has no room for clients.`,
          { hint: bits === 32 ? 'Use /29 or larger for IPv4.' : 'Use /124 or larger for IPv6.' }
        )
      }
      const mask = ((1n << BigInt(prefixLength)) - 1n) << BigInt(bits - prefixLength)
      return {
        family: bits === 32 ? 4 : 6,
        prefixLength,
        base: addressToBigInt(address) & mask,
        hosts: Number(usable < MAX_HOSTS ? usable : MAX_HOSTS),
        leases: new Map(),
        remembered: new Map(),
        next: 0
      }
    })
  }

  /** The gateway's own address in each pool: the first host. */
  gatewayAddresses(): Lease[] {
    return this.#pools.map((pool) => leaseAt(pool, -1))
  }

  /**
   * One address of the family for this peer, or undefined when no pool of it has any left.
   * @param preferred an address that the peer asks for again; given if it is free or its own
   */
  lease(family: 4 | 6, peer: string, preferred?: Uint8Array): Lease | undefined {
    for (const pool of this.#pools) {
      if (pool.family !== family) continue
      const index = pickIndex(pool, peer, preferred)
      if (index === undefined) continue
      hold(pool, peer, index)
      return leaseAt(pool, index)
    }
    return undefined
  }

  /** Another node of a cluster leased this address to the peer; to be released as often as it was adopted. */
  adopt(peer: string, address: Uint8Array): void {
    for (const pool of this.#pools) {
      const index = indexOf(pool, address)
      if (index !== undefined) hold(pool, peer, index)
    }
  }

  release(peer: string, address: Uint8Array): void {
    for (const pool of this.#pools) {
      const index = indexOf(pool, address)
      const held = index === undefined ? undefined : pool.leases.get(index)
      if (index === undefined || held?.peer !== peer) continue
      held.holders--
      if (held.holders === 0) pool.leases.delete(index)
    }
  }

  get leased(): number {
    return this.#pools.reduce((sum, pool) => sum + pool.leases.size, 0)
  }
}

function pickIndex(pool: Pool, peer: string, preferred: Uint8Array | undefined): number | undefined {
  const free = (index: number | undefined): index is number => index !== undefined && !pool.leases.has(index)
  const wanted = preferred === undefined ? undefined : indexOf(pool, preferred)
  // Whoever comes back while its old SA is still here goes on with its address: its inner connections live on.
  if (free(wanted) || (wanted !== undefined && pool.leases.get(wanted)?.peer === peer)) return wanted
  const before = pool.remembered.get(peer)
  if (free(before)) return before
  for (let tried = 0; tried < pool.hosts; tried++) {
    const index = (pool.next + tried) % pool.hosts
    if (!pool.leases.has(index)) {
      pool.next = (index + 1) % pool.hosts
      return index
    }
  }
  return undefined
}

function hold(pool: Pool, peer: string, index: number): void {
  const held = pool.leases.get(index)
  if (held?.peer === peer) held.holders++
  else pool.leases.set(index, { peer, holders: 1 })
  remember(pool, peer, index)
}

function remember(pool: Pool, peer: string, index: number): void {
  pool.remembered.delete(peer)
  pool.remembered.set(peer, index)
  if (pool.remembered.size > MAX_REMEMBERED) {
    const oldest = pool.remembered.keys().next()
    if (oldest.done !== true) pool.remembered.delete(oldest.value)
  }
}

/** Index -1 is the gateway's own address, 0 the first client's. */
function leaseAt(pool: Pool, index: number): Lease {
  const length = pool.family === 4 ? 4 : 16
  return {
    family: pool.family,
    address: addressFromBigInt(pool.base + BigInt(index + 2), length),
    prefixLength: pool.prefixLength
  }
}

function indexOf(pool: Pool, address: Uint8Array): number | undefined {
  if (address.length !== (pool.family === 4 ? 4 : 16)) return undefined
  const index = addressToBigInt(address) - pool.base - 2n
  return index >= 0n && index < BigInt(pool.hosts) ? Number(index) : undefined
}
