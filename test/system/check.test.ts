import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { CheckDocument } from '../../src/check/document.ts'
import { API_NAME, CheckSite, DNS_NAME, PORTAL_NAME, PORTAL_URL } from '../support/check-site.ts'
import { expectOneError } from '../support/expect-error.ts'
import { GATEWAY_NAME } from '../support/ikestream-site.ts'
import { addNat, loseFragments, mapByDestination, removeNat } from '../support/namespaces.ts'
import { describeWith, has } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

/** Silence is waited for; two transmissions are enough where nothing else is lost. */
const BRISK = ['--udp-timeout', '1']
const IKE_PORTS = [500, 4500]
const LOGIN_URL = `http://${PORTAL_NAME}/login`

describeWith('namespaces')('ikestream check', () => {
  let here: CheckSite
  let v4: string
  beforeAll(async () => {
    here = await CheckSite.open()
    v4 = here.site.gatewayAddress
  })
  beforeEach(async () => {
    await here.onRouter(here.honestNames())
  })
  afterEach(() => here.restore())
  afterAll(() => here?.close())

  const codes = (document: CheckDocument): string[] => document.findings.map(({ code }) => code)
  const udp = (document: CheckDocument) => document.udp.find(({ family }) => family === 4)
  const stream = (document: CheckDocument, transport: string, via: string | null = null) =>
    document.streams.find(
      (one) => one.transport === transport && one.via === via && !one.address.includes(':')
    )

  it('finds everything open on an open network, and needs no privilege', async () => {
    const { document, exitCode, stderr } = await here.check()
    expect(document.verdict.sentence).toMatch(/^UDP works, [\d.]+ ms; connect will use it$/)
    expect(exitCode).toBe(0)
    expect(stderr).toBe('')
    expect(document).toMatchObject({
      schemaVersion: 1,
      server: GATEWAY_NAME,
      complete: true,
      verdict: { code: 'reachable', works: true, best: { transport: 'udp', via: null, port: 4500 } },
      dns: { outcome: 'resolved', honesty: 'honest' },
      network: { ipv4: { available: true, address: here.hotel.client.address, scope: 'private' } },
      portal: { state: 'open' }
    })
    expect(udp(document)).toMatchObject({
      ike: { outcome: 'answered' },
      natT: {
        outcome: 'answered',
        answer: { kind: 'accepted', suite: 'aes256gcm16-prfsha256-x25519', fragmentation: true }
      },
      nat: { present: false, portPreserved: true, mappingVaries: false },
      large: { linkMtu: 1500, pathMtu: 1500, fragments: 'pass' }
    })
    expect(document.streams).toHaveLength(document.udp.length * 2)
    for (const { outcome, prefixAccepted } of document.streams)
      expect([outcome, prefixAccepted]).toEqual(['answered', true])
    if (has('ipv6')) expect(document.udp.map(({ family }) => family).sort()).toEqual([4, 6])
  })

  it('says it to people in a sentence and a table', async () => {
    const text = await here.checkText()
    expect(text).toMatch(/^UDP works, [\d.]+ ms; connect will use it\.\n/)
    expect(text).toMatch(/^ *Name +✔ .*198\.18\.0\.1/m)
    expect(text).toMatch(/^ *TLS 443 +✔ 198\.18\.0\.1, IKE answers.*certificate from Site CA/m)
    expect(text).toMatch(/^ *Portal +✔ none/m)
  })

  it('knows UDP that is swallowed, and the way around it', async () => {
    await here.hotel.setFaults([{ protocol: 'udp', ports: IKE_PORTS, action: 'drop' }])
    const { document, exitCode } = await here.check()
    expect(document.verdict.sentence).toMatch(
      /^UDP is blocked on this network; TCP 4500 works, [\d.]+ ms; connect will use it$/
    )
    expect(exitCode).toBe(0)
    expect(udp(document)).toMatchObject({
      ike: { outcome: 'silent', reason: 'timeout', transmissions: 3 },
      natT: { outcome: 'silent', icmp: null }
    })
    // Nobody else has asked a real question: whether the suites fit was found out here.
    expect(document.streams.filter(({ answer }) => answer?.offerWasReal)).toMatchObject([
      { answer: { kind: 'accepted' } }
    ])
  })

  it('tells by whom UDP is refused, and how', async () => {
    await here.hotel.setFaults([{ protocol: 'udp', ports: IKE_PORTS, action: 'prohibit' }])
    const { document } = await here.check(v4)
    expect(document.verdict.sentence).toContain(
      `UDP is refused by ${here.hotel.client.router} (administratively prohibited)`
    )
    expect(udp(document)).toMatchObject({
      natT: { outcome: 'rejected', icmp: { type: 3, code: 13, from: here.hotel.client.router } }
    })
    await here.hotel.setFaults([{ protocol: 'udp', ports: IKE_PORTS, action: 'refuse' }])
    const refused = await here.check(v4)
    expect(refused.document.verdict.sentence).toMatch(
      /UDP is refused by the gateway itself \(port unreachable\)/
    )
    expect(udp(refused.document)?.ike).toMatchObject({
      outcome: 'rejected',
      reason: 'port-unreachable',
      icmp: { name: 'port-unreachable', from: v4 }
    })
  })

  it('is not misled by port 500 alone, nor by 4500 alone', async () => {
    await here.hotel.setFaults([{ protocol: 'udp', ports: [4500], action: 'drop' }])
    const { document } = await here.check(v4, BRISK)
    expect(document.verdict.sentence).toMatch(/^UDP 4500 is blocked, only 500 passes; TCP 4500 works/)
    expect(codes(document)).toContain('udp-4500-blocked')
    await here.hotel.setFaults([
      { protocol: 'udp', ports: [500], action: 'drop' },
      { protocol: 'tcp', action: 'drop' }
    ])
    const other = await here.check(v4, [...BRISK, '--transport', 'udp'])
    expect(other.document.verdict).toMatchObject({ code: 'udp-incomplete', works: false })
    expect(other.document.verdict.hint).toContain('--udp-port 4500')
    expect(other.exitCode).toBe(69)
    const mended = await here.check(v4, [...BRISK, '--transport', 'udp', '--udp-port', '4500'])
    expect(mended.exitCode).toBe(0)
  })

  it('finds the path MTU where nobody says what is too large, and where somebody does', async () => {
    await here.hotel.setMtu(1340, { silent: true })
    const { document } = await here.check(v4)
    expect(udp(document)?.large).toMatchObject({ announcedMtu: null, pathMtu: expect.any(Number) })
    expect(udp(document)?.large?.pathMtu).toBeGreaterThanOrEqual(1330)
    expect(udp(document)?.large?.pathMtu).toBeLessThanOrEqual(1340)
    expect(codes(document)).toContain('path-mtu-black-hole')
    await here.hotel.setMtu(1340)
    const told = await here.check(v4)
    expect(udp(told.document)?.large).toMatchObject({ announcedMtu: 1340, pathMtu: 1340 })
    expect(codes(told.document)).toContain('path-mtu')
  })

  it.runIf(has('nft'))('knows a network that loses nothing but fragments', async () => {
    await loseFragments(here.hotel, true)
    const { document } = await here.check(v4)
    await loseFragments(here.hotel, false)
    expect(udp(document)?.large).toMatchObject({ pathMtu: 1500, fragments: 'lost' })
    expect(codes(document)).toContain('fragments-lost')
    expect(document.verdict.works).toBe(true)
  })

  it('takes TLS where UDP is dropped and TCP 4500 refused', async () => {
    await here.hotel.setFaults([
      { protocol: 'udp', ports: IKE_PORTS, action: 'drop' },
      { protocol: 'tcp', ports: [4500], action: 'refuse' }
    ])
    const { document, exitCode } = await here.check(v4, BRISK)
    expect(document.verdict.sentence).toMatch(
      /^UDP is blocked on this network; TCP 4500 is refused; TLS 443 works, [\d.]+ ms; connect will use it$/
    )
    expect(exitCode).toBe(0)
    expect(stream(document, 'tcp')).toMatchObject({ outcome: 'failed', reason: 'connection-refused' })
  })

  it('finds that only 443 passes', async () => {
    await here.hotel.setFaults([
      { protocol: 'udp', ports: IKE_PORTS, action: 'drop' },
      { protocol: 'tcp', ports: [4500, 80], action: 'drop' }
    ])
    const { document } = await here.check(v4, BRISK)
    expect(document.verdict.sentence).toMatch(/TCP 4500 is blocked; TLS 443 works/)
    expect(document.portal.state).toBe('walled')
  })

  it('tells TLS interception from a certificate of the gateway, and who issued it', async () => {
    await here.onWall({
      service: 'interceptor',
      address: '0.0.0.0',
      port: 443,
      tls: here.certificateOf('Nosy Networks', GATEWAY_NAME)
    })
    await here.hotel.setFaults([
      { protocol: 'udp', ports: IKE_PORTS, action: 'drop' },
      { protocol: 'tcp', ports: [4500, 443], action: 'refuse' }
    ])
    const { document, exitCode } = await here.check(v4, [...BRISK, '--tls-name', GATEWAY_NAME])
    expect(document.verdict).toMatchObject({ code: 'no-ike', works: false })
    expect(document.verdict.sentence).toMatch(/TLS 443 is intercepted by Nosy Networks/)
    expect(exitCode).toBe(69)
    expect(stream(document, 'tls')).toMatchObject({
      outcome: 'silent',
      prefixAccepted: false,
      tls: { authorized: false, issuer: 'CN=Nosy Networks', subject: `CN=${GATEWAY_NAME}` }
    })
    expect(codes(document)).toContain('tls-intercepted')
  })

  it('takes a certificate of the named CA for the gateway’s, and another for somebody else’s', async () => {
    const names = ['--tls-name', GATEWAY_NAME, '--transport', 'tls']
    const good = await here.check(v4, [...names, '--tls-cafile', await here.site.caFile()])
    expect(stream(good.document, 'tls')?.tls).toMatchObject({ authorized: true, anchorsGiven: true })
    expect(codes(good.document)).toEqual([])
    const other = await here.site.file('other-ca.pem', here.certificateOf('Other CA', 'x').certificatePem)
    const bad = await here.check(v4, [...names, '--tls-cafile', other])
    expect(codes(bad.document)).toEqual(['tls-intercepted'])
    // IKE authenticates the gateway itself: reachable all the same, unless the user wants more.
    expect(bad.exitCode).toBe(0)
    const strict = await here.check(v4, [...names, '--tls-cafile', other, '--tls-verify'])
    expect(strict.exitCode).toBe(69)
    expect(stream(strict.document, 'tls')).toMatchObject({ outcome: 'failed', reason: 'tls-untrusted' })
  })

  it('finds a captive portal and its address, until somebody logs in', async () => {
    const portal = await here.onWall(here.portal('redirect'))
    await here.hotel.setFaults([
      { protocol: 'udp', ports: IKE_PORTS, action: 'drop' },
      { protocol: 'tcp', ports: [4500, 443], action: 'drop' },
      { protocol: 'tcp', ports: [80], action: 'refuse' }
    ])
    const { document, exitCode } = await here.check(v4, BRISK)
    expect(document.verdict).toMatchObject({ code: 'captive-portal', works: false, exitCode: 80 })
    expect(exitCode).toBe(80)
    expect(document.portal).toMatchObject({ state: 'portal', url: LOGIN_URL })
    expect(document.verdict.sentence).toContain(LOGIN_URL)
    if (has('tun')) await expectConnectToSaySo()
    const login = new Promise((resolve) => {
      portal.onEvent = ({ event }) => resolve(event)
    })
    await here.site.client.run([process.execPath, '-e', `fetch('${LOGIN_URL}', { method: 'POST' })`])
    expect(await login).toBe('login')
    // What a login opens is the network's business.
    await here.hotel.restore()
    expect((await here.check(v4)).document).toMatchObject({
      verdict: { code: 'reachable' },
      portal: { state: 'open', url: null }
    })
  })

  it.each(['page', 'login-required'] as const)('finds a captive portal with a %s', async (manner) => {
    await here.onWall(here.portal(manner))
    await here.hotel.setFaults([{ protocol: 'tcp', action: 'refuse' }])
    const { document } = await here.check(v4, ['--transport', 'tcp'])
    expect(document).toMatchObject({
      verdict: { code: 'captive-portal', exitCode: 80 },
      portal: { state: 'portal', url: LOGIN_URL }
    })
  })

  /** The same judge, from what the ladder has seen. */
  async function expectConnectToSaySo(): Promise<void> {
    const brisk = ['--timeout', '3', '--portal-url', PORTAL_URL, ...(await here.site.withPsk())]
    const error = await expectOneError(
      here.site.connect(v4, brisk),
      69,
      'captive-portal',
      /portal\.lab\/login/
    )
    expect(error['hint']).toMatch(/log in/)
  }

  it('asks the portal’s own API, and believes it before the web', async () => {
    const identity = here.certificate(API_NAME)
    await here.onRouter(here.portal('redirect', here.hotel.client.router, identity))
    await here.hotel.setFaults([{ protocol: 'all', action: 'drop' }])
    const env = { NODE_EXTRA_CA_CERTS: await here.site.caFile() }
    const api = ['--captive-portal-api', `https://${API_NAME}/status`]
    const { document, exitCode } = await here.check(v4, [...BRISK, ...api], env)
    expect(exitCode).toBe(80)
    expect(document.portal).toMatchObject({
      state: 'portal',
      url: `https://${PORTAL_NAME}/login`,
      api: { outcome: 'answered', captive: true, source: 'option' },
      probe: { outcome: 'silent' }
    })
    // One that cannot prove its name is as good as none (RFC 8908 section 4.1).
    const untrusted = await here.check(v4, [...BRISK, ...api])
    expect(untrusted.document.portal.api).toMatchObject({ outcome: 'failed', captive: null })
    expect(untrusted.exitCode).toBe(69)
  })

  it('asks no web page with --no-portal', async () => {
    const { document } = await here.check(v4, ['--no-portal'])
    expect(document.portal).toEqual({ state: 'unknown', url: null, api: null, probe: null })
  })

  it('finds the gateway silent where the web is open, and almost everything shut where nothing answers', async () => {
    await here.hotel.setFaults([
      { protocol: 'udp', ports: IKE_PORTS, action: 'drop' },
      { protocol: 'tcp', ports: [4500, 443], action: 'drop' }
    ])
    const silent = await here.check(v4, BRISK)
    expect(silent.exitCode).toBe(69)
    expect(silent.document.verdict).toMatchObject({ code: 'gateway-silent', works: false, best: null })
    expect(silent.document.verdict.hint).toMatch(/Internet is reachable/)
    await here.hotel.cut()
    const dead = await here.check(GATEWAY_NAME, BRISK)
    expect(dead.exitCode).toBe(69)
    expect(dead.document.verdict).toMatchObject({ code: 'walled' })
  })

  it('knows a machine without any network', async () => {
    const { device } = here.hotel.client
    await here.site.client.run(['ip', 'link', 'set', 'dev', device, 'down'])
    const { document, exitCode } = await here.check(v4)
    await here.site.client.run(['ip', 'link', 'set', 'dev', device, 'up'])
    const { router, router6, address6 } = here.hotel.client
    const metric = ['metric', '100']
    await here.site.client.run(['ip', 'route', 'replace', 'default', 'via', router, 'dev', device, ...metric])
    if (router6 !== null && address6 !== null) {
      await here.site.client.run(['ip', '-6', 'addr', 'replace', `${address6}/64`, 'dev', device, 'nodad'])
      await here.site.client.run([
        ...['ip', '-6', 'route', 'replace', 'default', 'via', router6],
        'dev',
        device,
        ...metric
      ])
    }
    expect(document.verdict).toMatchObject({ code: 'offline', exitCode: 69 })
    expect(exitCode).toBe(69)
    expect(document.portal.state).toBe('offline')
  })

  it.runIf(has('ipv6'))('says that a family does not work', async () => {
    // The router forgets its way to the gateway in one family.
    const { middle, gateway } = here.hotel
    await middle.run(['ip', '-6', 'route', 'add', 'blackhole', `${gateway.address6}/128`])
    const { document } = await here.check(GATEWAY_NAME, BRISK)
    await middle.run(['ip', '-6', 'route', 'del', 'blackhole', `${gateway.address6}/128`])
    expect(document.verdict.works).toBe(true)
    expect(codes(document)).toContain('ipv6-broken')
  })
})

