/** The help of every command: grouped, with examples that parse, readable on any terminal; and what is said of typing errors. */
import { join } from 'node:path'
import type { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { buildProgram } from '../../../src/cli/program.ts'
import { allCommands, wholeTree } from '../../support/command-line.ts'
import { type CommandResult, tryCommand } from '../../support/run-command.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', '..', 'bin', 'ikestream.js')
const COMMANDS = await allCommands()

function run(line: string, env: Record<string, string> = {}): Promise<CommandResult> {
  return tryCommand([process.execPath, PROGRAM, ...line.split(' ')], {
    env: { PATH: '/usr/bin:/bin', ...env }
  })
}

/** The command that a line of words is for, with an action that does nothing. */
function disarmed(program: Command, words: readonly string[]): void {
  let command = program
  for (const word of words) {
    const child = command.commands.find((one) => one.name() === word)
    if (child === undefined) break
    command = child
  }
  command.action(() => undefined)
}

describe.each(COMMANDS.map((command) => [command.path, command] as const))(
  'ikestream %s',
  (path, command) => {
    it('says what it does, and has each option in a group and with a description', () => {
      expect(command.description).toMatch(/^[a-z].{10,}[^.]$/)
      for (const option of command.options) {
        expect(option.group, option.flags).toMatch(/^[A-Z][a-z]/)
        expect(option.description, option.flags).toMatch(/\S{3}/)
      }
      for (const argument of command.arguments) expect(argument.description, argument.name).toMatch(/\S{3}/)
    })

    it('has examples of itself, each of which parses', async () => {
      expect(command.examples.length).toBeGreaterThan(0)
      for (const { line, says } of command.examples) {
        expect(line.startsWith(`ikestream ${path}`), line).toBe(true)
        expect(says).toMatch(/\S{3}/)
        const [, ...words] = line.split(' ')
        const program = await buildProgram(words)
        disarmed(program, words)
        await program.parseAsync(words, { from: 'user' })
      }
    })

    it('shows all of it, in lines that a terminal of 80 columns holds', async () => {
      const { stdout, exitCode } = await run(`${path} --help`)
      expect(exitCode).toBe(0)
      for (const { flags } of command.options) expect(stdout).toContain(`  ${flags}`)
      for (const { line } of command.examples) expect(stdout).toContain(`\n  ${line}\n`)
      for (const group of new Set(command.options.map((option) => option.group)))
        expect(stdout).toContain(`\n${group}:\n`)
      expect(stdout).not.toMatch(/^Options:/m)
      const [before = ''] = stdout.split('\nExamples:\n')
      expect(before.split('\n').filter((line) => line.length > 80)).toEqual([])
    })
  }
)

describe('the help of the whole', () => {
  it('names every command, in groups', async () => {
    const { stdout } = await run('--help')
    for (const { name, description } of (await wholeTree()).commands) {
      expect(stdout).toMatch(new RegExp(`^ {2}${name}\\b`, 'm'))
      expect(stdout.replaceAll(/\s+/g, ' ')).toContain(description)
    }
    expect(stdout).toMatch(/^Client:[\s\S]*^Profiles:[\s\S]*^Servers:[\s\S]*^Other:[\s\S]*^Examples:/m)
  })

  it('is bold where colours are wanted, and plain otherwise', async () => {
    expect((await run('--help')).stdout).not.toContain('\u001b')
    expect((await run('--help', { FORCE_COLOR: '1' })).stdout).toContain('\u001b[1mClient:\u001b[22m')
    expect((await run('--help', { FORCE_COLOR: '1', NO_COLOR: '1' })).stdout).not.toContain('\u001b')
  })
})

describe('typing errors', () => {
  it.each([
    ['conect x', /unknown command 'conect'[\s\S]*Did you mean connect\?/],
    ['connect x --usr a', /unknown option '--usr'[\s\S]*Did you mean --user\?/],
    ['profile shw work', /unknown command 'shw'[\s\S]*Did you mean show\?/],
    ['relay --taget x', /unknown option '--taget'[\s\S]*Did you mean --target\?/],
    ['gateway --cookies allways', /Allowed choices are auto, always, never/]
  ])('ikestream %s', async (line, message) => {
    const { exitCode, stdout, stderr } = await run(line)
    expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' })
    expect(stderr).toMatch(message)
  })
})
