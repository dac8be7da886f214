/** Gateways that send their clients to others (RFC 5685), over every transport. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, IkestreamSite } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'

describeWith('namespaces', 'tun')('a client whose gateway sends it to another', () => {
  let site: IkestreamSite
  let second: string
  let states = 0

  beforeAll(async () => {
    site = await IkestreamSite.open()
    second = await site.addGatewayAddress(31)
    await site.startGateway([...(await site.gatewayArgs()), '--interface', 'second'], { listen: [second] })
  })
  beforeEach(() => site.hotel.restore())
  afterEach(() => site.stopClients())
  afterAll(() => site?.close())

  async function first(lastByte: number, args: readonly string[]) {
    const address = await site.addGatewayAddress(lastByte)
    const all = [...(await site.gatewayArgs()), '--redirect', second, ...args]
    const gateway = await site.startGateway(all, { listen: [address] })
    return { address, gateway }
  }

  function connect(server: string, args: readonly string[]): IkestreamProcess {
    return site.connect(server, [...args, ...BRISK], { state: `client-${states++}` })
  }

  it.each([
    ['udp', 'init', 41],
    ['tls', 'init', 42],
    ['tcp', 'auth', 43]
  ] as const)('goes there (%s, %s)', async (transport, at, lastByte) => {
    const { address } = await first(lastByte, ['--redirect-at', at])
    const client = connect(address, [...(await site.asUser()), '--transport', transport])
    expect(await client.event('connected'), client.transcript()).toMatchObject({ gateway: second, transport })
    expect(client.all('redirected')).toMatchObject([
      { event: 'redirected', from: address, to: second, phase: at }
    ])
  })

  it('goes there from a session that is up, without a gap', async () => {
    const { address, gateway } = await first(44, ['--redirect-at', 'request'])
    const client = connect(address, [...(await site.withPsk()), '--transport', 'tcp'])
    await client.event('connected')
    gateway.kill('SIGUSR2')
    const moved = await client.event('path-changed')
    expect(moved, client.transcript()).toMatchObject({ from: 'tcp', to: 'tcp', reason: 'redirected' })
    expect(client.all('reconnecting')).toEqual([])
    const gone = await gateway.event('client-down')
    expect(gone['reason']).toBe('deleted-by-peer')
  })

  it('stays with --no-redirect', async () => {
    const { address } = await first(45, ['--redirect-at', 'init'])
    const client = connect(address, [...(await site.withPsk()), '--no-redirect'])
    expect(await client.event('connected'), client.transcript()).toMatchObject({ gateway: address })
  })
})
