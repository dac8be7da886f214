/**
 * Names while a session is up, with the real programs that manage them: who is asked is seen from the name servers' side, and found
 * through the C library, as any program does.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, IkestreamSite } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'
import {
  layOver,
  lookUp,
  NameServer,
  packageEtc,
  resolvedUsers,
  startResolved
} from '../support/resolvers.ts'

/** The name server behind the gateway. */
const INNER_DNS = '10.99.0.53'
const DOMAIN = 'corp.example'

/** A site whose hotel has a name server, and whose gateway has another behind it. */
class NamedSite {
  readonly site: IkestreamSite
  readonly hotel: NameServer
  readonly inner: NameServer
  #names = 0

  private constructor(site: IkestreamSite, hotel: NameServer, inner: NameServer) {
    this.site = site
    this.hotel = hotel
    this.inner = inner
  }

  static async open(files: Readonly<Record<string, string>> = {}): Promise<NamedSite> {
    const site = await IkestreamSite.open(files)
    const { middle, gateway, client } = site.hotel
    const hotel = await NameServer.start(middle, client.router, '203.0.113.1')
    await gateway.namespace.run(['ip', 'addr', 'add', `${INNER_DNS}/32`, 'dev', 'lo'])
    const inner = await NameServer.start(gateway.namespace, INNER_DNS, '203.0.113.2')
    return new NamedSite(site, hotel, inner)
  }

  /** Who answers for a name that nobody has asked for yet. */
  async whoKnows(domain: string): Promise<'hotel' | 'inner' | null> {
    const name = `n${this.#names++}.${domain}`
    const before = { hotel: this.hotel.asked.length, inner: this.inner.asked.length }
    const address = await lookUp(this.site.client, name)
    const heard = {
      hotel: this.hotel.asked.slice(before.hotel).includes(name),
      inner: this.inner.asked.slice(before.inner).includes(name)
    }
    if (address === null) return null
    const who = address === this.inner.answer ? 'inner' : 'hotel'
    // Whoever else heard of the name has learnt what is none of his business.
    expect(heard).toEqual({ hotel: who === 'hotel', inner: who === 'inner' })
    return who
  }

  /** Who answers for names inside and outside of the tunnel's domain. */
  async answers(): Promise<string> {
    return `${await this.whoKnows(DOMAIN)} ${await this.whoKnows('elsewhere.example')}`
  }

  async output(argv: readonly string[]): Promise<string> {
    return (await this.site.client.run(argv)).stdout
  }
}

const suite = describeWith('namespaces', 'tun', 'root', 'resolvers')

/** Sessions to gateways that want all names to be asked of them, and those of one domain only. */
function sessions(open: () => Promise<NamedSite>) {
  let named: NamedSite
  let psk: readonly string[]
  let splitGateway: string
  let before: string
  beforeAll(async () => {
    named = await open()
    const { site } = named
    const args = [...(await site.gatewayArgs()), '--dns', INNER_DNS]
    await site.startGateway(args)
    splitGateway = await site.addGatewayAddress(11)
    const network = ['--interface', 'gw1', '--local-ts', '10.99.0.0/16', '--dns-domain', DOMAIN]
    await site.startGateway([...args, ...network], { listen: [splitGateway] })
    psk = await site.withPsk()
  })
  beforeEach(async () => {
    before = await named.site.clientState()
    expect(await named.answers()).toBe('hotel hotel')
  })
  afterEach(async () => {
    await named.site.stopClients()
    expect(await named.answers()).toBe('hotel hotel')
    expect(await named.site.clientState()).toBe(before)
  })
  afterAll(() => named?.site.close())

  async function connected(server: string, args: readonly string[]): Promise<IkestreamProcess> {
    const client = named.site.connect(server, [...psk, ...BRISK, '--verbose', ...args])
    await client.event('connected')
    return client
  }
  return {
    get named() {
      return named
    },
    full: (...args: string[]) => connected(named.site.gatewayAddress, args),
    split: (...args: string[]) => connected(splitGateway, args)
  }
}

