/**
 * Targets of what strangers on the way answer: proxies, captive portals, and what the system noted of them.
 * @module
 */
import { createServer, type Server, type Socket } from 'node:net'
import { parsePortalStatus } from '../../../src/diagnosis/portal-api.ts'
import { probePortal, RESPONSE_HEADER, readProbeAnswer } from '../../../src/diagnosis/portal-probe.ts'
import { acceptedApiUrl, acceptedProbeUrl } from '../../../src/diagnosis/portal-settings.ts'
import { findPortalApi } from '../../../src/diagnosis/portal-sources.ts'
import { webUrl } from '../../../src/diagnosis/web-url.ts'
import { connectThroughProxy } from '../../../src/transport/proxy.ts'
import { bounded, type FuzzTarget, holds, refusingAsync, textOf, texts } from '../target.ts'

const TIMEOUT_MS = 10_000
const HTML_WORDS = [
  '<a href="',
  '<a ',
  '<meta http-equiv="refresh" content="0; url=',
  '<meta ',
  '<form>',
  '<LoginURL>',
  '<![CDATA[',
  ']]>',
  '&amp;',
  '">',
  "'",
  '"',
  '<',
  '>',
  'content=',
  'url=',
  'http-equiv=refresh ',
  'javascript:',
  'http://',
  '//',
  ' ',
  '\t',
  '=',
  '\0'
]
const PAGES = [
  '<html><head><meta http-equiv="refresh" content="0; url=http://hotel.example/a&amp;b"></head></html>',
  '<html><body><form action="x"><a href="https://login.example/?a=1&amp;b=2">here</a></form></body></html>',
  '<WISPAccessGatewayParam><Redirect><LoginURL><![CDATA[https://wispr.example/in]]></LoginURL></Redirect>',
  '<script>window.location="http://x.example"</script>',
  'success\n',
  'NetworkManager is online\n'
]
const PROBE_URL = new URL('http://probe.example/generate_204')

/** Nothing that a stranger gave may harm a terminal or be anything but a web address. */
function isHarmless(url: string | null): boolean {
  return url === null || /^https?:\/\/[\x21-\x7e]+$/.test(url)
}

const portalPage: FuzzTarget = {
  name: 'portal-page',
  covers: ['diagnosis/portal-probe.ts#readProbeAnswer'],
  weight: 3,
  maxLength: 65_536,
  corpus: () => texts(...PAGES),
  dictionary: HTML_WORDS,
  open: () => (input, random) => {
    const text = textOf(input)
    const status = [200, 204, 302, 511, 404][random.below(5)] ?? 200
    const headers = { location: text, [RESPONSE_HEADER]: text }
    const { portalUrl } = readProbeAnswer(PROBE_URL, '0123456789abcdef', {
      status,
      headers,
      body: text
    })
    holds(isHarmless(portalUrl), 'where a page leads is a web address')
    webUrl(text, PROBE_URL)
    holds(isHarmless(webUrl(text)), 'a web address is one')
  }
}

const portalStatus: FuzzTarget = {
  name: 'portal-api',
  covers: [
    'diagnosis/portal-api.ts#parsePortalStatus',
    'diagnosis/portal-settings.ts#acceptedApiUrl',
    'diagnosis/portal-settings.ts#acceptedProbeUrl'
  ],
  weight: 3,
  corpus: () =>
    texts(
      '{"captive":true,"user-portal-url":"https://example.org/portal.html"}',
      '{"captive":false,"user-portal-url":"https://example.org","venue-info-url":"https://flight.example.com/entertainment","seconds-remaining":326,"bytes-remaining":7,"can-extend-session":true}',
      'https://api.example/capport',
      'urn:ietf:params:capport:unrestricted'
    ),
  dictionary: [
    '{',
    '}',
    '[',
    ']',
    '"',
    ':',
    ',',
    '1e999',
    '-1',
    'null',
    '"captive":true',
    '"__proto__":{"captive":true}',
    '\\u202e',
    'javascript:',
    'https://a@b/',
    '\0'
  ],
  open: () => (input) => {
    const text = textOf(input)
    const status = parsePortalStatus(text)
    if (status !== undefined) {
      bounded(status, input)
      holds(
        isHarmless(status.userPortalUrl) && isHarmless(status.venueInfoUrl),
        'an address is a web address'
      )
      for (const count of [status.secondsRemaining, status.bytesRemaining])
        holds(count === null || (count >= 0 && Number.isFinite(count)), 'what remains is a number')
      for (const key in {}) holds(false, `every object now has a property ${key}`)
    }
    const api = acceptedApiUrl(text)
    holds(api === undefined || api.startsWith('https:') || api.startsWith('urn:'), 'an API is asked over TLS')
    const probe = acceptedProbeUrl(text)
    holds(probe === undefined || probe.startsWith('http:'), 'a probe is not')
  }
}

