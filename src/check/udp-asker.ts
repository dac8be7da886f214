/**
 * Asks IKE_SA_INIT questions over one UDP socket and leads each answer to its question.
 * @module
 */

import type { IcmpError } from '../transport/icmp-error.ts'
import type { Fragmentation, ProbeSocket } from '../transport/probe-socket.ts'
import type { TransportFailure } from '../transport/types.ts'
import {
  classifyDatagram,
  DatagramKind,
  NON_ESP_MARKER_LENGTH,
  withNonEspMarker
} from '../wire/non-esp-marker.ts'
import type { InitOutcome, InitProbe } from './init-probe.ts'

export interface AskerError {
  readonly failure: TransportFailure
  readonly icmp: IcmpError | undefined
}

type Listener = (outcome: Exclude<InitOutcome, { type: 'ignored' }>) => void

export class UdpAsker {
  readonly socket: ProbeSocket
  /** The first error that says that nothing gets there. */
  error: AskerError | undefined
  /** What a router said that it can take at most. */
  announcedMtu: number | undefined
  onError: (() => void) | undefined
  /** Bytes in front of a message: IP and UDP headers, and the non-ESP marker. */
  readonly overhead: number
  readonly #marker: boolean
  readonly #listeners = new Map<InitProbe, Listener>()

  /** @param marker the peer's port is one of NAT traversal (RFC 3948 section 2.2) */
  constructor(socket: ProbeSocket, marker: boolean) {
    this.socket = socket
    this.#marker = marker
    this.overhead = socket.overhead + (marker ? NON_ESP_MARKER_LENGTH : 0)
    socket.setHandlers({
      onDatagram: (bytes) => this.#receive(bytes),
      onError: (failure, icmp) => this.#failed(failure, icmp)
    })
  }

  listen(probe: InitProbe, listener: Listener): void {
    this.#listeners.set(probe, listener)
  }

  forget(probe: InitProbe): void {
    this.#listeners.delete(probe)
  }

  /** @returns false when it is too long for the own link */
  send(probe: InitProbe, fragmentation: Fragmentation = 'allowed'): boolean {
    const { message } = probe
    return this.socket.send(this.#marker ? withNonEspMarker(message) : message, fragmentation)
  }

  close(): void {
    this.#listeners.clear()
    this.socket.close()
  }

  #receive(bytes: Uint8Array): void {
    const message = this.#marker ? behindMarker(bytes) : bytes
    if (message === undefined) return
    for (const [probe, listener] of this.#listeners) {
      const outcome = probe.receive(message)
      if (outcome.type === 'ignored') continue
      listener(outcome)
      return
    }
  }

  #failed(failure: TransportFailure, icmp: IcmpError | undefined): void {
    if (icmp?.name === 'too-big') {
      this.announcedMtu = Math.min(
        icmp.mtu ?? Number.POSITIVE_INFINITY,
        this.announcedMtu ?? Number.POSITIVE_INFINITY
      )
      return
    }
    this.error ??= { failure, icmp }
    this.onError?.()
  }
}

function behindMarker(bytes: Uint8Array): Uint8Array | undefined {
  return classifyDatagram(bytes, 0, bytes.length) === DatagramKind.IKE
    ? bytes.subarray(NON_ESP_MARKER_LENGTH)
    : undefined
}
