/** A session that is up changes its transport under running connections, which never notice. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { SessionStatus } from '../../src/client/session-status.ts'
import type { IkestreamProcess, JsonLine } from '../support/ikestream-process.ts'
import { BRISK, type Download, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

const NO_UDP = { protocol: 'udp', action: 'drop' } as const
const MEBIBYTE = 1_048_576
/** Long enough that a change of path happens in the middle of it. */
const DOWNLOAD_BYTES = 8 * MEBIBYTE
const DOWNLOAD_S = 4

describeWith('namespaces', 'tun')('a session that is up', () => {
  let site: IkestreamSite
  let gateway: IkestreamProcess
  let psk: readonly string[]
  let states = 0

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    gateway = await site.startGateway()
    psk = await site.withPsk()
  })
  beforeEach(() => site.hotel.restore())
  afterEach(() => site.stopClients())
  afterAll(() => site?.close())

  async function connected(
    transport: string,
    args: readonly string[] = [],
    server = site.gatewayAddress
  ): Promise<IkestreamProcess> {
    const client = site.connect(server, [...psk, ...BRISK, ...args], { state: `client-${states++}` })
    const line = await client.event('connected')
    expect(line['transport'], client.transcript()).toBe(transport)
    return client
  }

  /** Starts a download, waits until it flows, changes something, and waits for the move and the end of the download. */
  async function movedUnderDownload(
    client: IkestreamProcess,
    change: () => unknown,
    to: string
  ): Promise<JsonLine> {
    const download = site.download(DOWNLOAD_BYTES, DOWNLOAD_S)
    await flowing(client, download)
    const mark = client.mark
    await change()
    const moved = await client.event('path-changed', (line) => line['to'] === to, mark)
    expect(download.running, client.transcript()).toBe(true)
    expect(await download.intact(), client.transcript()).toBe(true)
    return moved
  }

  async function flowing(client: IkestreamProcess, download: Download): Promise<void> {
    const device = client.all('connected')[0]?.['interface']
    const before = await site.receivedBytes(device)
    await waitUntil('bytes of the download', async () => {
      if (!download.running) throw new Error('the download ended before anything was changed')
      return (await site.receivedBytes(device)) > before + MEBIBYTE / 2
    })
  }

  it('moves to UDP when UDP opens', async () => {
    await site.hotel.setFaults([NO_UDP])
    const client = await connected('tcp', ['--udp-probe', '0.5'])
    const moved = await movedUnderDownload(client, () => site.hotel.restore(), 'udp')
    expect(moved).toMatchObject({ from: 'tcp', to: 'udp', reason: 'udp-available' })
    await gateway.event('client-moved', (line) => line['to'] === 'udp')
  })

  it('moves to TCP when UDP is cut', async () => {
    const client = await connected('udp')
    const moved = await movedUnderDownload(client, () => site.hotel.setFaults([NO_UDP]), 'tcp')
    expect(moved).toMatchObject({ from: 'udp', to: 'tcp' })
    expect(client.all('reconnecting')).toEqual([])
  })

  it('moves to TLS when UDP is cut and TCP 4500 refused', async () => {
    const client = await connected('udp')
    const faults = [NO_UDP, { protocol: 'tcp', ports: [4500], action: 'refuse' }] as const
    const moved = await movedUnderDownload(client, () => site.hotel.setFaults(faults), 'tls')
    expect(moved).toMatchObject({ from: 'udp', to: 'tls' })
  })

  it.each(['tcp', 'tls'])('comes back when its %s stream is reset', async (transport) => {
    const box = await site.startMiddlebox({})
    const client = await connected(transport, ['--transport', transport], box.address)
    const gatewayMark = gateway.mark
    const moved = await movedUnderDownload(client, () => box.command('reset'), transport)
    // Who writes first hears of the reset, who reads after that of an end.
    expect(moved).toMatchObject({
      from: transport,
      to: transport,
      reason: expect.stringMatching(/^(connection-reset|closed-by-peer)$/)
    })
    expect(client.all('reconnecting')).toEqual([])
    // The same IKE SA: the gateway has seen nobody come and nobody go.
    expect(gateway.events.slice(gatewayMark).map(({ event }) => event)).not.toContain('client-up')
  })

  it.each(['tcp', 'tls'])('outlives corruption of its %s stream', async (transport) => {
    const box = await site.startMiddlebox({})
    const client = await connected(transport, ['--transport', transport], box.address)
    const gatewayMark = gateway.mark
    const download = site.download(DOWNLOAD_BYTES, DOWNLOAD_S)
    await flowing(client, download)
    box.command('corrupt')
    // The boundary is found again, and the connection stays.
    await waitUntil('resynchronisation', async () => (await resynchronised()) > 0)
    expect(client.all('path-changed'), client.transcript()).toEqual([])
    box.command('corrupt')
    // Once is enough.
    const moved = await client.event('path-changed')
    expect(moved, client.transcript()).toMatchObject({ from: transport, to: transport })
    expect(await download.intact(), client.transcript()).toBe(true)
    expect(client.all('reconnecting'), client.transcript()).toEqual([])
    expect(gateway.events.slice(gatewayMark).map(({ event }) => event)).not.toContain('client-up')
  })

  /** How often the client that was started last has found the boundary of frames again. */
  async function resynchronised(): Promise<number> {
    const { stdout } = await site.command(['status', '--json'], { state: `client-${states - 1}` })
    const { sessions } = JSON.parse(stdout) as { readonly sessions: readonly SessionStatus[] }
    return sessions[0]?.streams.resynchronised ?? 0
  }

  it('falls through to TCP where IKE passes on UDP and ESP does not', async () => {
    const box = await site.startMiddlebox({ esp: false })
    const client = await connected('udp', ['--udp-probe', '0.5'], box.address)
    const gatewayMark = gateway.mark
    const download = site.download(DOWNLOAD_BYTES, DOWNLOAD_S)
    const moved = await client.event('path-changed')
    expect(moved).toMatchObject({ from: 'udp', to: 'tcp', reason: 'esp-silent' })
    // The connection began while nothing passed, and lives: the session kept its address, and does not go back to UDP at once.
    expect(await download.intact(), client.transcript()).toBe(true)
    expect(client.all('path-changed'), client.transcript()).toHaveLength(1)
    expect(gateway.events.slice(gatewayMark).map(({ event }) => event)).not.toContain('client-up')
  })

  it('falls through by itself where the gateway names a DNS server to ask', async () => {
    const gatewayAddress = await site.addGatewayAddress(11)
    await site.startGateway(['--dns', INNER_V4, ...(await site.gatewayArgs())], { listen: [gatewayAddress] })
    const box = await site.startMiddlebox({ esp: false }, gatewayAddress)
    const client = await connected('udp', ['--no-dns'], box.address)
    const moved = await client.event('path-changed')
    expect(moved, client.transcript()).toMatchObject({ from: 'udp', to: 'tcp', reason: 'esp-silent' })
  })

  it('leaves UDP when ESP alone falls silent in the middle of a download', async () => {
    const box = await site.startMiddlebox({})
    const client = await connected('udp', [], box.address)
    const gatewayMark = gateway.mark
    const moved = await movedUnderDownload(client, () => box.command('settings {"esp":false}'), 'tcp')
    expect(moved).toMatchObject({ from: 'udp', to: 'tcp', reason: 'esp-silent' })
    // The same IKE SA.
    expect(gateway.events.slice(gatewayMark).map(({ event }) => event)).not.toContain('client-up')
  })

  it.each(['udp', 'tcp'])(
    'outlives a gateway that is killed and comes back without its state (%s)',
    async (transport) => {
      const gatewayAddress = await site.addGatewayAddress(transport === 'udp' ? 21 : 22)
      const inner = transport === 'udp' ? '10.121.0' : '10.122.0'
      const args = [...(await site.gatewayArgs()), '--interface', `gw${transport}`]
      const start = () =>
        site.startGateway(args, { listen: [gatewayAddress], pools: ['--pool', `${inner}.0/24`] })
      const doomed = await start()
      const client = await connected(transport, ['--transport', transport], gatewayAddress)
      const download = site.download(DOWNLOAD_BYTES, DOWNLOAD_S, `${inner}.1`)
      await flowing(client, download)
      doomed.kill('SIGKILL')
      await doomed.exit
      const back = await start()
      const backAt = Date.now()
      await back.event('client-up')
      process.stderr.write(`${transport}: ${Date.now() - backAt} ms\n`)
      expect(await client.event('path-changed'), client.transcript()).toMatchObject({ to: transport })
      expect(await download.intact(), client.transcript()).toBe(true)
    }
  )

  it('is not moved by a host inside that does not answer', async () => {
    await site.hotel.gateway.namespace.run(['ip', 'route', 'add', 'blackhole', '10.50.0.0/16'])
    const client = await connected('udp')
    expect(await site.download(1).intact()).toBe(true)
    const inVain = site.download(1, 0, '10.50.0.1')
    // Asked because of the silence, the gateway answers; and is asked again, later.
    const first = await client.event('liveness')
    await client.event('liveness', (line) => line !== first)
    expect(client.all('path-changed'), client.transcript()).toEqual([])
    await inVain.stop()
  })

  it('goes on where a NAT gives it another port', async () => {
    const box = await site.startMiddlebox({})
    const client = await connected('udp', [], box.address)
    const download = site.download(DOWNLOAD_BYTES, DOWNLOAD_S)
    await flowing(client, download)
    const mark = gateway.mark
    box.command('rebind')
    await gateway.event('client-moved', (line) => line['to'] === 'udp', mark)
    expect(await download.intact(), client.transcript()).toBe(true)
    expect(client.all('path-changed').filter((line) => line['to'] !== 'udp')).toEqual([])
    expect(client.all('reconnecting')).toEqual([])
  })

  it.each(['end', 'stall'])('comes back when its stream comes to an %s', async (how) => {
    const box = await site.startMiddlebox({})
    const client = await connected('tls', ['--transport', 'tls'], box.address)
    const moved = await movedUnderDownload(client, () => box.command(how), 'tls')
    expect(moved).toMatchObject({ reason: how === 'end' ? 'closed-by-peer' : 'peer-silent' })
    expect(client.all('reconnecting')).toEqual([])
  })

  describe('with a second network at hand', () => {
    const setLink = (state: 'up' | 'down') =>
      site.client.run(['ip', 'link', 'set', 'dev', site.hotel.client.device, state])

    beforeAll(async () => {
      const second = await site.hotel.addHost('inside', 'client', site.client)
      expect(second.device).toBe('wan1')
    })
    // The kernel drops routes with their device, and leaves it to a network manager to bring them back.
    const restoreRoute = () =>
      site.client.run(['ip', 'route', 'replace', 'default', 'via', site.hotel.client.router])
    afterEach(async () => {
      await setLink('up')
      await restoreRoute()
    })

    it('follows its machine there', async () => {
      const client = await connected('udp')
      const moved = await movedUnderDownload(client, () => setLink('down'), 'udp')
      expect(moved).toMatchObject({ from: 'udp', to: 'udp', reason: 'network-changed' })
      expect(client.all('reconnecting')).toEqual([])
    })

    it('finds itself there when it goes on after a stop', async () => {
      const client = await connected('udp')
      client.kill('SIGSTOP')
      await setLink('down')
      // Longer than a busy machine makes anybody wait.
      await site.client.run(['sleep', '3'])
      client.kill('SIGCONT')
      expect(await client.event('path-changed')).toMatchObject({ to: 'udp', reason: 'network-changed' })
      expect(await site.download(1).intact(), client.transcript()).toBe(true)
    })

    it('is back when its only network is', async () => {
      const both = async (state: 'up' | 'down') => {
        await setLink(state)
        await site.client.run(['ip', 'link', 'set', 'dev', 'wan1', state])
      }
      const client = await connected('udp')
      const gatewayMark = gateway.mark
      const download = site.download(DOWNLOAD_BYTES, DOWNLOAD_S)
      await flowing(client, download)
      await both('down')
      await client.event('reconnecting')
      await both('up')
      await restoreRoute()
      await client.event('path-changed')
      expect(await download.intact(), client.transcript()).toBe(true)
      // The same IKE SA, or a fresh one with the same address if that was faster.
      expect(
        gateway.events.slice(gatewayMark).filter(({ event }) => event === 'client-up').length
      ).toBeLessThan(2)
    })
  })
})