const portalSources: FuzzTarget = {
  name: 'portal-sources',
  covers: ['diagnosis/portal-sources.ts#findPortalApi'],
  weight: 0.5,
  corpus: () =>
    texts(
      'ADMIN_STATE=configured\nCAPTIVE_PORTAL=https://portal.example/api\nDNS=10.0.0.1\n',
      'DHCP4.OPTION[1]:captive_portal = https\\://portal.example/api\nDHCP4.OPTION[2]:dhcp_lease_time = 3600\n',
      'lease {\n  option captive-portal "https://portal.example/api";\n}\nlease {\n  option default-url "https://p.example/";\n}\n'
    ),
  dictionary: [
    'CAPTIVE_PORTAL=',
    'DHCP4.OPTION[1]:',
    'captive_portal = ',
    'option captive-portal "',
    '";',
    'lease {',
    '\n',
    '_',
    'https://'
  ],
  open: () => async (input) => {
    const text = textOf(input)
    const found = await findPortalApi(
      { run: async (argv) => ({ argv, exitCode: 0, stdout: text, stderr: '' }) },
      {
        list: async (directory) => [directory.includes('NetworkManager') ? 'x' : 'dhclient.leases'],
        read: async () => text
      }
    )
    if (found !== undefined) holds(/^(https:|urn:)/.test(found.url), 'an API is asked over TLS')
  }
}

/** A server on loopback that answers whatever it is told to, as soon as somebody says something or at once. */
class Stranger {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  answer: Uint8Array = new Uint8Array(0)
  speaksFirst = false

  constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.once('close', () => this.#sockets.delete(socket))
      const say = (): void => {
        socket.end(this.answer)
      }
      if (this.speaksFirst) say()
      else socket.once('data', say)
      socket.resume()
    })
    this.#server.unref()
  }

  async port(): Promise<number> {
    if (!this.#server.listening)
      await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }
}

/** One for the whole process: it listens as long as that lives, and keeps it from nothing. */
const stranger = new Stranger()

const proxyReply: FuzzTarget = {
  name: 'proxy-reply',
  covers: ['transport/proxy.ts#connectThroughProxy'],
  weight: 0.05,
  corpus: () => [
    ...texts(
      'HTTP/1.1 200 Connection established\r\n\r\nearly bytes',
      'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 3\r\n\r\nno!',
      'HTTP/1.0 502 Bad Gateway\r\n\r\n',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'
    ),
    Uint8Array.of(5, 0, 5, 0, 0, 1, 10, 0, 0, 1, 1, 187, 9, 9, 9),
    Uint8Array.of(5, 2, 1, 0, 5, 0, 0, 3, 1, 97, 0, 80),
    Uint8Array.of(5, 0, 5, 0, 0, 4, ...new Uint8Array(16), 0, 80),
    Uint8Array.of(5, 255),
    Uint8Array.of(5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0)
  ],
  dictionary: [
    'HTTP/1.1 ',
    '200',
    '407',
    '\r\n',
    '\n',
    'Content-Length: ',
    'Transfer-Encoding: chunked',
    ': ',
    '\0',
    '99999999999999999999'
  ],
  open: () => async (input, random) => {
    const scheme = random.below(2) === 0 ? 'http' : 'socks5'
    stranger.answer = input
    stranger.speaksFirst = scheme === 'socks5'
    const proxy = new URL(`${scheme}://user:s3cr3t-marker@127.0.0.1:${await stranger.port()}`)
    const tunnel = await refusingAsync(async () => {
      try {
        return await connectThroughProxy(
          proxy,
          { host: 'vpn.example.com', port: 443 },
          { timeoutMs: TIMEOUT_MS }
        )
      } catch (error) {
        holds(!String(error).includes('s3cr3t-marker'), 'no error holds the password of the proxy')
        throw error
      }
    })
    if (tunnel === undefined) return
    holds(tunnel.head.length <= input.length, 'no more comes out than went in')
    tunnel.stream.on('error', () => undefined)
    tunnel.stream.destroy()
  }
}

const webReply: FuzzTarget = {
  name: 'web-reply',
  covers: ['diagnosis/portal-probe.ts#probePortal', 'diagnosis/small-get.ts#smallGet'],
  weight: 0.05,
  maxLength: 100_000,
  corpus: () =>
    texts(
      'HTTP/1.1 204 No Content\r\n\r\n',
      'HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nContent-Length: 0\r\n\r\n',
      `HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n${PAGES[1]?.slice(0, 32)}\r\n0\r\n\r\n`,
      `HTTP/1.1 511 Network Authentication Required\r\n\r\n${PAGES[0]}`
    ),
  dictionary: [
    'HTTP/1.1 ',
    '\r\n',
    'Location: ',
    'Content-Length: ',
    'Content-Encoding: gzip',
    'Transfer-Encoding: chunked',
    '__proto__: x\r\n',
    'ffffffff',
    ...HTML_WORDS
  ],
  open: () => async (input) => {
    stranger.answer = input
    stranger.speaksFirst = false
    const { signal } = new AbortController()
    const evidence = await probePortal(`http://127.0.0.1:${await stranger.port()}/`, TIMEOUT_MS, signal)
    bounded(evidence, input, 10, 3_000)
    holds(isHarmless(evidence.portalUrl), 'where it leads is a web address')
  }
}

export const WEB_TARGETS: readonly FuzzTarget[] = [
  portalPage,
  portalStatus,
  portalSources,
  proxyReply,
  webReply
]