describeWith('namespaces')('ikestream check and names', () => {
  let here: CheckSite
  beforeAll(async () => {
    here = await CheckSite.open()
  })
  afterEach(() => here.restore())
  afterAll(() => here?.close())

  it('says that a name does not exist', async () => {
    await here.onRouter(here.honestNames())
    const { document, exitCode } = await here.check('missing.lab.net')
    expect(exitCode).toBe(68)
    expect(document.verdict).toMatchObject({ code: 'name-not-found', works: false })
    expect(document.dns).toMatchObject({ outcome: 'not-found', honesty: 'honest' })
  })

  it('says that no name server is there, or that it is silent', async () => {
    const refused = await here.check(DNS_NAME)
    expect(refused.exitCode).toBe(68)
    expect(refused.document.verdict.code).toBe('name-lookup-failed')
    await here.site.etc.write('resolv.conf', `nameserver ${here.web.address}\n`)
    await here.hotel.setFaults([{ protocol: 'udp', action: 'drop' }])
    const silent = await here.check(DNS_NAME)
    await here.site.etc.write('resolv.conf', `nameserver ${here.hotel.client.router}\n`)
    expect(silent.exitCode).toBe(68)
    expect(silent.document.verdict.sentence).toMatch(/no name server answers|cannot be looked up/)
  })

  it('finds out a name server that has one answer for everything', async () => {
    const { router } = here.hotel.client
    await here.onRouter(
      { service: 'names', address: router, names: {}, everything: [router] },
      here.portal('redirect', router)
    )
    const { document, exitCode } = await here.check(DNS_NAME, BRISK)
    expect(exitCode).toBe(80)
    expect(document.dns).toMatchObject({ outcome: 'resolved', honesty: 'hijacked' })
    expect(codesOf(document)).toEqual(expect.arrayContaining(['dns-hijacked', 'private-address']))
    expect(document.portal).toMatchObject({ state: 'portal', url: `http://${PORTAL_NAME}/login` })
  })

  it('finds out invented addresses for names that do not exist', async () => {
    const { router } = here.hotel.client
    await here.onRouter({
      service: 'names',
      address: router,
      names: here.names(),
      missing: ['198.18.9.9']
    })
    const { document, exitCode } = await here.check(DNS_NAME)
    expect(exitCode).toBe(0)
    expect(document.dns?.honesty).toBe('rewrites-missing-names')
    expect(codesOf(document)).toContain('dns-rewrites')
  })

  const codesOf = (document: CheckDocument): string[] => document.findings.map(({ code }) => code)
})

