/**
 * What an EAP conversation yields at each step, and what one method must offer to take part in it (RFC 3748).
 *
 * Everything is synchronous but for TLS, which needs the event loop to turn: a method that waits says `pending`, and
 * is asked again with `resume` once the promise has resolved.
 * @module
 */
import type { IkestreamError } from '../../errors.ts'

/** One step of a conversation, for the IKE engine. */
export type EapStep =
  /** Send this EAP packet and await the next one. */
  | { readonly kind: 'reply'; readonly packet: Uint8Array }
  /** Call `continue()` when the promise has resolved. */
  | { readonly kind: 'pending'; readonly ready: Promise<void> }
  /**
   * The end. `msk` is undefined for methods that derive no key: then AUTH is keyed with SK_pi and SK_pr
   * (RFC 7296 section 2.16). A server also has its EAP-Success to send.
   */
  | { readonly kind: 'success'; readonly msk: Uint8Array | undefined; readonly packet?: Uint8Array }
  /** The end. A server also has its EAP-Failure to send. */
  | { readonly kind: 'failure'; readonly error: IkestreamError; readonly packet?: Uint8Array }

/** What a method makes of a request or response: the type data of the next packet, or an end. */
export type MethodStep =
  | { readonly kind: 'send'; readonly data: Uint8Array }
  | { readonly kind: 'pending'; readonly ready: Promise<void> }
  | { readonly kind: 'failure'; readonly error: IkestreamError }

/** The peer's (initiator's) half of a method. */
export interface PeerMethod {
  readonly type: number
  /** Whether the method derives an MSK. */
  readonly derivesKey: boolean
  /** True once the method is content: only then an EAP-Success is believed. */
  readonly succeeded: boolean
  /** Set when `succeeded` and `derivesKey`. */
  readonly msk: Uint8Array | undefined
  /** Answers one request, given its type data and its EAP Identifier. */
  process(data: Uint8Array, identifier: number): MethodStep
  resume(): MethodStep
  /** What the server said was wrong before it sent EAP-Failure, if it said anything. */
  refusal(): IkestreamError | undefined
  dispose(): void
}

/** The server's half of a method. */
export interface ServerMethod {
  readonly type: number
  /** Type data of the first request. */
  begin(): Uint8Array
  process(data: Uint8Array): ServerMethodStep
  resume(): ServerMethodStep
  dispose(): void
}

export type ServerMethodStep =
  | MethodStep
  /** `identity` is what the peer proved to be. */
  | { readonly kind: 'success'; readonly msk: Uint8Array | undefined; readonly identity: string }
