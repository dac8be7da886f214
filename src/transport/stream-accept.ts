/**
 * The responder's end of a stream: waits for the prefix (RFC 9329 sections 4 and 6.1) before anything else is done
 * with the connection.
 * @module
 */
import type { Duplex } from 'node:stream'
import type { Endpoint } from '../wire/endpoint.ts'
import { STREAM_PREFIX } from '../wire/stream-framing.ts'
import { StreamTransport } from './stream.ts'

export interface AcceptOptions {
  readonly local: Endpoint
  readonly remote: Endpoint
  /** How long the peer may take to send the whole prefix. */
  readonly prefixTimeoutMs: number
}

export type Accepted =
  | { readonly outcome: 'accepted'; readonly transport: StreamTransport }
  /** Another protocol: the stream is paused and begins again with the bytes that were read. */
  | { readonly outcome: 'other-protocol'; readonly stream: Duplex }
  | { readonly outcome: 'timeout' | 'closed' }

/** Never rejects. The stream is destroyed on `timeout` and `closed`. */
export async function acceptStream(
  stream: Duplex,
  kind: 'tcp' | 'tls',
  options: AcceptOptions
): Promise<Accepted> {
  const result = await readPrefix(stream, options.prefixTimeoutMs)
  switch (result.outcome) {
    case 'prefix': {
      const { local, remote } = options
      const transport = new StreamTransport({
        stream,
        kind,
        role: 'responder',
        local,
        remote,
        head: result.rest
      })
      return { outcome: 'accepted', transport }
    }
    case 'other':
      stream.unshift(result.bytes)
      return { outcome: 'other-protocol', stream }
    default:
      stream.on('error', () => undefined)
      stream.destroy()
      return { outcome: result.outcome }
  }
}

type PrefixResult =
  | { readonly outcome: 'prefix'; readonly rest: Buffer }
  | { readonly outcome: 'other'; readonly bytes: Buffer }
  | { readonly outcome: 'timeout' | 'closed' }

function readPrefix(stream: Duplex, timeoutMs: number): Promise<PrefixResult> {
  return new Promise((resolve) => {
    let seen: Buffer = Buffer.alloc(0)
    const finish = (result: PrefixResult) => {
      clearTimeout(timer)
      stream.pause()
      stream.off('data', onData)
      stream.off('end', onClosed)
      stream.off('close', onClosed)
      stream.off('error', onClosed)
      resolve(result)
    }
    const onData = (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
      const length = Math.min(seen.length, STREAM_PREFIX.length)
      if (seen.compare(STREAM_PREFIX, 0, length, 0, length) !== 0) finish({ outcome: 'other', bytes: seen })
      else if (length === STREAM_PREFIX.length) finish({ outcome: 'prefix', rest: seen.subarray(length) })
    }
    const onClosed = () => finish({ outcome: 'closed' })
    const timer = setTimeout(() => finish({ outcome: 'timeout' }), timeoutMs)
    stream.on('data', onData)
    stream.on('end', onClosed)
    stream.on('close', onClosed)
    stream.on('error', onClosed)
  })
}
