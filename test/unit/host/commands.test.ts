import { expect, it } from 'vitest'
import {
  childEnvironment,
  commandFailure,
  enterNamespace,
  essence,
  inNamespace,
  must,
  mustJson,
  SystemCommandRunner,
  shown
} from '../../../src/host/commands.ts'
import type { LogFields } from '../../../src/log.ts'
import { RecordingRunner } from '../../support/recording-runner.ts'

const runner = new SystemCommandRunner()

it('runs a program with its arguments untouched by any shell', async () => {
  const result = await runner.run(['printf', '%s|', '$HOME', 'a b', '`id`', '*'])
  expect(result).toMatchObject({ exitCode: 0, stdout: '$HOME|a b|`id`|*|', stderr: '' })
})

it('feeds standard input, and reports exit codes and signals as results', async () => {
  expect((await runner.run(['cat'], { input: 'hello' })).stdout).toBe('hello')
  expect((await runner.run(['false'])).exitCode).toBe(1)
  expect((await runner.run([process.execPath, '-e', 'process.kill(process.pid, "SIGTERM")'])).exitCode).toBe(
    143
  )
})

it('survives a program that never reads its input', async () => {
  expect((await runner.run(['true'], { input: 'x'.repeat(1_000_000) })).exitCode).toBe(0)
})

it('names a program that is not installed, and the package that has it', async () => {
  await expect(runner.run(['ikestream-no-such-program'])).rejects.toMatchObject({
    code: 'command-missing',
    exitCode: 71
  })
})

it('kills a program that takes too long', async () => {
  await expect(runner.run(['sleep', '600'], { timeoutMs: 30 })).rejects.toMatchObject({
    code: 'command-timeout'
  })
})

it('turns failure into an error that quotes the essence, and hints at missing privilege', () => {
  const failed = (stderr: string) => commandFailure({ argv: ['ip', 'x'], exitCode: 2, stdout: '', stderr })
  expect(failed('RTNETLINK answers: File exists\n').message).toBe('`ip x` failed: File exists')
  expect(failed('').message).toBe('`ip x` failed: exit status 2')
  expect(failed('RTNETLINK answers: Operation not permitted')).toMatchObject({
    code: 'command-not-permitted',
    hint: 'this needs root or CAP_NET_ADMIN'
  })
  expect(essence('\nUsage: ip ...\nError: ipv4: Address not found.\nCommand failed -:1\n')).toBe(
    'ipv4: Address not found.'
  )
})

it('rejects a failing command only where it has to succeed', async () => {
  const recording = new RecordingRunner().answer(/bad/, { exitCode: 1, stderr: 'no' })
  await expect(must(recording, ['bad'])).rejects.toThrow('`bad` failed: no')
  expect(await must(recording, ['good'])).toMatchObject({ exitCode: 0 })
})

it('parses JSON output, takes silence for an empty list, and refuses anything else', async () => {
  const recording = new RecordingRunner()
    .answer(/^one/, { stdout: '[{"a":1}]' })
    .answer(/junk/, { stdout: 'default via' })
  expect(await mustJson(recording, ['one'])).toEqual([{ a: 1 }])
  expect(await mustJson(recording, ['none'])).toEqual([])
  await expect(mustJson(recording, ['junk'])).rejects.toMatchObject({ code: 'command-output' })
})

it('enters a named namespace by ip itself or by ip netns exec, and that of a process by nsenter', async () => {
  const named = { kind: 'name', name: 'office' } as const
  expect(enterNamespace(named, ['ip', 'route'])).toEqual(['ip', '-n', 'office', 'route'])
  expect(enterNamespace(named, ['resolvectl', 'dns'])).toEqual([
    'ip',
    'netns',
    'exec',
    'office',
    'resolvectl',
    'dns'
  ])
  const process = { kind: 'process', pid: 42, userNamespace: true } as const
  expect(enterNamespace(process, ['id']).join(' ')).toBe(
    'nsenter -t 42 -U --preserve-credentials -m -n -w -- id'
  )
  const recording = new RecordingRunner()
  await inNamespace(recording, named).run(['ip', 'addr'])
  await inNamespace(recording, undefined).run(['ip', 'addr'])
  expect(recording.lines()).toEqual(['ip -n office addr', 'ip addr'])
})

it('passes on the environment without our own settings, in the C locale, with the sbin folders', () => {
  const env = childEnvironment({
    HOME: '/h',
    PATH: '/usr/bin',
    IKESTREAM_PASSWORD: 'hush',
    CREDENTIALS_DIRECTORY: '/run/credentials/x',
    NOTIFY_SOCKET: '/run/notify',
    LC_MESSAGES: 'de_DE'
  })
  expect(env).toEqual({
    HOME: '/h',
    LC_ALL: 'C',
    PATH: '/usr/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/bin'
  })
})

it('logs each command as a line that can be read, once it is over', async () => {
  const lines: [string, LogFields | undefined][] = []
  const log = {
    log: (_: string, message: string, fields?: LogFields) => void lines.push([message, fields]),
    child: () => log
  }
  await new SystemCommandRunner(log).run(['printf', 'a b%s', '/x'])
  expect(lines).toEqual([['printf "a b%s" /x', { exitCode: 0 }]])
  expect(shown(['ip', 'addr', 'add', 'fd00::1/128', ''])).toBe('ip addr add fd00::1/128 ""')
})
