/**
 * A proxy as networks have them: HTTP CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929), with or without
 * credentials, to all ports or to some.
 * @module
 */
import { once } from 'node:events'
import { createServer as createHttp, type IncomingMessage } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { addressFromBytes } from '../../wire/address.ts'
import type { ProxyPlan, ServiceEvent } from './types.ts'

type Say = (event: ServiceEvent) => void
type Outcome = Extract<ServiceEvent, { event: 'request' }>['outcome']

const SOCKS_VERSION = 5
const SocksMethod = { NONE: 0, PASSWORD: 2, UNACCEPTABLE: 0xff } as const
const SocksReply = { SUCCEEDED: 0, NOT_ALLOWED: 2, REFUSED: 5 } as const
const SocksAddress = { IPV4: 1, NAME: 3, IPV6: 4 } as const

/** @returns listeners that are to be opened, by port */
export function proxyServers(
  plan: ProxyPlan,
  say: Say
): readonly { readonly port: number; readonly server: ReturnType<typeof createServer> }[] {
  const http = createHttp((_request, response) => void response.writeHead(405).end())
  http.on('connect', (request, client, head) => serveConnect(plan, say, request, client, head))
  const socks = createServer({ noDelay: true }, (client) => {
    new SocksConversation(plan, say, client).run().catch(() => client.destroy())
  })
  return [
    ...(plan.httpPort === undefined ? [] : [{ port: plan.httpPort, server: http }]),
    ...(plan.socksPort === undefined ? [] : [{ port: plan.socksPort, server: socks }])
  ]
}

function allows({ ports }: ProxyPlan, port: number): boolean {
  return ports === undefined || ports.includes(port)
}

function serveConnect(
  plan: ProxyPlan,
  say: Say,
  request: IncomingMessage,
  client: Duplex,
  head: Buffer
): void {
  const { credentials } = plan
  const target = request.url ?? ''
  client.on('error', () => undefined)
  const refuse = (status: string, outcome: Outcome): void => {
    say({ event: 'request', kind: 'http', target, outcome })
    client.end(`HTTP/1.1 ${status}\r\n\r\n`)
  }
  const expected =
    credentials === undefined ? undefined : `Basic ${Buffer.from(credentials).toString('base64')}`
  if (expected !== undefined && request.headers['proxy-authorization'] !== expected) {
    refuse('407 Proxy Authentication Required', 'denied')
    return
  }
  const [, host = '', portText = ''] = /^\[?([^[\]]+)\]?:(\d{1,5})$/.exec(target) ?? []
  const port = Number(portText)
  if (host === '' || !allows(plan, port)) {
    refuse('403 Forbidden', 'refused')
    return
  }
  const far = connect({ host, port, noDelay: true })
  far.once('error', () => refuse('502 Bad Gateway', 'refused'))
  far.once('connect', () => {
    say({ event: 'request', kind: 'http', target, outcome: 'open' })
    client.write('HTTP/1.1 200 Connection established\r\n\r\n')
    join(client, far, head)
  })
}

class SocksConversation {
  readonly #plan: ProxyPlan
  readonly #say: Say
  readonly #client: Socket

  constructor(plan: ProxyPlan, say: Say, client: Socket) {
    this.#plan = plan
    this.#say = say
    this.#client = client
    client.on('error', () => undefined)
  }

  /** Rejects when the client ends in the middle of it. */
  async run(): Promise<void> {
    if (!(await this.#authenticated())) return
    const [, , , kind] = await this.#take(4)
    const host = await this.#readHost(kind ?? 0)
    const port = (await this.#take(2)).readUInt16BE(0)
    const target = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
    const answer = (reply: number, outcome: Outcome): void => {
      this.#tell(target, outcome)
      this.#client.write(Uint8Array.of(SOCKS_VERSION, reply, 0, SocksAddress.IPV4, 0, 0, 0, 0, 0, 0))
    }
    if (!allows(this.#plan, port)) {
      answer(SocksReply.NOT_ALLOWED, 'refused')
      this.#client.end()
      return
    }
    const far = connect({ host, port, noDelay: true })
    far.once('error', () => {
      answer(SocksReply.REFUSED, 'refused')
      this.#client.end()
    })
    far.once('connect', () => {
      answer(SocksReply.SUCCEEDED, 'open')
      join(this.#client, far, Buffer.alloc(0))
    })
  }

  async #authenticated(): Promise<boolean> {
    const { credentials } = this.#plan
    const [, count = 0] = await this.#take(2)
    const offered = [...(await this.#take(count))]
    const method = credentials === undefined ? SocksMethod.NONE : SocksMethod.PASSWORD
    if (!offered.includes(method)) return this.#deny(SOCKS_VERSION, SocksMethod.UNACCEPTABLE)
    this.#client.write(Uint8Array.of(SOCKS_VERSION, method))
    if (credentials === undefined) return true
    const [, nameLength = 0] = await this.#take(2)
    const name = await this.#take(nameLength)
    const [passwordLength = 0] = await this.#take(1)
    const password = await this.#take(passwordLength)
    if (`${name}:${password}` !== credentials) return this.#deny(1, 1)
    this.#client.write(Uint8Array.of(1, 0))
    return true
  }

  #deny(...reply: readonly number[]): false {
    this.#tell(null, 'denied')
    this.#client.end(Uint8Array.from(reply))
    return false
  }

  #tell(target: string | null, outcome: Outcome): void {
    this.#say({ event: 'request', kind: 'socks', target, outcome })
  }

  async #readHost(kind: number): Promise<string> {
    if (kind === SocksAddress.NAME) {
      const [length = 0] = await this.#take(1)
      return (await this.#take(length)).toString()
    }
    return addressFromBytes(await this.#take(kind === SocksAddress.IPV6 ? 16 : 4))
  }

  /** Exactly so many bytes. */
  async #take(count: number): Promise<Buffer> {
    if (count === 0) return Buffer.alloc(0)
    for (;;) {
      const bytes: Buffer | null = this.#client.read(count)
      if (bytes?.length === count) return bytes
      if (this.#client.readableEnded || this.#client.destroyed) throw new Error('the client is gone')
      await once(this.#client, 'readable')
    }
  }
}

function join(client: Duplex, target: Socket, head: Buffer): void {
  client.on('error', () => target.destroy())
  target.on('error', () => client.destroy())
  client.on('close', () => target.destroy())
  target.on('close', () => client.destroy())
  if (head.length > 0) target.write(head)
  client.pipe(target).pipe(client)
}
