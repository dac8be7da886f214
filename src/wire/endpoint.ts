/**
 * Addresses and paths: the vocabulary in which engines and transports speak about where a message came from.
 * @module
 */

/** An IP address in text form (no brackets, no zone) and a port. */
export interface Endpoint {
  readonly address: string
  readonly port: number
}

export type TransportKind = 'udp' | 'tcp' | 'tls'

/**
 * One way to the peer, from an engine's point of view: a UDP 5-tuple, or one stream connection.
 * Engines compare paths by `id` only.
 */
export interface Path {
  readonly id: number
  readonly transport: TransportKind
  /** True for streams: IKE is not retransmitted on the same connection (RFC 9329 section 6.2). */
  readonly reliable: boolean
  readonly local: Endpoint
  readonly remote: Endpoint
  /**
   * UDP port 500 only: the path on the NAT traversal port that the session floats to after IKE_SA_INIT
   * (RFC 7296 section 2.23). ESP never travels on a path that has one.
   */
  readonly natT?: Path | undefined
}
