/**
 * The lab itself, and ikestream in it: every network of the table is built, checked and connected through, and what is seen has to be
 * what the table says. Bounds in time are for a person at an idle machine, so they do not count here.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { LAB_NETWORKS } from '../../src/lab/networks.ts'
import { IKESTREAM } from '../support/ikestream-process.ts'
import { describeWith } from '../support/require.ts'
import { tryCommand } from '../support/run-command.ts'
import { scratchDirectory } from '../support/run-directory.ts'
import { waitUntil } from '../support/wait-until.ts'

/** Most of the time is waiting for what does not answer. */
const JOBS = '6'
const LIMIT_MS = 240_000

const scratch = await scratchDirectory('lab')
const env = { PATH: process.env['PATH'] ?? '', HOME: scratch, TMPDIR: scratch, NO_COLOR: '1' }
const lab = (...args: readonly string[]): string[] => [process.execPath, IKESTREAM, 'lab', ...args]

interface ResultLine {
  readonly event: string
  readonly network: string
  readonly passed: boolean
  readonly differences: readonly unknown[]
}

function jsonLines(text: string): ResultLine[] {
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as ResultLine)
}

describeWith(
  'namespaces',
  'tun',
  'ipv6'
)('ikestream lab', () => {
  it('sees on every network what its table says, with check and with connect', {
    timeout: LIMIT_MS
  }, async () => {
    const argv = lab('test', '--json', '--jobs', JOBS, '--slack', '1000')
    const { stdout, stderr, exitCode } = await tryCommand(argv, { env })
    const lines = jsonLines(stdout)
    const wrong = lines.filter(({ event, passed }) => event === 'result' && !passed)
    expect(wrong, stderr).toEqual([])
    const names = lines.filter(({ event }) => event === 'result').map(({ network }) => network)
    expect(names.sort()).toEqual(LAB_NETWORKS.map(({ name }) => name).sort())
    expect(lines.at(-1)).toMatchObject({ event: 'summary', passed: LAB_NETWORKS.length, failed: 0 })
    expect(exitCode).toBe(0)
  })

  it('runs a command in a network, tells it what it needs, and leaves with its exit code', async () => {
    const script =
      'echo "$LAB_SERVER $LAB_USER"; ikestream check $LAB_SERVER --quiet; echo "first $?"; ' +
      `node -e "fetch(process.env.LAB_LOGIN_URL, { method: 'POST' }).then((r) => r.text()).then(console.log)"; ` +
      'until ikestream check $LAB_SERVER --quiet; do :; done; exit 7'
    const { stdout, exitCode } = await tryCommand(lab('run', 'captive-portal', '--', 'sh', '-c', script), {
      env
    })
    expect(stdout.split('\n').slice(0, 3)).toEqual(['gateway.test traveller', 'first 80', 'Welcome.'])
    expect(exitCode).toBe(7)
  })

  it('shows that a session which keeps trying tells of the portal once, and comes up after the login', async () => {
    const script = [
      'ikestream connect $LAB_SERVER --persist --json --no-dns > $IKESTREAM_STATE_DIR/events & session=$!',
      'wait_for() { until grep -q "\\"event\\":\\"$1\\"" $IKESTREAM_STATE_DIR/events; do sleep 0.1; done; }',
      'wait_for portal',
      `node -e "fetch(process.env.LAB_LOGIN_URL, { method: 'POST' })"`,
      'wait_for connected',
      'kill -INT $session; wait $session; echo "{\\"event\\":\\"exit\\",\\"code\\":$?}"',
      'cat $IKESTREAM_STATE_DIR/events'
    ].join('\n')
    const { stdout } = await tryCommand(lab('run', 'captive-portal', '--', 'sh', '-c', script), { env })
    const lines = jsonLines(stdout)
    expect(lines[0]).toMatchObject({ event: 'exit', code: 0 })
    const url = 'http://portal.test/login'
    expect(lines.filter(({ event }) => event === 'portal')).toMatchObject([
      { url, message: expect.stringContaining(url), hint: expect.stringContaining('log in') }
    ])
  })

  it('tells whether another client gets through', async () => {
    const client = '--client'
    const good = await tryCommand(
      lab('test', 'udp-rejected', '--json', client, 'exec ikestream connect $LAB_SERVER'),
      { env }
    )
    expect(jsonLines(good.stdout)[0]).toMatchObject({
      client: { pings: true, downloads: true },
      passed: true
    })
    const bad = await tryCommand(lab('test', 'udp-rejected', client, 'echo no such luck >&2; exit 3'), {
      env
    })
    expect(bad.stdout).toMatch(/✖ udp-rejected .*exit code 3: no such luck/)
    expect(bad.exitCode).toBe(1)
  })

  it('ends what the command leaves behind', async () => {
    const mark = `lab-stray-${process.pid}`
    const { exitCode } = await tryCommand(lab('run', 'open', '--', 'sh', '-c', 'sleep 986 & exit 0'), {
      env: { ...env, LAB_MARK: mark }
    })
    expect(exitCode).toBe(0)
    expect(processesWith(`LAB_MARK=${mark}`)).toEqual([])
  })

  it('names the nearest network', async () => {
    const { stderr, exitCode } = await tryCommand(lab('run', 'captive-potal', '--', 'true'), { env })
    expect(stderr).toMatch(/no network "captive-potal"[\s\S]*captive-portal/)
    expect(exitCode).toBe(64)
  })

  it.each(['SIGTERM', 'SIGKILL'] as const)('leaves no process behind after %s', async (signal) => {
    const mark = `lab-mark-${process.pid}-${signal}`
    const [program = '', ...rest] = lab(
      'run',
      'nat-short',
      '--',
      'sh',
      '-c',
      `echo ready; exec sleep 987 # ${mark}`
    )
    const child = spawn(program, rest, {
      env: { ...env, LAB_MARK: mark },
      stdio: ['ignore', 'pipe', 'inherit']
    })
    await ready(child)
    const mine = (): number[] => processesWith(`LAB_MARK=${mark}`)
    // The command, the gateway, services, the link, and who holds the namespaces.
    expect(mine().length).toBeGreaterThan(6)
    child.kill(signal)
    await waitUntil('everything to end', () => mine().length === 0)
  })
})

function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error('it ended')))
    child.stdout?.on('data', (chunk: Buffer) => chunk.includes('ready') && resolve())
  })
}

/** Processes with this in their environment, which children inherit. */
function processesWith(variable: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && existsSync(`/proc/${name}/environ`))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(variable)
      } catch {
        return false
      }
    })
}
