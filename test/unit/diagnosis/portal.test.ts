import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parsePortalStatus } from '../../../src/diagnosis/portal-api.ts'
import { readProbeAnswer } from '../../../src/diagnosis/portal-probe.ts'
import { acceptedApiUrl, acceptedProbeUrl, UNRESTRICTED } from '../../../src/diagnosis/portal-settings.ts'
import { findPortalApi, type PortalSourceFiles } from '../../../src/diagnosis/portal-sources.ts'
import { webUrl } from '../../../src/diagnosis/web-url.ts'
import type { CommandRunner } from '../../../src/host/commands.ts'

const URL_TEXT = 'http://probe.example/generate_204'
const CHALLENGE = '0123456789abcdef'

describe('a page that is made to cost time', () => {
  // Patterns that try again from every position would need minutes for these.
  it.each([
    ['links that never end', '<a '],
    ['a refresh that never ends', '<meta http-equiv=refresh '],
    ['contents without an end', '<meta http-equiv=refresh content = '],
    ['addresses without an end', `<meta http-equiv=refresh content="${'url '.repeat(400)}`],
    ['white space', '<a                                                            ']
  ])('is read in no time: %s', (_what, piece) => {
    const body = `<form>${piece.repeat(Math.ceil(2_000_000 / piece.length))}`
    expect(readProbeAnswer(new URL(URL_TEXT), CHALLENGE, { status: 200, headers: {}, body })).toEqual({
      outcome: 'portal-page',
      portalUrl: null
    })
  })
})

describe('the captive portal API (RFC 8908)', () => {
  it('is read as the examples of section 6 are', () => {
    expect(
      parsePortalStatus('{"captive": true, "user-portal-url": "https://example.org/portal.html"}')
    ).toEqual({
      captive: true,
      userPortalUrl: 'https://example.org/portal.html',
      venueInfoUrl: null,
      canExtendSession: null,
      secondsRemaining: null,
      bytesRemaining: null
    })
    expect(
      parsePortalStatus(
        '{"captive": false, "user-portal-url": "https://example.org/portal.html", "venue-info-url": "https://flight.example.com/entertainment", "seconds-remaining": 326, "can-extend-session": true}'
      )
    ).toMatchObject({
      captive: false,
      venueInfoUrl: 'https://flight.example.com/entertainment',
      secondsRemaining: 326,
      canExtendSession: true
    })
  })

  it.each([
    ['no JSON', '<html>'],
    ['no object', '[true]'],
    ['null', 'null'],
    ['no captive', '{"user-portal-url": "https://example.org"}'],
    ['captive that is no boolean', '{"captive": "yes"}']
  ])('is not believed when it is %s', (_what, text) => {
    expect(parsePortalStatus(text)).toBeUndefined()
  })

  it('ignores what it does not know, and optional keys of a wrong type', () => {
    expect(
      parsePortalStatus(
        '{"captive":false,"user-portal-url":7,"seconds-remaining":"many","bytes-remaining":-1,"can-extend-session":1,"new":{}}'
      )
    ).toEqual({
      captive: false,
      userPortalUrl: null,
      venueInfoUrl: null,
      canExtendSession: null,
      secondsRemaining: null,
      bytesRemaining: null
    })
  })

  it('survives whatever a network sends', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const status = parsePortalStatus(text)
        expect(status === undefined || typeof status.captive === 'boolean').toBe(true)
      })
    )
  })
})

describe('the web probe', () => {
  const read = (status: number, body = '', headers: Record<string, string> = {}) =>
    readProbeAnswer(new URL(URL_TEXT), CHALLENGE, { status, headers, body })

  it.each([
    ['204 and nothing', 204, ''],
    ['what Firefox expects', 200, 'success\n'],
    ['what NetworkManager expects', 200, 'NetworkManager is online\n'],
    ['what Apple expects', 200, '<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>'],
    ['what Windows expects', 200, 'Microsoft Connect Test']
  ])('takes %s for the genuine answer', (_what, status, body) => {
    expect(read(status, body)).toEqual({ outcome: 'expected', portalUrl: null })
  })

  it('takes a repeated challenge for proof, and a wrong one for none', () => {
    const said = (text: string) => ({ 'x-ikestream-response': text })
    expect(read(200, 'anything', said(`response ${CHALLENGE}`)).outcome).toBe('expected')
    expect(read(200, 'anything', said('response other')).outcome).toBe('unexpected')
  })

  it('knows a portal by where it leads', () => {
    expect(read(302, '', { location: 'https://hotel.example/login?x=1' })).toEqual({
      outcome: 'portal-redirect',
      portalUrl: 'https://hotel.example/login?x=1'
    })
    // To https, or elsewhere on the same server: that may be the server itself.
    expect(read(301, '', { location: 'https://probe.example/generate_204' }).outcome).toBe('unexpected')
    expect(read(302, '', { location: '/elsewhere' }).outcome).toBe('unexpected')
    expect(read(302).outcome).toBe('unexpected')
  })

  it('knows a portal by its page, and reads where that leads', () => {
    const refresh = '<meta http-equiv="refresh" content="0; url=http://hotel.example/a&amp;b">'
    expect(read(200, refresh)).toEqual({ outcome: 'portal-page', portalUrl: 'http://hotel.example/a&b' })
    const wispr = '<WISPAccessGatewayParam><LoginURL>https://wispr.example/in</LoginURL>'
    expect(read(200, wispr)).toEqual({ outcome: 'portal-page', portalUrl: 'https://wispr.example/in' })
    expect(read(200, '<form action="x">')).toEqual({ outcome: 'portal-page', portalUrl: null })
    expect(read(511, '<a href="/login">')).toEqual({
      outcome: 'login-required',
      portalUrl: 'http://probe.example/login'
    })
  })

  it.each([
    ['a filter', 403, 'Blocked'],
    ['an error', 502, ''],
    ['204 with contents', 204, 'x'],
    ['some page', 200, '<p>Hello']
  ])('is suspicious of %s', (_what, status, body) => {
    expect(read(status, body)).toEqual({ outcome: 'unexpected', portalUrl: null })
  })

  it('never hands on an address that is none of the web', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 599 }), fc.string(), fc.string(), (status, body, location) => {
        const { portalUrl } = read(status, `<form><a href="${body}">`, { location })
        expect(portalUrl === null || /^https?:\/\/[\x21-\x7e]*$/.test(portalUrl)).toBe(true)
      })
    )
  })
})

