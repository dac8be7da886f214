/**
 * Proxy settings: URLs as users and the environment write them.
 * @module
 */
import { BlockList, isIP } from 'node:net'
import { ConfigurationError } from '../errors.ts'

const DEFAULT_PORTS: Readonly<Record<string, number>> = {
  'http:': 80,
  'https:': 443,
  'socks:': 1080,
  'socks5:': 1080,
  'socks5h:': 1080
}

/**
 * `http://user:password@host:port`, also `https:`, `socks5:` and `socks5h:`; without a scheme it is HTTP.
 * @throws ConfigurationError; the message never repeats the text, which may hold a password
 */
export function parseProxyUrl(text: string): URL {
  let url: URL
  try {
    url = new URL(text.includes('://') ? text : `http://${text}`)
  } catch {
    throw invalid('The proxy setting is not a URL')
  }
  if (DEFAULT_PORTS[url.protocol] === undefined)
    throw invalid(`The proxy setting has the scheme ${url.protocol.slice(0, -1)}`)
  if (url.hostname === '') throw invalid('The proxy setting names no host')
  return url
}

function invalid(message: string): ConfigurationError {
  return new ConfigurationError('invalid-proxy', message, {
    hint: 'Write it as http://host:port, https://host:port or socks5://host:port'
  })
}

/** Where the proxy listens. */
export function proxyEndpoint(proxy: URL): { readonly host: string; readonly port: number } {
  return {
    host: unbracketed(proxy.hostname),
    port: proxy.port === '' ? (DEFAULT_PORTS[proxy.protocol] ?? 80) : Number(proxy.port)
  }
}

/** The URL without credentials, for people and for JSON. */
export function proxyLabel(proxy: URL): string {
  return `${proxy.protocol}//${proxy.hostname}:${proxyEndpoint(proxy).port}`
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The proxy that the environment asks for: HTTPS_PROXY, else ALL_PROXY, unless NO_PROXY names the host. As in curl the
 * names in lower case win.
 * @throws ConfigurationError
 */
export function proxyFromEnvironment(environment: Environment, host: string): URL | undefined {
  return proxiesFromEnvironment(environment, host)[0]
}

/**
 * Every proxy that the environment names for this host, the one that counts first.
 * @throws ConfigurationError
 */
export function proxiesFromEnvironment(environment: Environment, host: string): URL[] {
  const read = (name: string) => environment[name.toLowerCase()] || environment[name] || ''
  if (isExempt(read('NO_PROXY'), unbracketed(host).toLowerCase())) return []
  const texts = [read('HTTPS_PROXY'), read('ALL_PROXY')].filter((text) => text !== '')
  return [...new Set(texts)].map(parseProxyUrl)
}

/** NO_PROXY: `*`, names (with all names below them), addresses, and networks as CIDR. */
function isExempt(list: string, host: string): boolean {
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((pattern) => pattern !== '')
    .some((pattern) => pattern === '*' || matches(pattern, host))
}

function matches(pattern: string, host: string): boolean {
  const family = isIP(host)
  if (family === 0) {
    const name = pattern.replace(/^\*?\./, '').replace(/:\d+$/, '')
    return host === name || host.endsWith(`.${name}`)
  }
  const [network = '', prefix] = pattern.split('/')
  const address = unbracketed(network)
  if (isIP(address) !== family) return false
  const type = family === 4 ? 'ipv4' : 'ipv6'
  const range = new BlockList()
  const length = prefix === undefined ? (family === 4 ? 32 : 128) : Number(prefix)
  if (!Number.isInteger(length) || length < 0 || length > (family === 4 ? 32 : 128)) return false
  range.addSubnet(address, length, type)
  return range.check(host, type)
}

function unbracketed(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1')
}
