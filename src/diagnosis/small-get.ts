/**
 * One GET request, kept small: no redirects followed, no cookies, no name of ours, a bound on the body and on the time.
 * @module
 */
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP } from 'node:net'
import { cancellableLookup } from './cancellable-lookup.ts'

export interface SmallGetOptions {
  readonly headers?: Readonly<Record<string, string>>
  /** Whoever takes longer to be connected to is as good as silent. The answer may then take as long again as connecting did. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

export interface SmallResponse {
  readonly status: number
  /** Lower-case names; several of one name joined. */
  readonly headers: Readonly<Record<string, string>>
  /** As much as is taken, as text. */
  readonly body: string
  /** Who answered. */
  readonly address: string | null
}

/** A portal's page is told by its beginning; an API answer is a few hundred bytes. */
const MAX_BODY_BYTES = 65_536

/** @throws Error with the `code` of Node or of the system; `ETIMEDOUT` when time is up */
export function smallGet(url: URL, options: SmallGetOptions): Promise<SmallResponse> {
  const request = url.protocol === 'https:' ? requestHttps : requestHttp
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer)
      options.signal.removeEventListener('abort', giveUp)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
    const outgoing = request(url, {
      agent: false,
      lookup: cancellableLookup(options.timeoutMs, options.signal),
      headers: { ...options.headers, Connection: 'close' },
      // An address is no server name (RFC 6066 section 3).
      ...(isIP(host) === 0 ? {} : { servername: '' })
    })
    const giveUp = (): void => {
      outgoing.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' }))
    }
    const startedAt = performance.now()
    let timer = setTimeout(giveUp, options.timeoutMs)
    const onConnected = (): void => {
      const elapsedMs = performance.now() - startedAt
      clearTimeout(timer)
      timer = setTimeout(giveUp, Math.max(options.timeoutMs - elapsedMs, elapsedMs))
    }
    outgoing.once('socket', (socket) => socket.once('connect', onConnected))
    options.signal.addEventListener('abort', giveUp, { once: true })
    if (options.signal.aborted) giveUp()
    outgoing.on('error', fail)
    outgoing.once('response', (response) => {
      const address = response.socket.remoteAddress ?? null
      const chunks: Buffer[] = []
      let length = 0
      const finish = (): void => {
        settle()
        const body = Buffer.concat(chunks).subarray(0, MAX_BODY_BYTES).toString('utf8')
        const headers = Object.entries(response.headers).map(([name, value]) => [name, String(value ?? '')])
        resolve({ status: response.statusCode ?? 0, headers: Object.fromEntries(headers), body, address })
      }
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        length += chunk.length
        if (length < MAX_BODY_BYTES) return
        finish()
        outgoing.destroy()
      })
      response.once('end', finish)
      response.on('error', fail)
    })
    outgoing.end()
  })
}