suite('with systemd-resolved', () => {
  const RESOLVED_STATE = [['dns'], ['domain'], ['default-route'], ['llmnr'], ['mdns'], ['dnssec'], ['nta']]
  let settings: string
  const use = sessions(async () => {
    const named = await NamedSite.open(await resolvedUsers())
    const { site } = named
    const directory = join(site.directory, 'resolved')
    await mkdir(directory)
    await layOver(site.client, 'systemd-resolved', directory)
    await startResolved(site.client, directory)
    // As whoever configures networks does after DHCP.
    await site.client.run(['resolvectl', 'dns', 'wan0', site.hotel.client.router])
    return named
  })
  const state = async (): Promise<string> =>
    (await Promise.all(RESOLVED_STATE.map((words) => use.named.output(['resolvectl', ...words])))).join('\n')
  beforeEach(async () => {
    settings = await state()
  })
  afterEach(async () => {
    await use.named.site.stopClients()
    expect(await state()).toBe(settings)
  })

  it('all names are asked of the tunnel’s server, and nobody else hears of them', async () => {
    const client = await use.full()
    expect(await use.named.answers(), client.transcript()).toBe('inner inner')
    expect(await use.named.output(['resolvectl', 'domain', 'ike0'])).toMatch(/: ~\.$/m)
    await client.said(/name resolution: resolvectl/)
    await client.stop()
  })

  it('names of the tunnel’s domain are asked of its server, all others as before', async () => {
    const client = await use.split()
    expect(await use.named.answers(), client.transcript()).toBe('inner hotel')
    expect(await use.named.output(['resolvectl', 'default-route', 'ike0'])).toMatch(/: no$/m)
    expect(await use.named.output(['resolvectl', 'domain', 'ike0'])).toMatch(/: ~corp\.example$/m)
    await client.stop()
  })

  it('everything is as before when the session is killed, and so is its device', async () => {
    const client = await use.full()
    client.kill('SIGKILL')
    await client.exit
    expect(await use.named.answers()).toBe('hotel hotel')
    // What resolved does not know of is left to the next session, or to cleanup.
    const stateDirectory = join(use.named.site.directory, 'client')
    expect(await use.named.site.start(use.named.site.client, ['cleanup'], { stateDirectory }).exit).toBe(0)
  })

  it('a session that has become another user has its keeper set the servers and take them back', async () => {
    const client = await use.split('--setuid', 'nobody')
    expect(await use.named.answers(), client.transcript()).toBe('inner hotel')
    client.kill('SIGKILL')
    await client.exit
    expect(await use.named.answers()).toBe('hotel hotel')
  })

  it('takes servers from root that has no other privilege than to change the network', async () => {
    const { site } = use.named
    const wrapper = [
      'setpriv',
      '--bounding-set',
      '-all,+net_admin',
      '--inh-caps',
      '-all',
      '--no-new-privs',
      '--'
    ]
    const args = [...(await site.withPsk()), ...BRISK]
    const client = site.connect(site.gatewayAddress, args, { wrapper })
    await client.event('connected')
    expect(await use.named.answers(), client.transcript()).toBe('inner inner')
    await client.stop()
  })

  it('is left alone where nobody asks it', async () => {
    const { named } = use
    const link = (await named.output(['readlink', '/etc/resolv.conf'])).trim()
    const hand = `# by hand\nnameserver ${named.site.hotel.client.router}\n`
    await named.site.client.run(['rm', '/etc/resolv.conf'])
    await named.site.etc.write('resolv.conf', hand)
    const client = await use.full()
    expect(await named.answers(), client.transcript()).toBe('inner inner')
    expect(await named.site.etc.read('resolv.conf')).toMatch(new RegExp(`^nameserver ${INNER_DNS}$`, 'm'))
    expect(await named.output(['resolvectl', 'dns', 'ike0'])).not.toContain(INNER_DNS)
    await client.stop()
    expect(await named.site.etc.read('resolv.conf')).toBe(hand)
    await named.site.client.run(['ln', '-sf', link, '/etc/resolv.conf'])
  })

  it('takes other servers when the gateway comes back with others', async () => {
    const { site } = use.named
    const address = await site.addGatewayAddress(12)
    const common = [...(await site.gatewayArgs()), '--interface', 'gw2']
    const pools = ['--pool', '10.120.0.0/24']
    const first = await site.startGateway([...common, '--dns', '10.120.0.53'], { listen: [address], pools })
    const client = site.connect(address, [...(await site.withPsk()), ...BRISK])
    await client.event('connected')
    expect(await use.named.output(['resolvectl', 'dns', 'ike0'])).toContain('10.120.0.53')
    await first.stop()
    await client.event('reconnecting')
    const args = [...common, '--dns', INNER_DNS, '--local-ts', '10.99.0.0/16', '--dns-domain', DOMAIN]
    await site.startGateway(args, { listen: [address], pools })
    await client.event('path-changed')
    expect(await use.named.answers(), client.transcript()).toBe('inner hotel')
    await client.stop()
  })
})

