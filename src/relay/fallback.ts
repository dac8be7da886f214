/**
 * Hands a stream that is not `IKETCP` to a web server, so that one port can serve both: everything from its first byte, both
 * ways. Inside TLS the web server gets the decrypted bytes.
 * @module
 */
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from '../log.ts'
import { leaveToNode } from '../transport/takeover.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { formatEndpoint, type HostPort } from './options.ts'

/** Web servers close idle connections after a minute or so; this is for those that do not. */
const IDLE_TIMEOUT_MS = 300_000
const CONNECT_TIMEOUT_MS = 5_000

/** @param client paused, begins with what it said first; owned by this function from now on: its `close` tells the end */
export function handToWebServer(client: Duplex, from: Endpoint, server: HostPort, log: Logger): void {
  leaveToNode(client)
  const web = connect({ host: server.host, port: server.port, noDelay: true })
  web.setTimeout(CONNECT_TIMEOUT_MS, () => web.destroy())
  const fail = (side: string) => (error: Error) => {
    log.log('debug', `fallback: ${side} failed`, { client: formatEndpoint(from), message: error.message })
    client.destroy()
    web.destroy()
  }
  client.on('error', fail('client'))
  web.on('error', fail('web server'))
  client.on('close', () => web.destroy())
  web.on('close', () => client.destroy())
  web.on('connect', () => {
    web.setTimeout(IDLE_TIMEOUT_MS)
    client.pipe(web)
    web.pipe(client)
  })
}
