/**
 * The responder's end of a stream: waits for the prefix (RFC 9329 sections 4 and 6.1) before anything else is done
 * with the connection. For the gateway, which makes a transport of it, and for the relay.
 * @module
 */
import type { Duplex } from 'node:stream'
import { type Clock, monotonicClock } from '../clock.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { STREAM_PREFIX } from '../wire/stream-framing.ts'
import type { SocketSettings } from './socket-settings.ts'
import { StreamTransport } from './stream.ts'

export interface PrefixOptions {
  /** How long the peer may take to send the whole prefix. */
  readonly prefixTimeoutMs: number
  readonly clock?: Clock | undefined
}

export interface AcceptOptions extends PrefixOptions {
  readonly local: Endpoint
  readonly remote: Endpoint
  /** With which the connection was tuned; absent: it is left as it is. */
  readonly sockets?: SocketSettings | undefined
}

export type Unaccepted =
  /** Another protocol: the stream is paused and begins again with the bytes that were read. */
  | { readonly outcome: 'other-protocol'; readonly stream: Duplex }
  /** Said nothing, ended in good order, or broke before the prefix was whole. */
  | { readonly outcome: 'timeout' | 'closed' | 'broken' }

export type Prefixed<Taken> = { readonly outcome: 'accepted'; readonly taken: Taken } | Unaccepted
export type Accepted = { readonly outcome: 'accepted'; readonly transport: StreamTransport } | Unaccepted

/**
 * Never rejects. The stream is destroyed unless the outcome is `accepted` or `other-protocol`.
 * @param take what becomes of a stream that began with the prefix; `head` is what came behind it
 */
export function awaitPrefix<Taken>(
  stream: Duplex,
  { prefixTimeoutMs, clock = monotonicClock }: PrefixOptions,
  take: (head: Uint8Array) => Taken
): Promise<Prefixed<Taken>> {
  return new Promise((resolve) => {
    let seen: Buffer = Buffer.alloc(0)
    // Everything happens inside the event: one turn later the stream's end may have come and gone unheard.
    const settle = (result: () => Prefixed<Taken>) => {
      timer.cancel()
      stream.pause()
      stream.off('data', onData)
      stream.off('end', onEnd)
      stream.off('close', onClose)
      resolve(result())
    }
    const refuse = (outcome: 'timeout' | 'closed' | 'broken') =>
      settle(() => {
        stream.destroy()
        return { outcome }
      })
    const onData = (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
      const length = Math.min(seen.length, STREAM_PREFIX.length)
      if (seen.compare(STREAM_PREFIX, 0, length, 0, length) !== 0)
        settle(() => {
          stream.unshift(seen)
          return { outcome: 'other-protocol', stream }
        })
      else if (length === STREAM_PREFIX.length)
        settle(() => ({ outcome: 'accepted', taken: take(seen.subarray(length)) }))
    }
    const onEnd = () => refuse('closed')
    const onClose = () => refuse('broken')
    const timer = clock.setTimer(prefixTimeoutMs, () => refuse('timeout'))
    // Stays: an error between this and the next owner's listener must not end the process; 'close' follows it.
    stream.on('error', () => undefined)
    stream.on('end', onEnd)
    stream.on('close', onClose)
    stream.on('data', onData)
  })
}

/** A transport of what begins with the prefix. Never rejects; see `awaitPrefix` for what becomes of the stream. */
export async function acceptStream(
  stream: Duplex,
  kind: 'tcp' | 'tls',
  { local, remote, prefixTimeoutMs, sockets, clock = monotonicClock }: AcceptOptions
): Promise<Accepted> {
  const prefixed = await awaitPrefix(
    stream,
    { prefixTimeoutMs, clock },
    (head) => new StreamTransport({ stream, kind, role: 'responder', local, remote, head, clock, sockets })
  )
  return prefixed.outcome === 'accepted' ? { outcome: 'accepted', transport: prefixed.taken } : prefixed
}
