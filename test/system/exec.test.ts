/** One command whose whole network is the tunnel: what it sees, what passes through, and what it cannot get at. */
import type { SpawnOptions } from 'node:child_process'
import { chmod, chown, cp, mkdir, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { IKESTREAM, type IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { type RunningProgram, startProgram } from '../support/namespaces.ts'
import { describeWith, findProgram, has } from '../support/require.ts'

const USER = 1234
/** Answers every question with the address of the inner web server. */
const NAME_SERVER = `
const socket = require('node:dgram').createSocket('udp4')
socket.on('message', (query, peer) => {
  const question = query.subarray(12, query.indexOf(0, 12) + 5)
  const isA = question.readUInt16BE(question.length - 4) === 1
  const header = Buffer.from([query[0], query[1], 0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0])
  const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 99, 0, 1])
  socket.send(Buffer.concat(isA ? [header, question, answer] : [header, question]), peer.port, peer.address)
})
socket.bind(53, '${INNER_V4}', () => console.log('listening'))
`
/** Says again and again whether the inner web server is reached. */
const LOOKING = `
const { request } = require('node:http')
const look = () => {
  const asked = request({ host: '${INNER_V4}', port: 8080, path: '/address', timeout: 500, agent: false }, (answer) => {
    answer.resume().on('end', () => say('reached'))
  })
  asked.on('timeout', () => asked.destroy(new Error('timeout'))).on('error', () => say('lost')).end()
}
const say = (what) => { console.log(what); setTimeout(look, 50) }
look()
`

describeWith(
  'namespaces',
  'tun',
  'curl',
  'ping'
)('a command with a tunnel of its own', () => {
  let site: IkestreamSite
  let gateway: IkestreamProcess
  let psk: readonly string[]
  let before: string
  let started: RunningProgram[]

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    gateway = await site.startGateway(['--dns', INNER_V4, ...(await site.gatewayArgs())])
    await startProgram(site.hotel.gateway.namespace, [process.execPath, '-e', NAME_SERVER]).printed(
      /listening/
    )
    psk = await site.withPsk()
  })
  beforeEach(async () => {
    started = []
    await site.hotel.restore()
    before = await site.clientState()
  })
  afterEach(async () => {
    await Promise.all(started.map((program) => program.stop()))
    expect(await site.clientState()).toBe(before)
    expect(await readdir(join(site.directory, 'client', 'run')).catch(() => [])).toEqual([])
  })
  afterAll(() => site?.close())

  interface ExecOptions {
    readonly args?: readonly string[]
    readonly env?: NodeJS.ProcessEnv
    readonly server?: string
    readonly spawn?: SpawnOptions
  }

  function exec(
    command: readonly string[],
    { args = [], env = {}, server, spawn }: ExecOptions = {}
  ): RunningProgram {
    const argv = [
      'exec',
      server ?? site.gatewayAddress,
      '--non-inter',
      ...psk,
      ...BRISK,
      ...args,
      '--',
      ...command
    ]
    const program = startProgram(site.client, [process.execPath, IKESTREAM, ...argv], {
      env: { ...environment(), IKESTREAM_STATE_DIR: join(site.directory, 'client'), ...env },
      ...spawn
    })
    started.push(program)
    return program
  }
  const shell = (script: string, options?: ExecOptions): RunningProgram => exec(['sh', '-c', script], options)

  /** Everything that it said, when it has ended with this code. */
  async function output(program: RunningProgram, exitCode = 0): Promise<string> {
    expect(await program.exit, program.stderr()).toBe(exitCode)
    return program.stdout()
  }

  it('sees the tunnel and nothing else', async () => {
    const script = 'ip -o link | cut -d: -f2; ip -4 route; curl -s -m 9 http://10.99.0.1:8080/address'
    const said = await output(shell(`${script}; ping -c 1 -W 5 ${INNER_V4} > /dev/null && echo pinged`))
    expect(said).toMatch(/^ lo\n ike0\n0\.0\.0\.0\/1 dev ike0 .*\n128\.0\.0\.0\/1 dev ike0 .*\n\{/)
    expect(said).toContain('{"address":"::ffff:10.99.0.')
    expect(said).toContain('pinged')
    // The machine's own way out is not there: the router of the hotel is somebody inside the tunnel.
    const { router } = site.hotel.client
    expect(await output(shell(`curl -s -m 2 http://${router}:80/ || echo unreachable`))).toBe('unreachable\n')
  })

  it('asks the tunnel’s name servers, and no service outside', async () => {
    const script = 'cat /etc/resolv.conf; grep ^hosts: /etc/nsswitch.conf; getent ahostsv4 web.inside.test'
    const said = await output(shell(script))
    expect(said).toMatch(new RegExp(`^nameserver ${INNER_V4}$`, 'm'))
    expect(said).toMatch(/^options edns0$/m)
    expect(said).toMatch(/^hosts: files dns$/m)
    expect(said).toMatch(new RegExp(`^${INNER_V4} +STREAM web.inside.test`, 'm'))
    expect(await site.etc.read('resolv.conf')).toMatch(/^# by hand/)
    expect(await output(shell('cat /etc/resolv.conf', { args: ['--no-dns'] }))).toMatch(/^# by hand/)
  })

  it.each([
    ['true', 0],
    ['exit 7', 7],
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137]
  ])('ends as the command does: %s', async (script, exitCode) => {
    await output(shell(script), exitCode)
  })

  it.each([
    [['/no/such/program'], 127, /not found/],
    [['no-such-program'], 127, /not found/],
    [['/etc/resolv.conf'], 126, /permission denied/]
  ])('does not connect for what cannot be run: %j', async (command, exitCode, complaint) => {
    const mark = gateway.mark
    const program = exec(command)
    expect(await output(program, exitCode)).toBe('')
    expect(program.stderr()).toMatch(complaint)
    expect(gateway.events.slice(mark)).toEqual([])
  })

  it('is connected to the caller’s standard input and output', async () => {
    const program = exec(['cat'], { spawn: { stdio: ['pipe', 'pipe', 'pipe'] } })
    program.child.stdin?.end('one\ntwo\n')
    expect(await output(program)).toBe('one\ntwo\n')
  })

  it('gets the signals that are sent to ikestream', async () => {
    const script =
      'trap "echo usr1" USR1; trap "echo term; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
    const program = shell(script)
    await program.printed(/ready/)
    program.child.kill('SIGUSR1')
    await program.printed(/usr1/)
    program.child.kill('SIGTERM')
    expect(await output(program, 5)).toBe('ready\nusr1\nterm\n')
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143]
  ] as const)('never begins when %s comes before the tunnel is up', async (signal, exitCode) => {
    await site.hotel.cut()
    const program = shell('echo begun', { args: ['--verbose', '--log', 'host=debug'] })
    // Its network is there, and the ladder is being climbed.
    await program.printed(/mount --bind[^\n]*nsswitch/)
    program.child.kill(signal)
    expect(await output(program, exitCode)).toBe('')
  })

  it('leaves with the reason when the tunnel does not come up', async () => {
    const wrong = await site.withPsk('another key')
    const program = shell('echo begun', { args: wrong })
    expect(await output(program, 77)).toBe('')
    expect(program.stderr()).toMatch(/^error: .*authentication/im)
  })

  it.skipIf(findProgram('script') === null)('has the terminal, and hears Ctrl-C once', async () => {
    const inner =
      'test -t 0 && test -t 1 && test -t 2 && echo terminal; trap "echo heard" INT; echo ready; read line; read line; echo got $line'
    const words = [process.execPath, IKESTREAM, 'exec', site.gatewayAddress, ...psk, ...BRISK, '--quiet']
    const file = await site.file(
      'on-terminal.sh',
      `exec ${words.map((word) => `'${word}'`).join(' ')} -- sh -c '${inner}'`
    )
    const terminal = startProgram(site.client, ['script', '-qec', `exec sh ${file}`, '/dev/null'], {
      env: { ...environment(), IKESTREAM_STATE_DIR: join(site.directory, 'client') },
      stdio: ['pipe', 'pipe', 'pipe']
    })
    started.push(terminal)
    await terminal.printed(/terminal\s+ready/)
    terminal.child.stdin?.write('\u0003')
    await terminal.printed(/heard/)
    terminal.child.stdin?.write('hello\n')
    expect(await terminal.exit, terminal.stderr()).toBe(0)
    expect(terminal.stdout()).toMatch(/got hello/)
    expect(terminal.stdout().match(/heard/g)).toHaveLength(1)
  })

  it('has no network while the tunnel is lost, and has it again when the gateway is back', async () => {
    const address = await site.addGatewayAddress(21)
    const args = [...(await site.gatewayArgs()), '--interface', 'gw1']
    const own = { listen: [address], pools: ['--pool', '10.99.128.0/24'] }
    const first = await site.startGateway(args, own)
    const program = exec([process.execPath, '-e', LOOKING], { server: address })
    await program.printed(/reached/)
    await first.stop()
    const said = program.stdout().length
    await program.printed(new RegExp(`^[\\s\\S]{${said},}lost`))
    await site.startGateway(args, own)
    const later = program.stdout().length
    await program.printed(new RegExp(`^[\\s\\S]{${later},}reached`))
  })

  it('goes on without a network when the session has ended', async () => {
    const program = shell(
      'trap "ip -o link | cut -d: -f2; exit 9" USR1; echo ready; while :; do sleep 0.05; done'
    )
    await program.printed(/ready/)
    expect(await site.command(['status'])).toMatchObject({
      stdout: expect.stringMatching(/-exec-\d+: connected/)
    })
    expect((await site.command(['disconnect'])).exitCode).toBe(0)
    await program.printed(/goes on without a network/)
    program.child.kill('SIGUSR1')
    expect(await output(program, 9)).toBe('ready\n lo\n')
  })

  it('is left without a network when ikestream is killed', async () => {
    const script = `trap "ip -o link | cut -d: -f2; exit 0" TERM; echo $$; while :; do sleep 0.05; done`
    const program = shell(script)
    const pid = Number(await program.printed(/^\d+\n/))
    program.child.kill('SIGKILL')
    await new Promise((resolve) => program.child.once('exit', resolve))
    process.kill(pid, 'SIGTERM')
    await program.exit
    expect(program.stdout()).toBe(`${pid}\n lo\n`)
    // The network monitor of a killed session ends when it has something to say to nobody.
    await site.client.run(['ip', 'addr', 'add', '127.0.0.9/32', 'dev', 'lo'])
    await site.client.run(['ip', 'addr', 'del', '127.0.0.9/32', 'dev', 'lo'])
    // What else is left of it is taken away with the next cleanup.
    expect((await site.command(['cleanup'])).exitCode).toBe(0)
  })

  it('may run as often as one likes at a time', async () => {
    const wait = 'echo ready; while :; do sleep 0.05; done'
    const [one, other] = [shell(wait), shell(wait, { args: ['--name', 'other'] })]
    await Promise.all([one.printed(/ready/), other.printed(/ready/)])
    const { stdout } = await site.command(['status', '--json'])
    const { sessions } = JSON.parse(stdout) as {
      sessions: { name: string; runBy: string; dnsMode: string }[]
    }
    expect(sessions).toHaveLength(2)
    for (const session of sessions) expect(session).toMatchObject({ runBy: 'exec', dnsMode: 'private' })
    expect(sessions.map(({ name }) => name)).toContain('other')
  })

  it('gets nothing of ours: no secret, no setting, no descriptor', async () => {
    const env = { IKESTREAM_PSK_FILE: '/secret', NOTIFY_SOCKET: '/run/notify', MY_OWN: 'kept' }
    const said = await output(shell('env; cat /proc/$$/cmdline; ls -l /proc/$$/fd', { env }))
    expect(said).toContain('MY_OWN=kept')
    expect(said).not.toMatch(/^(?:IKESTREAM|NOTIFY_SOCKET|UV_THREADPOOL)\w*=/m)
    expect(said).not.toMatch(/--psk|\/secret/)
    expect(said).not.toMatch(/ (?:[3-9]|\d\d+) -> (?:socket:|anon_inode:|\/dev\/net)/)
  })

  it('says what to do where no namespace can be made', async () => {
    const folder = join(site.directory, 'no-unshare')
    await mkdir(folder)
    await writeFile(join(folder, 'unshare'), '#!/bin/sh\necho unshare failed >&2\nexit 1\n', { mode: 0o755 })
    const program = shell('echo begun', { env: { PATH: `${folder}:${process.env['PATH']}` } })
    expect(await output(program, 71)).toBe('')
    expect(program.stderr()).toMatch(/no network namespace\n.*kernel\.unprivileged_userns_clone/)
  })

  describe.skipIf(!has('root'))('of a user without privileges', () => {
    let folder: string

    beforeAll(async () => {
      // The way there, and files of the user's own.
      folder = join(site.directory, 'user')
      await mkdir(folder)
      for (const path of [dirname(site.directory), site.directory, join(site.directory, 'client-etc')])
        await chmod(path, 0o711)
      await cp(join(site.directory, 'psk'), join(folder, 'psk'))
      for (const path of [folder, join(folder, 'psk')]) await chown(path, USER, USER)
    })

    function execAsUser(script: string): RunningProgram {
      const user = [
        'setpriv',
        `--reuid=${USER}`,
        `--regid=${USER}`,
        '--clear-groups',
        '--inh-caps=-all',
        '--'
      ]
      // In the folder of the user, which is not where the test network's own programs begin.
      const there = ['sh', '-c', 'cd "$0" && exec "$@"', folder]
      const identity = ['--identity', 'client@test', '--remote-identity', 'gw.test']
      const auth = ['--psk-file', join(folder, 'psk'), ...identity, '--non-inter', ...BRISK]
      const argv = ['exec', site.gatewayAddress, ...auth, '--', 'sh', '-c', script]
      const program = startProgram(site.client, [...user, ...there, process.execPath, IKESTREAM, ...argv], {
        env: { ...environment(), HOME: folder, IKESTREAM_STATE_DIR: join(folder, 'state') }
      })
      started.push(program)
      return program
    }

    it('works, as that user', async () => {
      const script =
        'id -u; id -g; pwd; touch made; stat -c %u made; curl -s -m 9 http://10.99.0.1:8080/address'
      const said = await output(
        execAsUser(`${script}; echo; ping -c 1 -W 5 ${INNER_V4} > /dev/null && echo pinged`)
      )
      const lines = said.trim().split('\n')
      expect(lines.slice(0, 4)).toEqual([String(USER), String(USER), folder, String(USER)])
      expect(lines[4]).toContain('"address":"::ffff:10.99.0.')
      expect(lines.at(-1)).toBe('pinged')
    })

    it('cannot change its network', async () => {
      const changes = [
        'ip link del ike0',
        'ip route add default dev lo',
        'umount /etc/resolv.conf',
        'mount -t tmpfs x /etc'
      ]
      const said = await output(
        execAsUser(`${changes.map((change) => `${change} 2>&1 && echo done`).join('; ')}; true`)
      )
      expect(said).not.toContain('done')
      expect(
        said.match(/not permitted|must be superuser|permission denied/gi)?.length
      ).toBeGreaterThanOrEqual(3)
    })
  })
})

/** What a user's shell has; not what this test run was started with. */
function environment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], HOME: '/root', TERM: 'xterm', NO_COLOR: '1' }
}
