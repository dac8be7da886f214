/**
 * What can happen to a session, one thing at a time: a queue that the session's loop works off.
 * @module
 */
import type { IkestreamError } from '../errors.ts'
import type { IkeCloseReason } from '../ike/types.ts'
import type { Transport, TransportFailure } from '../transport/types.ts'
import type { Link } from './link.ts'

export type Incident =
  | { readonly kind: 'stop'; readonly reason: string }
  | { readonly kind: 'transport-closed'; readonly transport: Transport; readonly failure: TransportFailure }
  | { readonly kind: 'peer-silent' | 'esp-silent'; readonly transport: Transport }
  /** `isAnotherWay`: although our address is the same. */
  | { readonly kind: 'network-changed'; readonly isAnotherWay: boolean }
  /** No way leads to the gateway. */
  | { readonly kind: 'cut-off'; readonly transport: Transport }
  | { readonly kind: 'reconnect-requested' }
  | {
      readonly kind: 'ike-closed'
      readonly link: Link
      readonly reason: IkeCloseReason
      readonly error: IkestreamError | undefined
    }
  | { readonly kind: 'probe-udp' }

export class IncidentQueue {
  readonly #queue: Incident[] = []
  #wake: ((incident: Incident) => void) | undefined

  push(incident: Incident): void {
    // Stopping overtakes everything else.
    if (incident.kind === 'stop') this.#queue.length = 0
    const wake = this.#wake
    if (wake === undefined) {
      this.#queue.push(incident)
      return
    }
    this.#wake = undefined
    wake(incident)
  }

  next(): Promise<Incident> {
    const first = this.#queue.shift()
    if (first !== undefined) return Promise.resolve(first)
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}
