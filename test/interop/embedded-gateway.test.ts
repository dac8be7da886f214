/** strongSwan's own client against the embedded gateway: the proof of the gateway that does not come from its own house. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Charon } from '../support/charon.ts'
import { IkestreamProcess } from '../support/ikestream-process.ts'
import { emptyLab, type LabNamespace, type NetLab } from '../support/namespaces.ts'
import { type Pki, testPki } from '../support/pki.ts'
import { describeWith } from '../support/require.ts'
import { scratchDirectory } from '../support/run-directory.ts'
import { EAP_USERS, TEST_PSK } from '../support/strongswan-connections.ts'
import { waitUntil } from '../support/wait-until.ts'

const GATEWAY = '10.71.0.1'
const CLIENT = '10.71.0.2'
const SECOND_CLIENT_ADDRESS = '10.71.0.3'
const [USER = '', PASSWORD = ''] = Object.entries(EAP_USERS)[1] ?? []

describeWith(
  'namespaces',
  'tun',
  'strongswan',
  'openssl',
  'ping'
)('strongSwan as a client of the embedded gateway', () => {
  let lab: NetLab
  let client: LabNamespace
  let clientDevice: string
  let gateway: IkestreamProcess
  let charon: Charon

  beforeAll(async () => {
    lab = await emptyLab()
    const side = await lab.addNamespace('gateway')
    client = await lab.addNamespace('client')
    const [gatewayDevice, device] = await lab.connect(side, client)
    clientDevice = device
    await side.run(['ip', 'addr', 'add', `${GATEWAY}/24`, 'dev', gatewayDevice])
    for (const address of [CLIENT, SECOND_CLIENT_ADDRESS])
      await client.run(['ip', 'addr', 'add', `${address}/24`, 'dev', clientDevice])
    const pki = await testPki()
    const directory = await scratchDirectory('embedded-gateway')
    gateway = IkestreamProcess.start(side, await gatewayArgs(directory, pki), {
      stateDirectory: join(directory, 'state')
    })
    await gateway.event('listening')
    charon = await Charon.start({
      enter: (argv) => client.argv(argv),
      directory: await scratchDirectory('charon-client'),
      pki,
      swanctl: connections(),
      credentials: {
        x509ca: ['root-rsa.pem', 'int-rsa-cl.pem'],
        x509: ['cl-rsa.pem'],
        private: ['cl-rsa.key']
      },
      tls: { version_max: '1.2' }
    })
  })
  afterAll(async () => {
    await charon?.stop()
    await gateway?.stop()
    await lab?.close()
  })

  const pings = async (address: string): Promise<boolean> =>
    (await client.runner.run(['ping', '-c', '1', '-W', '3', address])).exitCode === 0

  test.each([
    ['psk', 'psk-client.test'],
    ['certificate', 'cl-rsa.test'],
    ['mschapv2', USER],
    ['eap-tls', 'cl-rsa.test']
  ])('connects by %s, pings over both families, and is gone after its DELETE', async (name, identity) => {
    const mark = gateway.mark
    await charon.initiate(name)
    const up = await gateway.event('client-up', undefined, mark)
    expect(up).toMatchObject({ identity, transport: 'udp', remote: `${CLIENT}:4500` })
    expect(await pings('10.99.0.1')).toBe(true)
    expect(await pings('fd00:99::1')).toBe(true)
    await charon.terminate(name)
    const down = await gateway.event('client-down', undefined, mark)
    expect(down).toMatchObject({ peer: up['peer'], reason: 'deleted-by-peer' })
    expect(down['bytesIn']).toBeGreaterThan(0)
    expect(await pings('10.99.0.1')).toBe(false)
  })

  test('rekeyings of either end and of either SA go by unnoticed', async () => {
    await charon.initiate('psk')
    await charon.rekey('child', 'psk')
    await charon.rekey('ike', 'psk')
    await waitUntil('both rekeyings of the client', () => charon.countEvents('ike-rekey', 'psk') > 0)
    expect(await pings('10.99.0.1')).toBe(true)
    const before = charon.countEvents('child-rekey', 'psk')
    await waitUntil('a rekeying of the gateway', () => charon.countEvents('child-rekey', 'psk') > before)
    expect(await pings('10.99.0.1')).toBe(true)
    await charon.terminate('psk')
  })

  test('MOBIKE: the client loses its address, and its tunnel goes on from another', async () => {
    const mark = gateway.mark
    await charon.initiate('psk')
    await client.run(['ip', 'addr', 'del', `${CLIENT}/24`, 'dev', clientDevice])
    await client.run(['ip', 'addr', 'replace', `${SECOND_CLIENT_ADDRESS}/24`, 'dev', clientDevice])
    const moved = await gateway.event('client-moved', undefined, mark)
    expect(moved).toMatchObject({ from: 'udp', to: 'udp', remote: `${SECOND_CLIENT_ADDRESS}:4500` })
    await waitUntil('pings', () => pings('10.99.0.1'))
    // The end of an earlier test's client may be told only now.
    const ends = gateway.events.slice(mark).filter(({ event }) => event === 'client-down')
    expect(ends.filter(({ peer }) => peer === moved['peer'])).toEqual([])
    await charon.terminate('psk')
    await client.run(['ip', 'addr', 'add', `${CLIENT}/24`, 'dev', clientDevice])
  })

  test('the end of the gateway is told to the client', async () => {
    await charon.initiate('psk')
    gateway.kill('SIGTERM')
    expect(await gateway.exit, gateway.transcript()).toBe(0)
    await waitUntil('the end of the SA', async () => (await charon.listSas('psk')).length === 0)
    expect(gateway.strayOutput).toEqual([])
  })
})

async function gatewayArgs(directory: string, pki: Pki): Promise<string[]> {
  const psk = join(directory, 'psk')
  const users = join(directory, 'users')
  await writeFile(psk, TEST_PSK, { mode: 0o600 })
  await writeFile(users, `${USER}:${PASSWORD}\n`, { mode: 0o600 })
  return [
    ...['gateway', '--json', '--verbose', '--listen', GATEWAY],
    ...['--certificate', pki.path('gw-rsa.chain.pem'), '--sslkey', pki.path('gw-rsa.key')],
    ...['--psk-file', psk, '--users-file', users, '--client-cafile', pki.path('root-rsa.pem')],
    ...['--child-lifetime', '12']
  ]
}

function connections() {
  const common = {
    version: 2,
    local_addrs: `${CLIENT}, ${SECOND_CLIENT_ADDRESS}`,
    remote_addrs: GATEWAY,
    vips: '0.0.0.0, ::',
    mobike: true,
    children: { net: { remote_ts: '10.99.0.0/24, fd00:99::/64', rekey_time: '1h' } },
    remote: { auth: 'pubkey', id: 'rsa.gw.test' }
  }
  return {
    connections: {
      psk: {
        ...common,
        local: { auth: 'psk', id: 'psk-client.test' },
        remote: { auth: 'psk', id: 'rsa.gw.test' }
      },
      certificate: { ...common, local: { auth: 'pubkey', certs: 'cl-rsa.pem', id: 'cl-rsa.test' } },
      mschapv2: { ...common, local: { auth: 'eap-mschapv2', id: USER, eap_id: USER } },
      'eap-tls': { ...common, local: { auth: 'eap-tls', certs: 'cl-rsa.pem', id: 'cl-rsa.test' } }
    },
    secrets: {
      'ike-any': { secret: TEST_PSK },
      'eap-user': { id: USER, secret: PASSWORD }
    }
  }
}
