/**
 * What can happen to a session, one thing at a time: a queue that the session's loop works off.
 * @module
 */
import type { IkestreamError } from '../errors.ts'
import type { IkeCloseReason } from '../ike/types.ts'
import type { Transport, TransportFailure } from '../transport/types.ts'
import { Bell } from './bell.ts'
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
  /** The gateway wants to be authenticated to anew. */
  | { readonly kind: 'reauthenticate'; readonly link: Link }
  /** The gateway wants us at another one. */
  | { readonly kind: 'redirected'; readonly link: Link; readonly to: string }
  | {
      readonly kind: 'ike-closed'
      readonly link: Link
      readonly reason: IkeCloseReason
      readonly error: IkestreamError | undefined
    }
  | { readonly kind: 'probe-udp' }

/** Improvements that can wait, and need not be asked for twice. */
const UNHURRIED: readonly Incident['kind'][] = ['probe-udp', 'reauthenticate', 'redirected']

export class IncidentQueue {
  /** Rings when something happens that cannot wait for an improvement to be made. */
  readonly urgent = new Bell()
  readonly #queue: Incident[] = []
  #wake: ((incident: Incident) => void) | undefined

  push(incident: Incident): void {
    // Stopping overtakes everything else.
    if (incident.kind === 'stop') this.#queue.length = 0
    const wake = this.#wake
    const isUnhurried = UNHURRIED.includes(incident.kind)
    if (wake === undefined) {
      if (!isUnhurried || !this.#queue.some(({ kind }) => kind === incident.kind)) this.#queue.push(incident)
      if (!isUnhurried) this.urgent.ring()
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