suite('with openresolv', () => {
  const use = sessions(async () => {
    const named = await NamedSite.open(await packageEtc('openresolv', '.'))
    const { site } = named
    const directory = join(site.directory, 'openresolv')
    await mkdir(directory)
    await layOver(site.client, 'openresolv', directory)
    await site.client.run(['rm', '/etc/resolv.conf'])
    const dhcp = `nameserver ${site.hotel.client.router}\nsearch hotel.example\n`
    await site.client.run(['resolvconf', '-a', 'wan0.dhcp'], { input: dhcp })
    return named
  })

  it('all names are asked of the tunnel’s server, also when a lease is renewed meanwhile', async () => {
    const client = await use.full()
    const { named } = use
    await client.said(/name resolution: resolvconf/)
    expect(await named.answers(), client.transcript()).toBe('inner inner')
    const { router } = named.site.hotel.client
    const renewed = `nameserver ${router}\nsearch hotel.example\noptions edns0\n`
    await named.site.client.run(['resolvconf', '-a', 'wan0.dhcp'], { input: renewed })
    expect(await named.answers(), client.transcript()).toBe('inner inner')
    const first = `nameserver ${router}\nsearch hotel.example\n`
    await named.site.client.run(['resolvconf', '-a', 'wan0.dhcp'], { input: first })
    await client.stop()
  })

  it('all names are asked of the tunnel’s server where only those of its domain are wanted, and that is said', async () => {
    const client = await use.split()
    expect(await use.named.answers(), client.transcript()).toBe('inner inner')
    await client.said(/without systemd-resolved all names are asked/)
    const text = await use.named.site.etc.read('resolv.conf')
    expect(text).toContain(`nameserver ${use.named.site.hotel.client.router}`)
    expect(text).toMatch(/^search corp\.example hotel\.example$/m)
    await client.stop()
  })

  it('a local resolver is told which names to ask of the tunnel’s server, and only it changes', async () => {
    const { site } = use.named
    const generated = await site.etc.read('resolv.conf')
    const settings =
      'name_servers=127.0.0.1\ndnsmasq_conf=/run/dnsmasq.conf\ndnsmasq_resolv=/run/dnsmasq.resolv\n'
    const plain = await site.etc.read('resolvconf.conf')
    await site.etc.write('resolvconf.conf', settings)
    await site.client.run(['resolvconf', '-u'])
    const servers = async (): Promise<string[] | null> =>
      (await site.etc.read('resolv.conf')).match(/^nameserver .*$/gm)
    expect(await servers()).toEqual(['nameserver 127.0.0.1'])
    const client = await use.split()
    expect(await servers()).toEqual(['nameserver 127.0.0.1'])
    const told = await use.named.output(['cat', '/run/dnsmasq.conf'])
    expect(told).toMatch(new RegExp(`^server=/${DOMAIN}/${INNER_DNS}$`, 'm'))
    expect(await use.named.output(['cat', '/run/dnsmasq.resolv'])).not.toContain(INNER_DNS)
    expect(client.stderr).not.toMatch(/all names are asked/)
    await client.stop()
    expect(await use.named.output(['cat', '/run/dnsmasq.conf'])).not.toContain(INNER_DNS)
    await site.etc.write('resolvconf.conf', plain)
    await site.client.run(['resolvconf', '-u'])
    expect(await site.etc.read('resolv.conf')).toBe(generated)
  })

  it('a record that a killed session has left goes with cleanup', async () => {
    const client = await use.full()
    client.kill('SIGKILL')
    await client.exit
    expect(await use.named.output(['resolvconf', '-i'])).toContain('ike0')
    const stateDirectory = join(use.named.site.directory, 'client')
    expect(await use.named.site.start(use.named.site.client, ['cleanup'], { stateDirectory }).exit).toBe(0)
    expect(await use.named.output(['resolvconf', '-i'])).not.toContain('ike0')
  })

  it('a file that somebody wrote by hand is put back as it was, byte for byte', async () => {
    const { site } = use.named
    const generated = await site.etc.read('resolv.conf')
    const names = await use.named.output(['ls', '/etc'])
    const hand = `# mine\nnameserver ${site.hotel.client.router}\n\n\n`
    await site.etc.write('resolv.conf', hand)
    const client = await use.full()
    expect(await use.named.answers(), client.transcript()).toBe('inner inner')
    await client.stop()
    expect(await site.etc.read('resolv.conf')).toBe(hand)
    expect(await use.named.output(['ls', '/etc'])).toBe(names)
    await site.etc.write('resolv.conf', generated)
  })
})

