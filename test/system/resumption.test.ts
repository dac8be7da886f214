/** Session tickets (RFC 5723): a gateway that was killed and comes back takes its clients without authentication. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, IkestreamSite } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'

describeWith('namespaces', 'tun')('a client of a gateway that is killed and comes back', () => {
  let site: IkestreamSite
  let states = 0

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
  })
  beforeEach(() => site.hotel.restore())
  afterEach(() => site.stopClients())
  afterAll(() => site?.close())

  async function gatewayAt(lastByte: number) {
    const address = await site.addGatewayAddress(lastByte)
    const pools = ['--pool', `10.${lastByte}.0.0/24`]
    const start = async (more: readonly string[] = []): Promise<IkestreamProcess> =>
      site.startGateway([...(await site.gatewayArgs()), '--interface', `gw${lastByte}`, ...more], {
        ...{ listen: [address], pools, state: `resuming-${lastByte}` }
      })
    return { address, inner: `10.${lastByte}.0.1`, start }
  }

  async function connect(address: string, transport: string, more: readonly string[] = []) {
    const args = [...(await site.asUser()), '--transport', transport, ...BRISK, ...more]
    const client = site.connect(address, args, { state: `client-${states++}` })
    await client.event('connected')
    return client
  }

  it.each([
    ['udp', 61],
    ['tcp', 62],
    ['tls', 63]
  ] as const)('goes on with its ticket (%s), and a download with it', async (transport, lastByte) => {
    const { address, inner, start } = await gatewayAt(lastByte)
    const doomed = await start()
    const client = await connect(address, transport)
    const download = site.download(4_194_304, 4, inner)
    doomed.kill('SIGKILL')
    await doomed.exit
    const back = await start()
    expect(await back.event('client-up'), client.transcript()).toMatchObject({ ticket: true })
    await client.event('resumed')
    expect(await download.intact(), client.transcript()).toBe(true)
  })

  it('is authenticated anew where it has no ticket', async () => {
    const { address, start } = await gatewayAt(64)
    const doomed = await start(['--no-tickets'])
    const client = await connect(address, 'tcp')
    doomed.kill('SIGKILL')
    await doomed.exit
    const back = await start()
    expect(await back.event('client-up'), client.transcript()).toMatchObject({ ticket: false })
    expect(client.all('resumed')).toEqual([])
  })
})
