import { expect, test } from 'vitest'
import type { CommandOptions, CommandRunner } from '../../../src/host/commands.ts'
import { ipBatch } from '../../../src/host/ip-batch.ts'

const COMMANDS = [
  'ip link set dev ike0 up',
  'ip -6 route add ::/1 dev ike0',
  'ip addr add 10.0.0.1 dev ike0'
].map((line) => line.split(' '))

function runnerThat(exitCode: number, stderr = ''): { runner: CommandRunner; inputs: string[] } {
  const inputs: string[] = []
  const run = async (argv: readonly string[], options: CommandOptions = {}) => {
    inputs.push(`${argv.join(' ')} < ${options.input}`)
    return { argv, exitCode, stdout: '', stderr }
  }
  return { runner: { run }, inputs }
}

test('all of them in one process, without options that belong to a command alone', async () => {
  const { runner, inputs } = runnerThat(0)
  expect(await ipBatch(runner, COMMANDS)).toBe(3)
  expect(inputs).toEqual([
    'ip -batch - < link set dev ike0 up\nroute add ::/1 dev ike0\naddr add 10.0.0.1 dev ike0\n'
  ])
})

test('says how many came before the one that was refused', async () => {
  const refused = (line: number) => `RTNETLINK answers: File exists\nCommand failed -:${line}\n`
  expect(await ipBatch(runnerThat(1, refused(3)).runner, COMMANDS)).toBe(2)
  expect(await ipBatch(runnerThat(1, refused(1)).runner, COMMANDS)).toBe(0)
})

test('an `ip` without batches has done nothing', async () => {
  expect(await ipBatch(runnerThat(255, 'Option "-batch" is unknown').runner, COMMANDS)).toBe(0)
})

test('a single command is none for a batch, and neither is a word that would be more than a word', async () => {
  const { runner, inputs } = runnerThat(0)
  expect(await ipBatch(runner, COMMANDS.slice(0, 1))).toBe(0)
  expect(await ipBatch(runner, [...COMMANDS, ['ip', 'link', 'set', 'dev', 'a\nlink del lo']])).toBe(0)
  expect(inputs).toEqual([])
})
