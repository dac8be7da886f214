/**
 * The responder's end of a stream: waits for the prefix (RFC 9329 sections 4 and 6.1) before anything else is done
 * with the connection.
 * @module
 */
import type { Duplex } from 'node:stream'
import { type Clock, monotonicClock } from '../clock.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { STREAM_PREFIX } from '../wire/stream-framing.ts'
import { StreamTransport } from './stream.ts'

export interface AcceptOptions {
  readonly local: Endpoint
  readonly remote: Endpoint
  /** How long the peer may take to send the whole prefix. */
  readonly prefixTimeoutMs: number
  readonly clock?: Clock | undefined
}

export type Accepted =
  | { readonly outcome: 'accepted'; readonly transport: StreamTransport }
  /** Another protocol: the stream is paused and begins again with the bytes that were read. */
  | { readonly outcome: 'other-protocol'; readonly stream: Duplex }
  | { readonly outcome: 'timeout' | 'closed' }

/** Never rejects. The stream is destroyed on `timeout` and `closed`. */
export function acceptStream(stream: Duplex, kind: 'tcp' | 'tls', options: AcceptOptions): Promise<Accepted> {
  const { local, remote, prefixTimeoutMs, clock = monotonicClock } = options
  return new Promise((resolve) => {
    let seen: Buffer = Buffer.alloc(0)
    // Everything happens inside the event: one turn later the stream's end may have come and gone unheard.
    const settle = (result: () => Accepted) => {
      timer.cancel()
      stream.pause()
      stream.off('data', onData)
      stream.off('end', onClosed)
      stream.off('close', onClosed)
      resolve(result())
    }
    const refuse = (outcome: 'timeout' | 'closed') =>
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
        settle(() => {
          const head = seen.subarray(length)
          const transport = new StreamTransport({
            stream,
            kind,
            role: 'responder',
            local,
            remote,
            head,
            clock
          })
          return { outcome: 'accepted', transport }
        })
    }
    const onClosed = () => refuse('closed')
    const timer = clock.setTimer(prefixTimeoutMs, () => refuse('timeout'))
    // Stays: an error between this and the next owner's listener must not end the process; 'close' follows it.
    stream.on('error', () => undefined)
    stream.on('end', onClosed)
    stream.on('close', onClosed)
    stream.on('data', onData)
  })
}
