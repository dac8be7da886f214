/** What the machine itself can refuse, before any gateway is asked: one sentence, the right exit code, nothing left behind. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { expectOneError } from '../support/expect-error.ts'
import { IkestreamSite } from '../support/ikestream-site.ts'
import { startProgram } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'

/** Answers every question with "no such name" (RFC 1035 section 4.1.1, RCODE 3). */
const NO_SUCH_NAME = `
import dgram from 'node:dgram'
const socket = dgram.createSocket('udp4')
socket.on('message', (query, from) => {
  query[2] |= 0x80
  query[3] = 0x83
  socket.send(query, from.port, from.address)
})
socket.bind(53, process.argv[1], () => console.log('ready'))
`

describeWith('namespaces', 'tun')('a machine that cannot connect', () => {
  let site: IkestreamSite
  let before: string

  beforeAll(async () => {
    site = await IkestreamSite.open()
  })
  beforeEach(async () => {
    before = await site.clientState()
  })
  afterEach(async () => {
    expect(await site.clientState()).toBe(before)
  })
  afterAll(() => site?.close())

  it('says that a name cannot be looked up without a name server', async () => {
    const client = site.connect('vpn.example.test', await site.withPsk())
    await expectOneError(client, 68, 'name-lookup-failed', /vpn\.example\.test/)
  })

  it('says it in one sentence to people, and what to do in another', async () => {
    const argv = ['connect', 'vpn.example.test', '--non-inter', ...(await site.withPsk())]
    const client = site.start(site.client, argv, { stateDirectory: join(site.directory, 'people') })
    expect(await client.exit).toBe(68)
    expect(client.strayOutput).toEqual([])
    expect(client.events).toEqual([])
    expect(client.stderr).toMatch(/^error: [^\n]*vpn\.example\.test[^\n]*\n {7}[^\n]+\n$/)
  })

  it('says that a name does not exist', async () => {
    const argv = [process.execPath, '--input-type=module', '-e', NO_SUCH_NAME, '--', site.hotel.client.router]
    const server = startProgram(site.hotel.middle, argv)
    await server.printed(/ready/)
    const client = site.connect('vpn.example.test', await site.withPsk())
    await expectOneError(client, 68, 'name-not-found', /vpn\.example\.test/)
    await server.stop()
  })

  it('says what is missing without CAP_NET_ADMIN', async () => {
    const wrapper = ['setpriv', '--inh-caps', '-net_admin', '--bounding-set', '-net_admin', '--']
    const client = site.connect(site.gatewayAddress, await site.withPsk(), { wrapper })
    await expectOneError(client, 77, 'no-net-admin', /CAP_NET_ADMIN/)
  })

  it('says what is missing without /dev/net/tun', async () => {
    const empty = join(site.directory, 'empty')
    await mkdir(empty)
    const wrapper = ['unshare', '-m', 'sh', '-c', 'mount --bind "$0" /dev/net && exec "$@"', empty]
    const client = site.connect(site.gatewayAddress, await site.withPsk(), { wrapper })
    await expectOneError(client, 71, 'no-tun', /\/dev\/net\/tun/)
  })

  it('does not take a device that is somebody else’s', async () => {
    const client = site.connect(site.gatewayAddress, ['--interface', 'wan0', ...(await site.withPsk())])
    await expectOneError(client, 71, 'tun-busy', /wan0.*in use/)
  })

  it('says that the state directory cannot be used', async () => {
    const stateDirectory = join(await site.file('no-directory', ''), 'state')
    const client = site.connect(site.gatewayAddress, await site.withPsk(), { stateDirectory })
    await expectOneError(client, 71, 'state-directory', /no-directory/)
  })

  it('says that the process id cannot be written', async () => {
    const file = join(site.directory, 'missing', 'pid')
    const client = site.connect(site.gatewayAddress, ['--pid-file', file, ...(await site.withPsk())])
    await expectOneError(client, 71, 'pid-file', /missing\/pid/)
  })

  it('knows no network namespace of that name', async () => {
    const client = site.connect(site.gatewayAddress, ['--netns', 'nowhere', ...(await site.withPsk())])
    await expectOneError(client, 71, 'netns-missing', /nowhere/)
  })
})
