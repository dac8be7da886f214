/**
 * Every figure of the IKE engine with where it comes from. What a user may change is in `IkeTimers`; the rest
 * are bounds that keep a hostile peer from costing memory or looping.
 * @module
 */
import type { IkeTimers } from './types.ts'

/**
 * UDP: sends at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, given up at 63.5 s. RFC 7296 section 2.4 wants exponential
 * back-off; its "at least a dozen times over several minutes" is left to whoever reconnects.
 */
export const DEFAULT_TIMERS: IkeTimers = {
  retransmitTimeoutMs: 500,
  retransmitBase: 2,
  retransmitTries: 6,
  retransmitJitter: 0.1,
  // RFC 9329 section 6.2 permits retransmission on a stream; a relay behind it may lose the UDP half of the way.
  streamRetransmitMs: 10_000,
  // Until the peer is heard a lost half costs more than a few small duplicates: at 1, 3 and 7 s, while the ladder still waits.
  streamFirstRetransmitMs: 1_000,
  streamRequestTimeoutMs: 60_000,
  livenessMs: 10_000,
  clusterLivenessMs: 5_000,
  ikeLifetimeMs: 4 * 3_600_000,
  childLifetimeMs: 3_600_000,
  childLifetimeBytes: 2 ** 36,
  // Half of the sequence numbers without ESN (RFC 4303 section 3.3.3).
  childLifetimePackets: 2 ** 31,
  rekeyMargin: 0.1,
  natKeepaliveMs: 20_000,
  halfOpenTimeoutMs: 30_000
}

/** RFC 7383 section 2.5.1 recommends 1280 for IPv6; every other implementation uses it for both families. */
export const DEFAULT_FRAGMENT_SIZE = 1280
/** UDP header and non-ESP marker: what of an IP packet's payload is not the IKE message. */
export const MARKER_AND_UDP_OVERHEAD = 8 + 4

/** Nonces that we make; RFC 7296 section 2.10 wants half the PRF's key at least, 16 to 256 bytes. */
export const NONCE_LENGTH = 32
export const MIN_NONCE_LENGTH = 16
export const MAX_NONCE_LENGTH = 256
/** RFC 7296 section 2.6. */
export const MAX_COOKIE_LENGTH = 64

/** COOKIE and INVALID_KE_PAYLOAD answers to one IKE_SA_INIT before it is given up (RFC 7296 section 2.6.1 gives no figure). */
export const MAX_INIT_RETRIES = 8
/** INVALID_KE_PAYLOAD answers to one CREATE_CHILD_SA. */
export const MAX_KE_RETRIES = 3
/** How long a genuine answer may come after an error that may be forged (RFC 7296 section 2.21.1: "some time"). */
export const INIT_DOUBT_MS = 2_000
/**
 * A responder that does not answer IKE_SESSION_RESUME in this time may not know it any more: IKE_SA_INIT takes its place. It has
 * been sent twice by then.
 */
export const RESUME_PATIENCE_MS = 1_000
/** A longer ticket would not fit into one unfragmented request together with the rest. */
export const MAX_TICKET_LENGTH = 1_024
/** Where nothing else limits a session, its ticket is (RFC 5723 section 6.2). */
export const MAX_TICKET_LIFETIME_MS = 86_400_000
/** Message ID of the first IKE_AUTH request (RFC 7296 section 2.2): its answer is the first authentic message of the peer. */
export const FIRST_AUTH_ID = 1
/** Requests of one IKE_AUTH: EAP needs at least ten (RFC 7296 section 2.16), EAP-TLS with long chains many more. */
export const MAX_AUTH_ROUNDS = 120

/** RFC 7383 section 3 and RFC 7296 section 2: nothing larger than 64 KB is put together. */
export const MAX_REASSEMBLED_LENGTH = 65_535
export const MAX_FRAGMENTS = 255
/**
 * Fragments that wait for the rest of their message, of all IKE SAs of a responder together: each needs an IKE SA with keys, but those are
 * had before anybody is authenticated. Room for forty messages of the greatest length, or thousands of ordinary ones, at a time.
 */
export const MAX_HELD_FRAGMENT_BYTES = 8_388_608
/** What a fragment costs beside its contents: padding, and the objects that hold it. */
export const FRAGMENT_OVERHEAD_BYTES = 512
/**
 * Longest IKE_SA_INIT request of a stranger, which is kept for AUTH (RFC 7296 section 2.15). The longest that is of use has key exchange data
 * of some 1,600 bytes (ML-KEM-1024), a cookie, and a screen of proposals.
 */
export const MAX_INIT_REQUEST_LENGTH = 16_384
/** Unfinished reassembly is forgotten after this long (RFC 7383 section 2.6 leaves it to the receiver). */
export const REASSEMBLY_TIMEOUT_MS = 60_000

/** TEMPORARY_FAILURE: wait, then again (RFC 7296 section 2.25 says how, not how long); after minutes the IKE SA is closed. */
export const TEMPORARY_FAILURE_DELAY_MS = 2_000
export const TEMPORARY_FAILURE_GIVE_UP_MS = 180_000
/** Longer without one, and the next TEMPORARY_FAILURE is about something else. */
export const TEMPORARY_FAILURE_PAUSE_MS = 30_000
/** A refused rekeying is tried again after this long, until the hard lifetime. */
export const REKEY_RETRY_MS = 30_000
/** A replaced inbound SA stays this long after its DELETE, for packets still on their way. */
export const CHILD_GRACE_MS = 3_000
/** A replaced SA whose replacer does not delete it is deleted by us. */
export const REPLACED_PATIENCE_MS = 30_000
/** How long the answer to our last DELETE is worth waiting for. */
export const CLOSE_PATIENCE_MS = 5_000
/**
 * What a cluster member that takes over adds to the Message ID that it knows (RFC 6311 section 5.1: more than was ever
 * used, by the window at least). Generous: requests of ours that it did not hear of are few, Message IDs are plenty.
 */
export const MESSAGE_ID_JUMP = 4096
/** What it adds to the IVs of the IKE SA's AEAD: more than any member can have used since it was heard of. */
export const IKE_IV_JUMP = 2n ** 40n
/** An SA that a failover left in doubt is deleted when the peer has not shown in this time that it knows of it. */
export const DOUBT_PATIENCE_MS = 30_000
/** A responder keeps an SA without a path this long (RFC 4555 section 3.11: at least five minutes). */
export const LOST_PATH_PATIENCE_MS = 300_000
/** Unauthenticated hints (INVALID_IKE_SPI) lead to at most one liveness check in this time (RFC 7296 section 2.21.4). */
export const HINT_INTERVAL_MS = 10_000

/** Child SAs of one peer, rekeyed ones included. */
export const MAX_CHILD_SAS = 64
/** Requests of ours waiting for the window. */
export const MAX_QUEUED_TASKS = 64

/** A cookie secret's life; the one before is still taken (RFC 7296 section 2.6 suggests changing it often under attack). */
export const COOKIE_SECRET_LIFETIME_MS = 60_000
/** Unprotected answers (INVALID_IKE_SPI, INVALID_MAJOR_VERSION) a second, all peers together (RFC 7296 section 2.21.4). */
export const UNPROTECTED_ANSWERS_PER_SECOND = 10

/**
 * When all places for half-open IKE SAs are taken, by one address each, the oldest makes room if it is this old: who means it is through by then,
 * two retransmissions included. (Our choice; a user who takes longer over EAP while a gateway is flooded has to try again.)
 */
export const HALF_OPEN_GRACE_MS = 3_000