describe('web addresses of strangers', () => {
  it.each([
    ['javascript:alert(1)', null],
    ['file:///etc/passwd', null],
    ['no url', null],
    [7, null],
    ['http://user:secret@hotel.example/', 'http://hotel.example/'],
    ['http://hotel.example/\u001b[31m', 'http://hotel.example/%1B[31m'],
    [`http://hotel.example/${'x'.repeat(3000)}`, null]
  ])('%s becomes %s', (text, expected) => {
    expect(webUrl(text)).toBe(expected)
  })

  it('are https for an API, and http for a probe', () => {
    expect(acceptedApiUrl('http://portal.example/api')).toBeUndefined()
    expect(acceptedApiUrl('https://portal.example/api')).toBe('https://portal.example/api')
    expect(acceptedApiUrl(UNRESTRICTED)).toBe(UNRESTRICTED)
    expect(acceptedProbeUrl('https://probe.example/')).toBeUndefined()
    expect(acceptedProbeUrl(URL_TEXT)).toBe(URL_TEXT)
  })
})

describe('the API that the system knows', () => {
  const API = 'https://portal.example/api'
  const noRunner: CommandRunner = { run: () => Promise.reject(new Error('nothing is to be run')) }

  function files(contents: Readonly<Record<string, string>>): PortalSourceFiles {
    return {
      list: (directory) =>
        Promise.resolve(
          Object.keys(contents)
            .filter((path) => path.startsWith(`${directory}/`))
            .map((path) => path.slice(directory.length + 1))
            .filter((name) => !name.includes('/'))
        ),
      read: (path) => Promise.resolve(contents[path])
    }
  }

  it('is found in the state of systemd-networkd', async () => {
    const links = {
      '/run/systemd/netif/links/1': 'ADMIN_STATE=unmanaged\n',
      '/run/systemd/netif/links/2': `ADMIN_STATE=configured\nCAPTIVE_PORTAL=${API}\nHOSTNAME=x\n`
    }
    expect(await findPortalApi(noRunner, files(links))).toEqual({ url: API, source: 'networkd' })
  })

  it('is asked of NetworkManager, which knows the option under its old name', async () => {
    const runner: CommandRunner = {
      run: (argv) =>
        Promise.resolve({
          argv,
          exitCode: 0,
          stdout:
            'DHCP4.OPTION[1]:dhcp_lease_time = 3600\nDHCP4.OPTION[2]:default_url = https\\://portal.example/api\n',
          stderr: ''
        })
    }
    const running = files({ '/run/NetworkManager/resolv.conf': '' })
    expect(await findPortalApi(runner, running)).toEqual({ url: API, source: 'networkmanager' })
  })

  it('is read from the newest lease of dhclient', async () => {
    const leases = {
      '/var/lib/dhcp/dhclient.wlan0.leases':
        'lease {\n  option default-url "https://old.example/";\n}\nlease {\n  option unknown-114 "https://portal.example/api";\n}\n'
    }
    expect(await findPortalApi(noRunner, files(leases))).toEqual({ url: API, source: 'dhclient' })
  })

  it('may be the word that there is none', async () => {
    const links = { '/run/systemd/netif/links/2': `CAPTIVE_PORTAL=${UNRESTRICTED}\n` }
    expect(await findPortalApi(noRunner, files(links))).toEqual({ url: UNRESTRICTED, source: 'networkd' })
  })

  it('is not taken without TLS, nor when it is rubbish', async () => {
    for (const text of ['http://portal.example/api', 'gopher', '']) {
      const links = { '/run/systemd/netif/links/2': `CAPTIVE_PORTAL=${text}\n` }
      expect(await findPortalApi(noRunner, files(links))).toBeUndefined()
    }
  })
})