suite('with Debian’s resolvconf', () => {
  const LINK = '/run/resolvconf/resolv.conf'
  const use = sessions(async () => {
    const named = await NamedSite.open(await packageEtc('resolvconf', 'resolvconf'))
    const { site } = named
    const directory = join(site.directory, 'resolvconf')
    await mkdir(directory)
    await layOver(site.client, 'resolvconf', directory)
    // What its installation and its boot script do.
    await site.client.run(['chmod', '-R', '+x', '/etc/resolvconf/update.d'])
    await site.client.run(['mkdir', '-p', '/run/resolvconf/interface'])
    await site.client.run(['ln', '-sf', LINK, '/etc/resolv.conf'])
    await site.client.run(['resolvconf', '--enable-updates'])
    const dhcp = `nameserver ${site.hotel.client.router}\nsearch hotel.example\n`
    await site.client.run(['resolvconf', '-a', 'eth0.dhclient'], { input: dhcp })
    return named
  })

  it('the tunnel’s server is asked first, also when a lease is renewed meanwhile', async () => {
    const client = await use.full()
    const { named } = use
    await client.said(/name resolution: resolvconf/)
    expect(await named.answers(), client.transcript()).toBe('inner inner')
    const { router } = named.site.hotel.client
    const records = [
      `nameserver ${router}\nsearch new.example\n`,
      `nameserver ${router}\nsearch hotel.example\n`
    ]
    for (const input of records) await named.site.client.run(['resolvconf', '-a', 'eth0.dhclient'], { input })
    expect(await named.answers(), client.transcript()).toBe('inner inner')
    await client.stop()
  })

  it('all names are asked of the tunnel’s server where only those of its domain are wanted, and that is said', async () => {
    const client = await use.split()
    expect(await use.named.answers(), client.transcript()).toBe('inner inner')
    await client.said(/without systemd-resolved all names are asked/)
    expect(await use.named.output(['cat', '/etc/resolv.conf'])).toMatch(
      /^search corp\.example hotel\.example$/m
    )
    await client.stop()
  })

  it('a file that is not its own is changed and put back without it', async () => {
    const { site } = use.named
    const hand = `# mine\nnameserver ${site.hotel.client.router}\n`
    await site.client.run(['rm', '/etc/resolv.conf'])
    await site.etc.write('resolv.conf', hand)
    const client = await use.full()
    expect(await use.named.answers(), client.transcript()).toBe('inner inner')
    await client.stop()
    expect(await site.etc.read('resolv.conf')).toBe(hand)
    await site.client.run(['ln', '-sf', LINK, '/etc/resolv.conf'])
  })
})
