/**
 * A transport that tells what is sent and received through it, and otherwise is the one that it wraps.
 * @module
 */
import type {
  EspTransmit,
  Transport,
  TransportFacts,
  TransportHandlers,
  TransportStats
} from '../../../src/transport/types.ts'
import type { Endpoint, Path, TransportKind } from '../../../src/wire/endpoint.ts'

export interface TransportObserver {
  ikeSent(message: Uint8Array): void
  espSent(packet: Uint8Array): void
  /** Calls `receive` as it wants to see it done. */
  ikeReceived(message: Uint8Array, receive: () => void): void
  espReceived(packet: Uint8Array, receive: () => void): void
}

export class ObservedTransport implements Transport {
  readonly esp: EspTransmit
  readonly #transport: Transport
  readonly #observer: TransportObserver

  constructor(transport: Transport, observer: TransportObserver) {
    this.#transport = transport
    this.#observer = observer
    this.esp = new ObservedTransmit(transport.esp, observer)
  }

  get kind(): TransportKind {
    return this.#transport.kind
  }
  get via(): string | null {
    return this.#transport.via
  }
  get path(): Path {
    return this.#transport.path
  }
  get outerRemote(): Endpoint {
    return this.#transport.outerRemote
  }
  get maxEspLength(): number {
    return this.#transport.maxEspLength
  }
  get stats(): TransportStats {
    return this.#transport.stats
  }
  get facts(): TransportFacts {
    return this.#transport.facts
  }

  setHandlers(handlers: TransportHandlers): void {
    this.#transport.setHandlers(observedHandlers(handlers, this.#observer))
  }

  sendIke(message: Uint8Array, path: Path): void {
    this.#observer.ikeSent(message)
    this.#transport.sendIke(message, path)
  }

  sendNatKeepalive(): void {
    this.#transport.sendNatKeepalive()
  }

  close(graceMs?: number): Promise<void> {
    return this.#transport.close(graceMs)
  }
}

type Receiver = Pick<TransportHandlers, 'onIke' | 'onEsp'>

/** The same handlers, with whoever observes in front. */
export function observedHandlers<H extends Receiver>(handlers: H, observer: TransportObserver): H {
  return {
    ...handlers,
    onIke: (message: Uint8Array, path: Path) =>
      observer.ikeReceived(message, () => handlers.onIke(message, path)),
    onEsp: (buffer: Uint8Array, offset: number, length: number, path: Path, ecn?: number) =>
      observer.espReceived(buffer.subarray(offset, offset + length), () =>
        handlers.onEsp(buffer, offset, length, path, ecn)
      )
  }
}

class ObservedTransmit implements EspTransmit {
  readonly #transmit: EspTransmit
  readonly #observer: TransportObserver
  #at = 0

  constructor(transmit: EspTransmit, observer: TransportObserver) {
    this.#transmit = transmit
    this.#observer = observer
  }

  get buffer(): Uint8Array {
    return this.#transmit.buffer
  }
  get writable(): boolean {
    return this.#transmit.writable
  }

  reserve(maxLength: number): number {
    this.#at = this.#transmit.reserve(maxLength)
    return this.#at
  }

  commit(length: number, ecn?: number): void {
    this.#observer.espSent(this.buffer.subarray(this.#at, this.#at + length))
    this.#transmit.commit(length, ecn)
  }

  flush(): void {
    this.#transmit.flush()
  }
}
