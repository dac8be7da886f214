/**
 * Adapts the TCP connection under a stream to its path, while something is sent; where the user has chosen, nothing.
 *
 * - What lies unsent in the socket is held at a few milliseconds' worth of the line (`unsent-limit.ts`).
 * - A connection begins with CUBIC, and goes on with BBR as soon as a segment was lost. Flows inside find their
 *   speed in bursts; BBR, which paces at what it has seen so far, spreads these over a round trip, and CUBIC inside (HyStart,
 *   RFC 9406) takes that for a queue and stops doubling. Where there is loss, BBR is worth many times as much (RFC 9329 section 9.1).
 * @module
 */
import { BlockedRate } from './blocked-rate.ts'
import { DEFAULT_CONGESTION_CONTROL } from './socket-settings.ts'
import { UnsentLimit } from './unsent-limit.ts'

/** Tried in order; unprivileged users have what net.ipv4.tcp_allowed_congestion_control allows. */
const AT_FIRST = ['cubic', 'reno'] as const
/** How often the kernel is asked about losses. */
const ASK_EVERY_MS = 20

/** What the kernel knows about a connection. */
export interface ConnectionInfo {
  /** Asks anew. @returns false when this kernel does not tell, or the connection is gone */
  read(): boolean
  /** Segments that were sent again, since the connection began. */
  readonly retransmits: number
  readonly bytesUnsent: number
}

/** The socket, as far as it is looked at and changed. */
export interface GovernedSocket {
  readonly info: ConnectionInfo
  setUnsentBytes(bytes: number): void
  /** @returns false: the kernel refuses */
  setCongestionControl(name: string): boolean
}

export interface GovernorOptions {
  /** What may lie unsent on a fast line; undefined: the user has chosen a limit. */
  readonly unsentBytes: number | undefined
  /** False: the user has chosen a congestion control, or the kernel has no BBR for us. */
  readonly chooseControl: boolean
  readonly now: () => number
}

export class StreamGovernor {
  readonly #socket: GovernedSocket
  readonly #info: ConnectionInfo
  readonly #unsent: UnsentLimit | undefined
  readonly #now: () => number
  readonly #rate = new BlockedRate()
  #taken = 0
  /** What may still be handed over before the socket was asked. */
  #budget = Number.POSITIVE_INFINITY
  /** Looking out for the first loss, since so many retransmissions; undefined: no more, or never. */
  #retransmitsBefore: number | undefined
  #control: string | undefined
  #askAtMs = 0

  constructor(socket: GovernedSocket, options: GovernorOptions) {
    this.#socket = socket
    this.#info = socket.info
    this.#now = options.now
    if (!this.#info.read()) return
    if (options.unsentBytes !== undefined) this.#unsent = new UnsentLimit(options.unsentBytes)
    if (!options.chooseControl) return
    this.#control = AT_FIRST.find((name) => socket.setCongestionControl(name))
    if (this.#control !== undefined) this.#retransmitsBefore = this.#info.retransmits
  }

  /** Of the connection; undefined: not this class's choice. */
  get congestionControl(): string | undefined {
    return this.#control
  }

  /** What may lie unsent; undefined: not this class's choice. */
  get unsentBytes(): number | undefined {
    return this.#unsent?.bytes
  }

  /** How much the stream may be given now. */
  get budget(): number {
    return this.#budget
  }

  /** The stream took so much. @returns true: that is enough until it is writable again */
  took(bytes: number): boolean {
    this.#taken += bytes
    if (this.#retransmitsBefore !== undefined) this.#lookForLoss(this.#retransmitsBefore)
    this.#budget -= bytes
    return this.#budget <= 0
  }

  blocked(): void {
    if (this.#unsent !== undefined) this.#rate.blocked(this.#now(), this.#taken)
  }

  writable(): void {
    const unsent = this.#unsent
    if (unsent === undefined) return
    if (this.#rate.writable(this.#now(), this.#taken)) {
      const ranDry = unsent.inForce && this.#info.read() && this.#info.bytesUnsent === 0
      if (unsent.adapt(this.#rate.bytesPerMs ?? 0, ranDry)) this.#socket.setUnsentBytes(unsent.bytes)
    }
    // The kernel says that it takes more when half of the limit is left. It then takes 64 KiB and more, were it given them.
    this.#budget = unsent.inForce ? Math.ceil(unsent.bytes / 2) : Number.POSITIVE_INFINITY
  }

  #lookForLoss(before: number): void {
    const now = this.#now()
    if (now < this.#askAtMs) return
    this.#askAtMs = now + ASK_EVERY_MS
    if (!this.#info.read() || this.#info.retransmits === before) return
    this.#retransmitsBefore = undefined
    if (this.#socket.setCongestionControl(DEFAULT_CONGESTION_CONTROL))
      this.#control = DEFAULT_CONGESTION_CONTROL
  }
}