describeWith('namespaces')('ikestream check and proxies', () => {
  let here: CheckSite
  let proxy: Awaited<ReturnType<CheckSite['site']['startProxy']>> | undefined
  beforeAll(async () => {
    here = await CheckSite.open()
  })
  beforeEach(async () => {
    // Only the proxy leads out.
    await here.onRouter(here.honestNames())
    await here.hotel.setFaults([
      { protocol: 'udp', ports: IKE_PORTS, action: 'drop' },
      { protocol: 'tcp', action: 'refuse' }
    ])
  })
  afterEach(async () => {
    await proxy?.stop()
    await here.restore()
  })
  afterAll(() => here?.close())

  const server = (): string => here.site.gatewayAddress

  it.each(['http', 'socks'] as const)(
    'finds the way through the %s proxy of the environment',
    async (kind) => {
      proxy = await here.site.startProxy()
      const url = kind === 'http' ? `http://${proxy.http}` : `socks5://${proxy.socks}`
      const name = kind === 'http' ? 'HTTPS_PROXY' : 'ALL_PROXY'
      const { document, exitCode } = await here.check(server(), BRISK, { [name]: url })
      expect(exitCode).toBe(0)
      expect(document.proxy).toBe(url)
      expect(document.verdict.best).toMatchObject({ transport: 'tcp', via: url })
      expect(document.verdict.sentence).toContain(`TCP 4500 through ${url} works`)
      // The direct ways were looked at as well.
      expect(document.streams.map(({ via, outcome }) => [via, outcome])).toEqual([
        [url, 'answered'],
        [url, 'answered'],
        [null, 'failed'],
        [null, 'failed']
      ])
    }
  )

  it('repeats what the proxy says', async () => {
    proxy = await here.site.startProxy({ credentials: 'guest:right' })
    const url = `http://${proxy.http}`
    const { document, exitCode, stderr } = await here.check(server(), [
      ...BRISK,
      '--proxy',
      `http://guest:wrong@${proxy.http}`
    ])
    expect(exitCode).toBe(69)
    expect(document.verdict.code).toBe('proxy-problem')
    expect(document.verdict.sentence).toMatch(/wants credentials \(407/)
    expect(JSON.stringify(document)).not.toContain('wrong')
    expect(stderr).not.toContain('wrong')
    await proxy.stop()
    proxy = await here.site.startProxy({ ports: [443] })
    const limited = await here.check(server(), [...BRISK, '--proxy', url])
    expect(limited.exitCode).toBe(0)
    expect(limited.document.verdict.sentence).toMatch(
      /TCP 4500 through .* is refused by the proxy; TLS 443 through .* works/
    )
    expect(limited.document.streams[0]?.message).toContain('403 Forbidden')
  })

  it('says that it would work without the proxy', async () => {
    await here.hotel.setFaults([{ protocol: 'udp', ports: IKE_PORTS, action: 'drop' }])
    const url = `http://${here.hotel.client.router}:3129`
    const { document, exitCode } = await here.check(server(), BRISK, { HTTPS_PROXY: url })
    expect(exitCode).toBe(69)
    expect(document.verdict).toMatchObject({ code: 'only-without-proxy', hint: 'Connect with --no-proxy.' })
    const without = await here.check(server(), [...BRISK, '--no-proxy'], { HTTPS_PROXY: url })
    expect(without.exitCode).toBe(0)
    expect(without.document.streams.every(({ via }) => via === null)).toBe(true)
  })
})

describeWith('namespaces')('ikestream check in depth', () => {
  let here: CheckSite
  beforeAll(async () => {
    here = await CheckSite.open()
  })
  afterEach(() => here.restore())
  afterAll(() => here?.close())

  const server = (): string => here.site.gatewayAddress

  it.each(['udp', 'tcp'] as const)('finds the suites that a gateway accepts, over %s', async (transport) => {
    const { document, exitCode } = await here.check(server(), ['--proposals', '--transport', transport])
    expect(exitCode).toBe(0)
    const { proposals } = document
    expect(proposals).toMatchObject({ complete: true, recommended: 'aes256gcm16-prfsha512-x25519' })
    expect(proposals?.suites.map(({ encryption }) => encryption)).toEqual([
      ...['aes256gcm16', 'aes128gcm16', 'chacha20poly1305'],
      ...['aes256', 'aes192', 'aes128']
    ])
    expect(proposals?.suites[0]).toMatchObject({
      groups: ['x25519', 'x448', 'ecp521', 'ecp384', 'ecp256', 'modp4096', 'modp3072', 'modp2048'],
      prfs: ['prfsha512', 'prfsha384', 'prfsha256'],
      integrities: []
    })
    expect(proposals?.suites.at(-1)?.integrities).toEqual(['sha512', 'sha384', 'sha256'])
  })

  it('logs in, sees ESP pass, and disconnects, without a device and without privileges', async () => {
    const before = await here.site.clientState()
    const { document, exitCode } = await here.check(server(), ['--auth', ...(await here.site.asUser())])
    expect(exitCode).toBe(0)
    expect(document.authentication).toMatchObject({
      outcome: 'authenticated',
      transport: 'udp',
      gatewayId: GATEWAY_NAME,
      localId: 'alice',
      espSuite: expect.stringMatching(/^aes256gcm16/),
      esp: { outcome: 'passes', host: server(), answersEcho: true }
    })
    expect(document.authentication?.virtualIps[0]).toMatch(/^10\.99\.0\./)
    expect(document.verdict.sentence).toMatch(/connect will use it; authentication works and ESP passes$/)
    expect(await here.site.clientState()).toBe(before)
    await here.gateway.event('client-down')
  })

  it('says why it is not let in, with the exit code of connect', async () => {
    const { document, exitCode, stderr } = await here.check(server(), [
      '--auth',
      ...(await here.site.asUser('nonsense'))
    ])
    expect(exitCode).toBe(77)
    expect(document.authentication).toMatchObject({
      outcome: 'failed',
      code: 'eap-wrong-credentials',
      esp: null
    })
    expect(document.verdict).toMatchObject({ code: 'reachable', works: true })
    expect(document.verdict.sentence).toMatch(/; but: The gateway refused the user name/)
    expect(`${JSON.stringify(document)}${stderr}`).not.toContain('nonsense')
  })

  it('finds out that ESP is lost where IKE passes', async () => {
    const box = await here.site.startMiddlebox({ esp: false })
    const { document } = await here.check(box.address, [
      '--auth',
      '--transport',
      'udp',
      ...(await here.site.withPsk())
    ])
    expect(document.authentication).toMatchObject({ outcome: 'authenticated', esp: { outcome: 'silent' } })
    expect(document.verdict.sentence).toMatch(/nothing came back through ESP$/)
  })

  it.each(['udp', 'tls'] as const)('measures what passes through the tunnel over %s', async (transport) => {
    const args = ['--bandwidth', '1', '--transport', transport, ...(await here.site.withPsk())]
    const { document, exitCode } = await here.check(server(), args)
    expect(exitCode).toBe(0)
    const { bandwidth } = document
    expect(bandwidth).toMatchObject({ host: server(), packetBytes: 1200 })
    expect(bandwidth?.received).toBeGreaterThan(16)
    expect(bandwidth?.mbitPerSecond).toBeGreaterThan(0)
    expect(bandwidth?.durationMs).toBeGreaterThanOrEqual(1000)
  })

  it('wants no credentials and asks for none without --auth', async () => {
    // Nothing of what was given for a session is sent, nor even read.
    const { exitCode } = await here.check(server(), ['--user', 'alice', '--password-file', '/nowhere'])
    expect(exitCode).toBe(0)
  })

  it('tells what changes, and nothing else, as long as it is wanted', async () => {
    const watching = here.watch(server(), ['--json', '--transport', 'tcp'])
    const documents = () => watching.strayOutput.map((line) => JSON.parse(line) as CheckDocument)
    await waitUntil('the first check', () => documents().length === 1)
    expect(documents()[0]?.verdict).toMatchObject({ works: true })
    await here.hotel.setFaults([{ protocol: 'tcp', ports: [4500], action: 'refuse' }])
    await waitUntil('the refusal', () => documents().length === 2)
    expect(documents()[1]?.verdict).toMatchObject({ works: false, exitCode: 69 })
    await here.hotel.restore()
    await waitUntil('the recovery', () => documents().length === 3)
    watching.kill('SIGINT')
    expect(await watching.exit).toBe(0)
    expect(documents().map(({ verdict }) => verdict.works)).toEqual([true, false, true])
  })

  it.runIf(has('nft'))('proves how a NAT maps ports once it knows the public address', async () => {
    await addNat(here.hotel)
    const outer = here.hotel.gateway.router
    const { document } = await here.check(server(), ['--public-address', outer])
    const entry = document.udp[0]
    expect(entry?.nat).toMatchObject({ present: true, publicAddress: outer, mappingVaries: false })
    expect(entry?.nat?.mappedPorts.map(({ gatewayPort }) => gatewayPort)).toEqual([500, 4500])
    expect(entry?.nat?.portPreserved).toBe(true)
    await mapByDestination(here.hotel)
    const varying = await here.check(server(), ['--public-address', outer])
    expect(varying.document.udp[0]?.nat).toMatchObject({
      present: true,
      mappingVaries: true,
      portPreserved: false
    })
    expect(varying.document.findings.map(({ code }) => code)).toContain('nat-varies')
    const unknown = await here.check(server())
    expect(unknown.document.udp[0]?.nat).toMatchObject({
      present: true,
      publicAddress: null,
      mappingVaries: null
    })
    await removeNat(here.hotel)
  })
})
