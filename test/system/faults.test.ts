/** What a machine and its network do to a session that runs: streams that break all the time, stops, full disks, cables. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { expectOneError } from '../support/expect-error.ts'
import { IKESTREAM, type IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, type Download, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'
import { expectTidyTests } from '../support/tidy-tests.ts'
import { waitUntil } from '../support/wait-until.ts'

const MEBIBYTE = 1_048_576
const DOWNLOAD_BYTES = 8 * MEBIBYTE
const DOWNLOAD_S = 4
/** Streams are reset this often; the soak does it for longer. */
const RESETS = 6
const RESET_EVERY_MS = 1000
/** What a journal needs, a few times over. */
const SMALL_DISK = 'size=128k'

describeWith('namespaces', 'tun')('a session that runs', () => {
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
  const stateBefore = expectTidyTests(() => site)
  afterAll(() => site?.close())

  async function connected(args: readonly string[] = [], server = site.gatewayAddress) {
    const client = site.connect(server, [...psk, ...BRISK, ...args], { state: `client-${states++}` })
    await client.event('connected')
    return client
  }

  async function flowing(client: IkestreamProcess, download: Download): Promise<void> {
    const device = client.all('connected')[0]?.['interface']
    const already = await site.receivedBytes(device)
    await waitUntil('bytes of the download', async () => {
      if (!download.running) throw new Error(`the download ended too soon\n${client.transcript()}`)
      return (await site.receivedBytes(device)) > already + MEBIBYTE / 2
    })
  }

  it.each(['tcp', 'tls'])('lives on a %s stream that is reset every second', async (transport) => {
    const box = await site.startMiddlebox({})
    const client = await connected(['--transport', transport], box.address)
    const gatewayMark = gateway.mark
    const download = site.download(3 * DOWNLOAD_BYTES, (RESETS * RESET_EVERY_MS) / 1000 + 2)
    await flowing(client, download)
    for (let count = 0; count < RESETS; count++) {
      const { mark } = client
      const since = performance.now()
      box.command('reset')
      await client.event('path-changed', undefined, mark)
      await waitUntil('the next second', () => performance.now() - since >= RESET_EVERY_MS)
    }
    expect(await download.intact(), client.transcript()).toBe(true)
    expect(client.all('reconnecting')).toEqual([])
    expect(gateway.events.slice(gatewayMark).map(({ event }) => event)).not.toContain('client-up')
  })

  it.each(['udp', 'tls'])(
    'goes on where it was when the gateway is stopped for a while (%s)',
    async (transport) => {
      const client = await connected(['--transport', transport, '--dpd', '1'])
      const download = site.download(DOWNLOAD_BYTES, DOWNLOAD_S)
      await flowing(client, download)
      gateway.kill('SIGSTOP')
      try {
        await client.event('reconnecting')
      } finally {
        gateway.kill('SIGCONT')
      }
      await client.event('path-changed')
      expect(await download.intact(), client.transcript()).toBe(true)
    }
  )

  it.each(['udp', 'tcp'])(
    'comes back to a gateway that forgot it while it was stopped (%s)',
    async (transport) => {
      const address = await site.addGatewayAddress(transport === 'udp' ? 31 : 32)
      const inner = transport === 'udp' ? '10.131.0' : '10.132.0'
      const args = [...(await site.gatewayArgs()), '--interface', `gs${transport}`]
      const start = () => site.startGateway(args, { listen: [address], pools: ['--pool', `${inner}.0/24`] })
      const doomed = await start()
      const client = await connected(['--transport', transport], address)
      const download = site.download(DOWNLOAD_BYTES, DOWNLOAD_S, `${inner}.1`)
      await flowing(client, download)
      client.kill('SIGSTOP')
      doomed.kill('SIGKILL')
      await doomed.exit
      const next = await start()
      client.kill('SIGCONT')
      await client.event('path-changed')
      expect(await download.intact(), client.transcript()).toBe(true)
      await client.stop()
      await next.stop()
    }
  )

  it('is served by another gateway that takes over the address, with other addresses inside', async () => {
    const address = await site.addGatewayAddress(33)
    const args = [...(await site.gatewayArgs()), '--interface', 'swap']
    const start = (inner: string) =>
      site.startGateway(args, { listen: [address], pools: ['--pool', `${inner}.0/24`] })
    const first = await start('10.133.0')
    const client = await connected([], address)
    expect(await site.reaches('10.133.0.1')).toBe(true)
    first.kill('SIGKILL')
    await first.exit
    const second = await start('10.134.0')
    // Something inside has to want an answer before anybody can notice.
    const inVain = site.download(1, 0, '10.133.0.1')
    await client.event('path-changed')
    await inVain.stop()
    expect(await site.reaches('10.134.0.1'), client.transcript()).toBe(true)
    const { stdout } = await site.client.run(['ip', '-o', '-4', 'addr'])
    expect(stdout).toContain('10.134.0.')
    expect(stdout).not.toContain('10.133.0.')
    await client.stop()
    await second.stop()
  })

  it('is undone by cleanup when it was killed with SIGKILL, once and for all', async () => {
    const state = 'killed'
    const client = site.connect(site.gatewayAddress, [...psk, ...BRISK, '--name', 'doomed'], { state })
    await client.event('connected')
    client.kill('SIGKILL')
    await client.exit
    expect(await site.clientState()).not.toBe(stateBefore())
    for (let count = 0; count < 2; count++) {
      const { exitCode, stderr } = await site.command(['cleanup'], { state })
      expect(exitCode, stderr).toBe(0)
      expect(await site.clientState()).toBe(stateBefore())
    }
  })

  it('is undone by cleanup that was killed itself, by the next one', async () => {
    const state = 'killed-twice'
    const client = site.connect(site.gatewayAddress, [...psk, ...BRISK], { state })
    await client.event('connected')
    client.kill('SIGKILL')
    await client.exit
    const stateDirectory = `${site.directory}/${state}`
    const cleanup = site.start(site.client, ['cleanup', '--verbose', '--verbose'], { stateDirectory })
    await cleanup.said(/ip/)
    cleanup.kill('SIGKILL')
    await cleanup.exit
    const { exitCode, stderr } = await site.command(['cleanup'], { state })
    expect(exitCode, stderr).toBe(0)
  })

  describe('on a disk that is full', () => {
    let disk: string

    beforeEach(async () => {
      disk = `${site.directory}/disk-${states++}`
      await site.client.run(['mkdir', disk])
      await site.client.run(['mount', '-t', 'tmpfs', '-o', `${SMALL_DISK},mode=700`, 'tmpfs', disk])
    })
    afterEach(async () => {
      await site.stopClients()
      await site.client.run(['umount', disk])
    })
    const fill = () => site.client.run(['sh', '-c', `cat /dev/zero > ${disk}/fill 2> /dev/null || true`])
    const start = (args: readonly string[] = [], server = site.gatewayAddress) =>
      site.connect(server, [...psk, ...BRISK, ...args], { stateDirectory: `${disk}/state` })

    it('does not begin, says so, and begins when there is room again', async () => {
      await site.client.run(['mkdir', '-p', '-m', '700', `${disk}/state/sessions`])
      await fill()
      await expectOneError(start(), 71, 'journal', /cannot be written.*ENOSPC/)
      expect(await site.clientState()).toBe(stateBefore())
      await site.client.run(['rm', `${disk}/fill`])
      const client = start()
      await client.event('connected')
      expect(await site.reaches(INNER_V4)).toBe(true)
    })

    it('lives on, takes other addresses from another gateway, and ends as cleanly as ever', async () => {
      const address = await site.addGatewayAddress(34)
      const args = [...(await site.gatewayArgs()), '--interface', 'full']
      const begin = (inner: string) =>
        site.startGateway(args, { listen: [address], pools: ['--pool', `${inner}.0/24`] })
      const first = await begin('10.135.0')
      const client = start([], address)
      await client.event('connected')
      await fill()
      first.kill('SIGKILL')
      await first.exit
      const second = await begin('10.136.0')
      client.kill('SIGUSR2')
      await client.event('path-changed')
      expect(await site.reaches('10.136.0.1'), client.transcript()).toBe(true)
      client.kill('SIGTERM')
      expect(await client.exit, client.transcript()).toBe(0)
      expect(client.stderr).toMatch(/ warn .*journal .*cannot be written.*ENOSPC/)
      expect(client.stderr).not.toMatch(/ error |undone/)
      expect(client.all('disconnected')).toMatchObject([{ reason: 'requested' }])
      expect(await site.clientState()).toBe(stateBefore())
      expect((await site.client.run(['find', disk, '-name', '*journal*'])).stdout).toBe('')
      await second.stop()
    })

    it('is undone by cleanup that cannot write down what it has done', async () => {
      const client = start()
      await client.event('connected')
      client.kill('SIGKILL')
      await client.exit
      await fill()
      const { exitCode, stderr } = await site.client.runner.run([process.execPath, IKESTREAM, 'cleanup'], {
        env: { PATH: '/usr/bin:/bin', NO_COLOR: '1', IKESTREAM_STATE_DIR: `${disk}/state` }
      })
      expect(exitCode, stderr).toBe(0)
      expect(await site.clientState()).toBe(stateBefore())
    })
  })
})
