import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CommandResult, tryCommand } from '../../support/run-command.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', '..', 'bin', 'ikestream.js')

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'exit-codes-'))
  await writeFile(join(directory, 'psk'), 'secret', { mode: 0o600 })
  await writeFile(join(directory, 'bad.toml'), '= nothing')
  await writeFile(join(directory, 'unknown.toml'), 'server = "x"\n[auth]\nusr = "a"\n')
  await writeFile(join(directory, 'gateway.toml'), 'listn = "127.0.0.1"\n')
})
afterAll(() => rm(directory, { recursive: true }))

/** Words that begin with `./` are files of the test's own folder. */
function run(line: string): Promise<CommandResult> {
  const args = line.split(' ').filter((word) => word !== '')
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('IKESTREAM_'))
  )
  return tryCommand(
    [
      process.execPath,
      PROGRAM,
      ...args.map((word) => (word.startsWith('./') ? join(directory, word.slice(2)) : word))
    ],
    { env: { ...env, NO_COLOR: '1', IKESTREAM_STATE_DIR: join(directory, 'state') } }
  )
}

describe('what is no error', () => {
  it.each([
    '--help',
    '-h',
    'help',
    'connect --help',
    'relay --help',
    'gateway --help',
    'cleanup --help',
    'help connect'
  ])('%s shows help on standard output', async (line) => {
    const { exitCode, stdout, stderr } = await run(line)
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    expect(stdout).toMatch(/^Usage: ikestream/)
  })

  it.each(['--version', '-V'])('%s shows the version', async (line) => {
    const { exitCode, stdout } = await run(line)
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/)
  })

  it('cleanup with nothing to clean up', async () => {
    const { exitCode, stdout } = await run('cleanup nobody')
    expect(exitCode).toBe(0)
    expect(stdout).toBe('nobody: left nothing behind\n')
  })
})

describe('usage errors', () => {
  it.each([
    ['', /Usage/],
    ['conect', /unknown command 'conect'/],
    ['connect', /missing required argument/],
    ['connect a b', /too many arguments/],
    ['connect x --no-such-option', /unknown option '--no-such-option'/],
    ['connect x --mtu', /argument missing/],
    ['connect x --mtu big', /A whole number from 576 to 65000 is needed/],
    ['connect x --tcp-port 70000', /A whole number from 1 to 65535 is needed/],
    ['connect x --transport sctp', /Allowed choices are auto, udp, tcp, tls/],
    ['connect x --color sometimes', /Allowed choices are/],
    ['connect x --quiet --verbose', /contradict/],
    ['connect x --log loud', /subsystem=level/],
    ['connect x', /Nothing says how to authenticate/],
    ['connect x --psk-file ./psk', /own identity is needed/],
    ['connect x --psk-file ./psk --identity a@b --remote-ts nowhere', /is not a network/],
    ['connect x --user a --non-inter', /is needed, and asking is not allowed/],
    ['relay', /needs --listen and --target/],
    ['relay --listen 4500', /needs --listen and --target/],
    ['relay --listen 99999 --target x', /port/],
    ['relay --listen 443 --tls --target x', /--tls needs --certificate and --sslkey/],
    ['relay --listen 4500 --target x --max-connections many', /whole number/],
    ['relay --listen 4500 --target x --congestion-control a/b', /is not the name of an algorithm/],
    ['connect x --socket-buffer 1', /number from 16384/],
    ['relay extra', /too many arguments/],
    ['gateway --listen nowhere', /is not an IP address/],
    ['gateway --pool nowhere', /is not a network/],
    ['gateway --tcp-port x', /whole number/],
    ['gateway --sslkey ./psk', /--sslkey is of no use without --certificate/],
    ['gateway --cookies maybe', /Allowed choices are auto, always, never/],
    ['gateway extra', /too many arguments/],
    ['cleanup a b', /too many arguments/],
    ['demo extra', /too many arguments/]
  ])('ikestream %s', async (line, text) => {
    const { exitCode, stdout, stderr } = await run(line)
    expect(stderr).toMatch(text)
    expect(stdout).toBe('')
    expect(exitCode).toBe(64)
    expect(stderr).not.toMatch(/\n\s+at /)
  })
})

describe('errors of files', () => {
  it.each([
    ['connect ./bad.toml', 65, /is not valid TOML at line 1/],
    ['connect ./nowhere.toml', 66, /cannot be read \(ENOENT\)/],
    ['connect ./unknown.toml', 78, /auth\.usr .*\n.*Did you mean user\?/],
    ['connect x --psk-file ./nowhere --identity a@b', 66, /nowhere cannot be read/],
    ['connect x --certificate ./psk --sslkey ./psk', 65, /./],
    ['relay --listen 443 --tls --certificate ./nowhere --sslkey ./nowhere --target x', 66, /Cannot read/],
    ['gateway --config ./nowhere', 66, /cannot be read/],
    ['gateway --config ./bad.toml', 65, /is not valid TOML/],
    ['gateway --config ./gateway.toml', 78, /listn .*\n.*Did you mean listen\?/],
    ['gateway --users-file ./nowhere', 66, /./]
  ])('ikestream %s', async (line, wanted, text) => {
    const { exitCode, stdout, stderr } = await run(line)
    expect(stderr).toMatch(text)
    expect(stdout).toBe('')
    expect(exitCode).toBe(wanted)
  })
})

describe('errors with --json', () => {
  it.each([
    ['connect x --json', 64, 'no-credentials'],
    ['connect ./unknown.toml --json', 78, 'profile-unknown-key'],
    ['relay --json', 64, 'relay-incomplete'],
    ['gateway --json --listen nowhere', 64, 'bad-address']
  ])('ikestream %s: one line, and nothing on standard error', async (line, wanted, code) => {
    const { exitCode, stdout, stderr } = await run(line)
    expect(stderr).toBe('')
    expect(stdout.endsWith('\n')).toBe(true)
    const event: unknown = JSON.parse(stdout)
    expect(event).toEqual({
      schemaVersion: 1,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      event: 'error',
      code,
      message: expect.stringMatching(/\S/),
      hint: expect.stringMatching(/\S/),
      exitCode: wanted
    })
    expect(exitCode).toBe(wanted)
  })
})
