import { describe, expect, test } from 'vitest'
import { buildProgram } from '../../../src/cli/program.ts'

const namesOf = async (argv: readonly string[]): Promise<string[]> =>
  (await buildProgram(argv)).commands.map((command) => command.name())

describe('the tree of commands', () => {
  test('a command that is named first is the only one that is loaded', async () => {
    expect(await namesOf(['relay', '--listen', '4500'])).toEqual(['relay'])
    expect(await namesOf(['cleanup'])).toEqual(['cleanup'])
  })

  test.for([[], ['--help'], ['help', 'relay'], ['conect'], ['toString']])(
    'everything is there for help and for the nearest name: %j',
    async (argv) => {
      const names = await namesOf(argv)
      expect(names).toEqual(expect.arrayContaining(['connect', 'cleanup', 'gateway', 'relay', 'demo']))
    }
  )
})
