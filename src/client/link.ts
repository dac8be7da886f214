/**
 * One IKE session with the gateway and the transport that it uses right now.
 * @module
 */
import type { EstablishedInfo, SessionTicket } from '../ike/types.ts'
import type { Transport, TransportHandlers } from '../transport/types.ts'
import type { Path } from '../wire/endpoint.ts'
import type { IkeDriver, IkeEvent } from './ike-driver.ts'
import type { Candidate } from './openings.ts'
import type { Destination } from './redirects.ts'

export interface Link {
  readonly driver: IkeDriver
  readonly info: EstablishedInfo
  transport: Transport
  /** Where the transport leads, to open it again. */
  candidate: Candidate
  /** True while the SA is still on the path on which it was set up. */
  fresh: boolean
  /** Somebody said, unauthenticated, that the gateway knows nothing of the IKE SA, and nobody has proved otherwise since. */
  forgotten: boolean
  /** To resume it with, should it be lost (RFC 5723). In memory only: it stands for the credentials. */
  ticket: SessionTicket | undefined
  /** Where the gateway that the user named sent us; undefined: it is that one. */
  destination: Destination | undefined
}

/** What bringing up yields: the link, and the engine's events that came before anybody listened. */
export interface Established {
  readonly link: Link
  readonly events: readonly IkeEvent[]
}

/** Another ticket takes the place of the one at hand, which is overwritten. */
export function setTicket(link: Link, ticket: SessionTicket | undefined): void {
  link.ticket?.skD.fill(0)
  link.ticket = ticket
}

/** The path that IKE and ESP use once IKE_SA_INIT is done. */
export function sessionPath(transport: Transport): Path {
  return transport.path.natT ?? transport.path
}

/** Takes IKE messages only: for transports whose ESP nobody wants (probes, rungs that are not chosen yet). */
export function ikeOnlyHandlers(
  onIke: TransportHandlers['onIke'],
  onClose: TransportHandlers['onClose']
): TransportHandlers {
  return { onIke, onClose, onEsp() {}, onEspBatchEnd() {}, onWritable() {} }
}
