import { describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../../src/errors.ts'
import {
  parseProxyUrl,
  proxyEndpoint,
  proxyFromEnvironment,
  proxyLabel
} from '../../../src/transport/proxy-url.ts'

describe('a proxy URL', () => {
  test.each([
    ['http://proxy.example', 'proxy.example', 80],
    ['https://proxy.example', 'proxy.example', 443],
    ['proxy.example:3128', 'proxy.example', 3128],
    ['socks5://[2001:db8::1]', '2001:db8::1', 1080],
    ['socks5h://user:pw@127.0.0.1:9050', '127.0.0.1', 9050]
  ])('%s is at %s port %i', (text, host, port) => {
    expect(proxyEndpoint(parseProxyUrl(text))).toEqual({ host, port })
  })

  test('is shown without its credentials', () => {
    expect(proxyLabel(parseProxyUrl('http://alice:s3cret@proxy.example:3128'))).toBe(
      'http://proxy.example:3128'
    )
  })

  test.each([
    'ftp://alice:s3cret@host',
    'socks4://host',
    'http://alice:s3cret@',
    'http://alice:s3cret@host:99999'
  ])('%s is refused without repeating it', (text) => {
    const parse = () => parseProxyUrl(text)
    expect(parse).toThrow(ConfigurationError)
    try {
      parse()
    } catch (error) {
      expect(String(error)).not.toContain('s3cret')
    }
  })
})

describe('the environment', () => {
  const from = (environment: Record<string, string>, host = 'vpn.example.com') =>
    proxyFromEnvironment(environment, host)?.href

  test('HTTPS_PROXY comes before ALL_PROXY, lower case before upper case', () => {
    expect(from({})).toBeUndefined()
    expect(from({ ALL_PROXY: 'socks5://all:1' })).toBe('socks5://all:1')
    expect(from({ ALL_PROXY: 'socks5://all:1', HTTPS_PROXY: 'http://a:2' })).toBe('http://a:2/')
    expect(from({ https_proxy: 'http://b:2', HTTPS_PROXY: 'http://a:2' })).toBe('http://b:2/')
    expect(from({ HTTPS_PROXY: '', all_proxy: 'http://c:2' })).toBe('http://c:2/')
  })

  test.each([
    ['*', 'vpn.example.com', true],
    ['example.com', 'vpn.example.com', true],
    ['.example.com', 'vpn.example.com', true],
    ['*.example.com', 'vpn.example.com', true],
    ['other, vpn.EXAMPLE.com', 'VPN.example.com', true],
    ['ample.com', 'vpn.example.com', false],
    ['192.0.2.0/24', '192.0.2.9', true],
    ['192.0.2.0/24', '192.0.3.9', false],
    ['192.0.2.9', '192.0.2.9', true],
    ['2001:db8::/32', '[2001:db8::1]', true],
    ['2001:db8::/32', '192.0.2.9', false],
    ['192.0.2.0/99', '192.0.2.9', false]
  ])('NO_PROXY=%s and %s: exempt %s', (list, host, exempt) => {
    expect(from({ HTTPS_PROXY: 'http://a:2', NO_PROXY: list }, host) === undefined).toBe(exempt)
  })
})
