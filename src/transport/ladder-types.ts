/**
 * The vocabulary of the fallback ladder: rungs, timings, outputs.
 * @module
 */
import type { IkestreamError } from '../errors.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { TransportFailureCode } from './types.ts'

/** One transport to one address of the gateway. */
export interface Rung {
  readonly id: number
  readonly transport: TransportKind
  /** An address; or the gateway's name where a proxy resolves it. */
  readonly address: string
  /** The proxy without credentials, or null. */
  readonly via: string | null
  /** This is what worked last on this network. */
  readonly remembered: boolean
}

/** In milliseconds from when the thing began, each an option. */
export interface LadderTimings {
  /**
   * UDP without an answer to IKE_SA_INIT makes room for the next transport. The engine has sent it at 0, 0.5 and 1.5 s
   * by then: RFC 9329 section 5.1 asks for at least one retransmission first.
   */
  readonly udpGiveUpMs: number
  /** Least time for the UDP rung of a further address, which starts later than the first: two transmissions. */
  readonly udpLeastMs: number
  /** UDP that was given up, or has no alternative, is listened to for this long before everything counts as tried. */
  readonly udpLastMs: number
  /** IKE_SA_INIT was answered, IKE_AUTH (now on port 4500) is not: as long as IKE_SA_INIT had. */
  readonly udpAuthMs: number
  /** Streams are opened beside UDP from here on, so that their handshakes cost nothing later. */
  readonly streamOpenAtMs: number
  /** A connection that is not open by then has failed: TCP has sent its SYN at 0, 1, 3 and 7 s (RFC 6298 section 2). */
  readonly streamOpenMs: number
  /** A better stream that is still opening is waited for, once a worse one is open. */
  readonly streamPreferMs: number
  /** An open stream without an answer to IKE_SA_INIT loses its turn. */
  readonly streamIkeMs: number
  /** The same where nothing else is left to try. */
  readonly streamLastMs: number
  /** IKE_SA_INIT was answered on a stream, IKE_AUTH is not: sent again at 1 and 3 s, while TCP may have to retransmit, too. */
  readonly streamAuthMs: number
  /**
   * Somebody says, unauthenticated, that the gateway does not know the session that is to be authenticated: it has this long to prove
   * otherwise. IKE_AUTH is repeated twice in it over UDP (RFC 7296 section 2.21.1 lets a client wait "some time").
   */
  readonly authDoubtMs: number
  /** What is remembered has this long to answer IKE_SA_INIT before the whole ladder is climbed beside it. */
  readonly rememberedMs: number
  /** Connection Attempt Delay between addresses (RFC 8305 section 5). */
  readonly addressStaggerMs: number
  /** The most that all those delays may add up to. */
  readonly addressStaggerTotalMs: number
  /** Streams that turned out not to be needed are kept this long, until ESP has had time to prove itself. */
  readonly holdMs: number
}

export const DEFAULT_LADDER_TIMINGS: LadderTimings = {
  udpGiveUpMs: 2500,
  udpLeastMs: 1500,
  udpLastMs: 10_000,
  udpAuthMs: 2500,
  streamOpenAtMs: 1000,
  streamOpenMs: 8000,
  streamPreferMs: 300,
  streamIkeMs: 2000,
  streamLastMs: 10_000,
  streamAuthMs: 5000,
  authDoubtMs: 2000,
  rememberedMs: 1000,
  addressStaggerMs: 250,
  addressStaggerTotalMs: 1000,
  holdMs: 5000
}

export interface LadderInput {
  /** The gateway's addresses, best first. */
  readonly addresses: readonly string[]
  /** What streams connect to; default: `addresses`. With a proxy: the gateway's name alone. */
  readonly streamAddresses?: readonly string[] | undefined
  /** Transports, best first; those that are not named are not tried. */
  readonly order: readonly TransportKind[]
  readonly via?: string | null | undefined
  readonly remembered?:
    | { readonly transport: TransportKind; readonly address?: string | undefined }
    | undefined
}

export type RungOutcome = 'trying' | 'answered' | 'failed' | 'skipped'
/** `ike-rejected`: the gateway's answer was final. `not-needed`: another rung was chosen. */
export type RungReason = TransportFailureCode | 'ike-rejected' | 'not-needed'

export interface RungReport {
  readonly rung: Rung
  readonly outcome: RungOutcome
  readonly reason: RungReason | null
  /** One sentence for people; '' where the outcome says it all. */
  readonly message: string
  /** Since the ladder began. */
  readonly elapsedMs: number
}

export type AbandonReason = 'silent' | 'superseded' | 'failed' | 'forgotten' | 'esp-silent' | 'stopped'

export type LadderOutput =
  /** Open this rung's transport; answer with `opened` or `openFailed`. */
  | { readonly type: 'open'; readonly rung: Rung }
  /** Begin a new IKE session on it (new SPI, new IKE_SA_INIT); `resume`: go on with the one that it had. */
  | { readonly type: 'start-ike'; readonly rung: Rung; readonly resume: boolean }
  /** Forget the IKE session on this rung. */
  | { readonly type: 'abandon-ike'; readonly rung: Rung; readonly reason: AbandonReason }
  /** Close the transport (or stop opening it). */
  | { readonly type: 'close'; readonly rung: Rung }
  | ({ readonly type: 'report' } & RungReport)
  /** An IKE SA is up here. `probeLater`: better transports, to be tried again from time to time. */
  | {
      readonly type: 'chosen'
      readonly rung: Rung
      readonly probeLater: readonly TransportKind[]
      readonly elapsedMs: number
    }
  /** Nothing is left: the last word on each rung that was tried, in the order in which they failed. */
  | { readonly type: 'exhausted'; readonly reports: readonly RungReport[] }
  /** The gateway gave an answer that no other transport would change. */
  | { readonly type: 'fatal'; readonly rung: Rung; readonly error: IkestreamError }
