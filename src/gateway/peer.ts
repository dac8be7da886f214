/**
 * One authenticated client of the gateway: its session, its SAs, and the path that its traffic takes.
 * @module
 */
import type { PeerLink } from '../dataplane/peer-link.ts'
import type { Sad } from '../esp/sad.ts'
import type { IkeSession } from '../ike/session.ts'
import type { EstablishedInfo } from '../ike/types.ts'
import type { Path } from '../wire/endpoint.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'
import type { Carrier } from './carriers.ts'

/** Paths that are remembered as left; a client has few at a time. */
const MAX_LEFT_PATHS = 16

export class Peer {
  /** Tells sessions apart for as long as the gateway runs. */
  readonly number: number
  readonly session: IkeSession
  readonly info: EstablishedInfo
  readonly sad: Sad
  readonly link: PeerLink
  carrier: Carrier | undefined
  /** What the engine was told of the traffic last. */
  notedIn = 0
  notedOut = 0
  lastKeepaliveMs = 0
  /** When ESP came last, or the peer was asked whether it lives. */
  lastHeardMs: number
  lastTroubleMs = Number.NEGATIVE_INFINITY
  #path: Path
  readonly #left = new Set<number>()

  constructor(
    number: number,
    session: IkeSession,
    established: { readonly info: EstablishedInfo; readonly path: Path; readonly atMs: number },
    dataPlane: { readonly sad: Sad; readonly link: PeerLink }
  ) {
    this.number = number
    this.session = session
    this.info = established.info
    this.lastHeardMs = established.atMs
    this.#path = established.path
    this.sad = dataPlane.sad
    this.link = dataPlane.link
  }

  get identity(): string {
    return this.info.remoteIdentity
  }

  get virtualIps(): readonly string[] {
    return this.info.config?.addresses.map(({ address }) => address) ?? []
  }

  /** Where its traffic goes. */
  get path(): Path {
    return this.#path
  }

  /** The inner addresses that belong to it. */
  get ranges(): readonly TrafficSelector[] {
    return this.sad.children.flatMap(({ parameters }) => parameters.remoteTs)
  }

  /** The peer said by IKE where it is now: what still comes over the old path does not take it back there. */
  movedByIke(path: Path): void {
    this.#left.delete(path.id)
    this.#left.add(this.#path.id)
    const oldest = this.#left.values().next()
    if (this.#left.size > MAX_LEFT_PATHS && oldest.done !== true) this.#left.delete(oldest.value)
    this.#path = path
  }

  movedByEsp(path: Path): void {
    this.#path = path
  }

  hasLeft(path: Path): boolean {
    return this.#left.has(path.id)
  }
}

/**
 * May fresh authentic ESP on `candidate` move the peer there? On streams yes (RFC 9329 section 6.1); on UDP when a NAT
 * may have given it another port (RFC 7296 section 2.23, RFC 4555 section 3.8), or when its path is gone.
 */
export function espMoves(state: {
  readonly current: Path
  readonly candidate: Path
  /** IKE has moved away from the candidate since. */
  readonly left: boolean
  readonly currentIsOpen: boolean
  readonly behindNat: boolean
}): boolean {
  const { current, candidate } = state
  if (state.left || current.id === candidate.id) return false
  if (candidate.reliable || !state.currentIsOpen) return true
  return current.transport === 'udp' && state.behindNat
}
