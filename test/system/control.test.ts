/** The control socket of a running client: what `status` shows, and what `disconnect` leaves behind, which is nothing. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SessionStatus } from '../../src/client/session-status.ts'
import { IKESTREAM, type IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { schemaFaults, shippedSchema } from '../support/json-schema.ts'
import { startProgram } from '../support/namespaces.ts'
import { describeWith, findProgram } from '../support/require.ts'
import { expectTidyTests } from '../support/tidy-tests.ts'

const SCHEMA = shippedSchema('status.schema.json')

interface StatusDocument {
  readonly sessions: readonly SessionStatus[]
}

describeWith('namespaces', 'tun')('the control socket', () => {
  let site: IkestreamSite
  let psk: readonly string[]

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    await site.startGateway(['--dns', '10.99.0.53', ...(await site.gatewayArgs())])
    psk = await site.withPsk()
  })
  const stateBefore = expectTidyTests(() => site)
  afterAll(() => site?.close())

  function connect(args: readonly string[] = [], server = site.gatewayAddress): IkestreamProcess {
    return site.connect(server, [...psk, ...BRISK, ...args])
  }

  /** `status --json`, checked against its schema. */
  async function status(name?: string): Promise<{ exitCode: number; sessions: readonly SessionStatus[] }> {
    const args = ['status', '--json', ...(name === undefined ? [] : [name])]
    const { stdout, stderr, exitCode } = await site.command(args)
    expect(stderr).toBe('')
    const document = JSON.parse(stdout) as StatusDocument
    expect(schemaFaults(SCHEMA, document)).toEqual([])
    return { exitCode, sessions: document.sessions }
  }

  async function only(name?: string): Promise<SessionStatus> {
    const { sessions } = await status(name)
    expect(sessions).toHaveLength(1)
    return sessions[0] as SessionStatus
  }

  describe('status', () => {
    it('says what there is to know of a session', async () => {
      const client = connect(['--name', 'work'])
      const connected = await client.event('connected')
      expect(await site.reaches(INNER_V4)).toBe(true)
      const { exitCode, sessions } = await status('work')
      expect(exitCode).toBe(0)
      const { interface: device, virtualIps, dns, mtu, ikeSuite, espSuite } = connected
      expect(sessions).toMatchObject([
        {
          ...{
            name: 'work',
            runBy: 'connect',
            pid: client.pid,
            state: 'connected',
            server: site.gatewayAddress
          },
          ...{
            transport: 'udp',
            via: null,
            gateway: site.gatewayAddress,
            gatewayId: 'gw.test',
            reconnects: 0
          },
          ...{ localId: 'client@test', mobike: true, dnsMode: 'file', pathChanges: [] },
          ...{ interface: device, virtualIps, dns, mtu, ikeSuite, espSuite },
          // On a machine that is slow enough the streams stand by, too.
          rungs: expect.arrayContaining([
            expect.objectContaining({ transport: 'udp', address: site.gatewayAddress, outcome: 'answered' })
          ]),
          dataPath: { cipher: { backend: 'libcrypto', libcrypto: { inUse: true, why: null } } }
        }
      ])
      const [session] = sessions
      expect(session?.traffic.packetsIn).toBeGreaterThan(0)
      expect(session?.liveness.rttMs).toBeGreaterThan(0)
      const [ike] = session?.ikeSas ?? []
      expect(ike).toMatchObject({
        ...{ state: 'ESTABLISHED', initiator: true, remoteHost: site.gatewayAddress, remotePort: 4500 },
        ...{ encrAlg: 'AES_GCM_16', encrKeysize: 256, prfAlg: 'PRF_HMAC_SHA2_256', dhGroup: 'CURVE_25519' },
        childSas: [{ state: 'INSTALLED', encrAlg: 'AES_GCM_16', esn: true, localTs: expect.any(Array) }]
      })
      expect(ike?.rekeyTime).toBeGreaterThan(3600)
      expect(ike?.childSas[0]?.packetsOut).toBeGreaterThan(0)
      expect(ike?.childSas[0]?.rekeyTime).toBeGreaterThan(600)
    })

    it('is text for people without --json', async () => {
      const client = connect(['--name', 'work'])
      await client.event('connected')
      const { stdout, stderr, exitCode } = await site.command(['status'])
      expect(exitCode).toBe(0)
      expect(stderr).toBe('')
      expect(stdout).toMatch(/^work: connected over UDP for \d+ s$/m)
      expect(stdout).toMatch(/^ {2}gateway +198\.18\.0\.1 \(gw\.test\), as client@test, MOBIKE$/m)
      expect(stdout).toMatch(
        /^ {2}IKE SA +ESTABLISHED, AES_GCM_16-256\/PRF_HMAC_SHA2_256\/CURVE_25519, SPIs/m
      )
      expect(stdout).toMatch(/^ {2}tried +UDP to 198\.18\.0\.1 answered/m)
    })

    it('says what was tried, and is not content before the tunnel is up', async () => {
      await site.hotel.setFaults([{ protocol: 'all', action: 'drop' }])
      const client = connect(['--persist'])
      await client.event('rung', ({ transport, outcome }) => transport === 'udp' && outcome === 'failed')
      const { exitCode, sessions } = await status()
      expect(exitCode).toBe(75)
      expect(sessions).toMatchObject([
        { state: 'connecting', transport: null, connectedAt: null, ikeSas: [] }
      ])
      const udp = sessions[0]?.rungs.find(({ transport }) => transport === 'udp')
      expect(udp).toMatchObject({ outcome: 'failed', reason: 'timeout', message: expect.any(String) })
    })

    it('keeps a history of changes of path', async () => {
      const client = connect()
      await client.event('connected')
      client.kill('SIGUSR2')
      const { event: _, schemaVersion, time, ...change } = await client.event('path-changed')
      expect((await only()).pathChanges).toEqual([{ time: expect.any(String), ...change }])
    })

    it('names every session that runs', async () => {
      const first = connect(['--name', 'a'])
      await first.event('connected')
      const second = connect(['--name', 'b', '--no-routes', '--no-dns'])
      await second.event('connected')
      expect((await status()).sessions.map(({ name }) => name)).toEqual(['a', 'b'])
      expect((await only('b')).pid).toBe(second.pid)
      expect(await site.command(['disconnect'])).toMatchObject({
        exitCode: 64,
        stderr: expect.stringMatching(/Several sessions.*\n.*--all: a, b\./)
      })
      expect((await site.command(['disconnect', 'b'])).exitCode).toBe(0)
      expect((await status()).sessions.map(({ name }) => name)).toEqual(['a'])
      const third = connect(['--name', 'c', '--no-routes', '--no-dns'])
      await third.event('connected')
      expect(await site.command(['disconnect', '--all'])).toMatchObject({
        exitCode: 0,
        stdout: expect.stringMatching(/^a: disconnected$/m)
      })
      expect(await third.exit).toBe(0)
      expect((await status()).exitCode).toBe(69)
    })

    it('finds nothing where nothing runs', async () => {
      expect(await status()).toEqual({ exitCode: 69, sessions: [] })
      expect(await status('nothing')).toEqual({ exitCode: 69, sessions: [] })
      expect(await site.command(['status', 'nothing'])).toMatchObject({
        ...{ exitCode: 69, stdout: '' },
        stderr: expect.stringContaining('No session nothing is running')
      })
      expect(await site.command(['disconnect'])).toMatchObject({ exitCode: 69 })
      expect(await site.command(['status', '../x'])).toMatchObject({ exitCode: 64 })
    })

    it('tells of a session that was killed what to do about it', async () => {
      const killed = connect(['--name', 'work'])
      await killed.event('connected')
      killed.kill('SIGKILL')
      await killed.exit
      expect(await status()).toEqual({ exitCode: 69, sessions: [] })
      expect(await site.command(['status', 'work'])).toMatchObject({
        ...{ exitCode: 69, stderr: expect.stringContaining('ikestream cleanup work') }
      })
      expect((await site.command(['cleanup', 'work'])).exitCode).toBe(0)
      expect(await readdir(join(site.directory, 'client', 'run'))).toEqual([])
      const next = connect(['--name', 'work'])
      await next.event('connected')
      expect((await only()).pid).toBe(next.pid)
    })

    it.skipIf(findProgram('script') === null)('is a live view with --watch on a terminal', async () => {
      const client = connect(['--name', 'work'])
      await client.event('connected')
      const command = `exec ${process.execPath} ${IKESTREAM} status --watch --interval 0.1`
      const terminal = startProgram(site.client, ['script', '-qec', command, '/dev/null'], {
        env: { PATH: '/usr/bin:/bin', TERM: 'xterm', IKESTREAM_STATE_DIR: join(site.directory, 'client') },
        stdio: ['pipe', 'pipe', 'pipe']
      })
      await terminal.printed(/work: connected over UDP/)
      expect(await site.reaches(INNER_V4)).toBe(true)
      await terminal.printed(/[1-9][\d.]* k?B out \(\d+ packets\), [\d.]+ k?B\/s/)
      expect((await site.command(['disconnect'])).exitCode).toBe(0)
      await terminal.printed(/No session of this user is running/)
      // Ctrl-C of the terminal.
      terminal.child.stdin?.write('\u0003')
      expect(await terminal.exit).toBe(0)
      expect(terminal.stdout()).toContain('\u001b[?1049h')
      expect(terminal.stdout().trimEnd().endsWith('\u001b[?1049l')).toBe(true)
    })

    it('is a JSON document a line with --watch --json', async () => {
      const client = connect()
      await client.event('connected')
      const argv = [process.execPath, IKESTREAM, 'status', '--watch', '--json', '--interval', '0.05']
      const env = { PATH: '/usr/bin:/bin', IKESTREAM_STATE_DIR: join(site.directory, 'client') }
      const watching = startProgram(site.client, argv, { env })
      await watching.printed(/\n.*\n/)
      await watching.stop()
      expect(await watching.exit).toBe(0)
      for (const line of watching.stdout().trim().split('\n'))
        expect(schemaFaults(SCHEMA, JSON.parse(line))).toEqual([])
    })
  })

  describe('disconnect', () => {
    it('ends a session cleanly and waits for its end', async () => {
      const client = connect(['--name', 'work'])
      await client.event('connected')
      expect(await site.command(['disconnect'])).toMatchObject({
        exitCode: 0,
        stdout: 'work: disconnected\n'
      })
      // Nothing has to be waited for here: it is over.
      expect(await site.clientState()).toBe(stateBefore())
      expect(await client.exit).toBe(0)
      expect(client.events.at(-1)).toMatchObject({ event: 'disconnected', reason: 'requested' })
    })

    it('ends a session that is not up yet, which leaves with the code of SIGTERM', async () => {
      await site.hotel.cut()
      const client = connect(['--persist'])
      await client.event('rung')
      expect((await site.command(['disconnect'])).exitCode).toBe(0)
      expect(await client.exit, client.transcript()).toBe(143)
    })

    it('ends a session in the background', async () => {
      const client = connect(['--background', '--name', 'work'])
      expect(await client.left, client.transcript()).toBe(0)
      expect((await only('work')).pid).not.toBe(client.pid)
      expect((await site.command(['disconnect', 'work'])).exitCode).toBe(0)
      expect(await site.clientState()).toBe(stateBefore())
    })

    it('says what happened as JSON', async () => {
      const client = connect(['--name', 'work'])
      await client.event('connected')
      const { stdout } = await site.command(['disconnect', '--json'])
      expect(JSON.parse(stdout)).toMatchObject({ schemaVersion: 1, event: 'disconnected', name: 'work' })
      const again = await site.command(['disconnect', '--json'])
      expect(JSON.parse(again.stdout)).toMatchObject({ event: 'error', code: 'no-session', exitCode: 69 })
    })
  })

  it('belongs to whoever started the session', async () => {
    const client = connect(['--name', 'work'])
    await client.event('connected')
    const folder = join(site.directory, 'client', 'run')
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    expect((await stat(join(folder, 'work.sock'))).mode & 0o777).toBe(0o600)
  })

  it('shows statistics on SIGUSR1, to people and to scripts', async () => {
    const client = connect()
    await client.event('connected')
    expect(await site.reaches(INNER_V4)).toBe(true)
    client.kill('SIGUSR1')
    const statistics = await client.event('statistics')
    expect(statistics).toMatchObject({
      ...{ state: 'connected', transport: 'udp', durationMs: expect.any(Number), rttMs: expect.any(Number) },
      dropped: { replayed: 0, notAuthentic: 0 }
    })
    expect(statistics['packetsIn']).toBeGreaterThan(0)
    await client.said(/received [1-9]\d* packets, [1-9]\d* bytes; sent [1-9]\d* packets/)
  })

  it('leaves no socket behind', async () => {
    const client = connect()
    await client.event('connected')
    await client.stop()
    expect(await readdir(join(site.directory, 'client', 'run'))).toEqual([])
  })
})
