/** The reference (docs/CLI.md) and the man page say what the program says of itself: nothing less, nothing else. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { manPage, markdownPage } from '../../../scripts/manual/pages.mjs'
import { ExitCode } from '../../../src/errors.ts'
import { allCommands } from '../../support/command-line.ts'
import { describeWith } from '../../support/require.ts'
import { tryCommand } from '../../support/run-command.ts'

const ROOT = join(import.meta.dirname, '..', '..', '..')
const PROGRAM = join(ROOT, 'bin', 'ikestream.js')
const COMMANDS = await allCommands()
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const REFERENCE = read('docs/CLI.md')
const MAN = read('man/ikestream.1')
const OUT_OF_DATE = 'out of date: npm run manual'

/** Long names in some lines of a text, but for --help, which every command has. */
function longNames(lines: readonly string[]): string[] {
  const names = lines.flatMap((line) => [...line.matchAll(/--[a-z0-9][a-z0-9-]*/g)].map(([name]) => name))
  return [...new Set(names)].filter((name) => name !== '--help').sort()
}

/** What `--help` itself shows. */
async function helpNames(path: string): Promise<string[]> {
  const { stdout } = await tryCommand([process.execPath, PROGRAM, ...path.split(' '), '--help'])
  return longNames([...stdout.matchAll(/^ {2}(?:-\w, )?--\S+/gm)].map(([line]) => line))
}

function section(text: string, heading: string, next: RegExp): string {
  const start = text.indexOf(heading)
  expect(start, heading).toBeGreaterThanOrEqual(0)
  const rest = text.slice(start + heading.length)
  const end = rest.search(next)
  return end < 0 ? rest : rest.slice(0, end)
}

/** Options in the first column of tables, and those that are said to be as of another command. */
function referenceNames(path: string): string[] {
  const lines = section(REFERENCE, `\n### ${path}\n`, /\n##+ /).split('\n')
  const cells = lines.filter((line) => line.startsWith('| `')).map((line) => line.split('`')[1] ?? '')
  return longNames([...cells, ...lines.filter((line) => line.startsWith('As of '))])
}

function manNames(path: string): string[] {
  const plain = MAN.replaceAll('\\-', '-')
  const lines = section(plain, `\n.SS ikestream ${path} `, /\n\.S[SH] /).split('\n')
  const tags = lines.filter((line, index) => lines[index - 1] === '.TP' && line.startsWith('\\fB-'))
  return longNames([...tags, ...lines.filter((line) => line.startsWith('As of '))])
}

describe('the reference and the man page', () => {
  it('are made from what the program is now', () => {
    const prose = read('scripts/manual/prose.md')
    const { version } = JSON.parse(read('package.json')) as { version: string }
    expect(REFERENCE, OUT_OF_DATE).toBe(markdownPage(COMMANDS, prose))
    expect(MAN, OUT_OF_DATE).toBe(manPage(COMMANDS, prose, version))
  })

  it.each(COMMANDS.map(({ path }) => path))(
    'ikestream %s: have the options of its --help, and no others',
    async (path) => {
      const wanted = await helpNames(path)
      expect(referenceNames(path)).toEqual(wanted)
      expect(manNames(path)).toEqual(wanted)
    }
  )

  it('have the commands that there are, and no others', () => {
    const paths = COMMANDS.map(({ path }) => path)
    const headings = [...section(REFERENCE, '\n## Commands\n', /\n## /).matchAll(/^### (.*)$/gm)]
    expect(headings.map(([, path]) => path)).toEqual(paths)
    const sections = [...MAN.matchAll(/^\.SS ikestream (.*?) \[options\]/gm)]
    expect(sections.map(([, path]) => path)).toEqual(paths)
  })

  it('have the exit codes that errors lead to, and no others', () => {
    // Of a signal before the tunnel was up, and of what went wrong before anything could say so.
    const wanted = [...new Set([...Object.values(ExitCode), 1, 130, 143])].sort((a, b) => a - b)
    const table = section(REFERENCE, '\n## Exit status\n', /\n## /)
    const codes = [...table.matchAll(/^\| ([\d, ]+?) +\|/gm)].flatMap(([, cell = '']) =>
      cell.split(', ').map(Number)
    )
    expect(codes).toEqual(wanted)
    const page = section(MAN, '\n.SH EXIT STATUS\n', /\n\.SH /)
    const tags = [...page.matchAll(/^\.TP\n([\d, ]+)$/gm)].flatMap(([, tag = '']) =>
      tag.split(', ').map(Number)
    )
    expect(tags).toEqual(wanted)
  })

  it('name every variable that an option is also read from', () => {
    for (const { options } of COMMANDS)
      for (const { variable } of options)
        if (variable !== undefined) {
          expect(MAN).toContain(variable)
          expect(REFERENCE.replaceAll('\\_', '_')).toContain(variable)
        }
  })

  it('name every event and reason of the JSON output', () => {
    const events = read('src/client/events.ts').matchAll(/readonly event: '([a-z-]+)'/g)
    const more = read('src/gateway/events.ts').matchAll(/readonly event: '([a-z-]+)'/g)
    const codes = section(read('src/transport/types.ts'), 'export type TransportFailureCode =', /\n\n/)
    const names = [...events, ...more, ...codes.matchAll(/'([a-z-]+)'/g)].map(([, name = '']) => name)
    // They are told of in scripts/manual/prose.md.
    expect(names.filter((name) => !REFERENCE.includes(`\`${name}\``))).toEqual([])
  })

  it('are in the package', () => {
    const { man, files } = JSON.parse(read('package.json')) as { man: string; files: string[] }
    expect(man).toBe('man/ikestream.1')
    expect(files).toEqual(expect.arrayContaining(['man', 'docs']))
  })
})

describeWith('groff')('the man page as it is shown', () => {
  it('gives no warnings, and shows each option and example as it is typed', async () => {
    const page = join(ROOT, 'man', 'ikestream.1')
    const argv = ['groff', '-man', '-ww', '-Tutf8', '-P-cbou', '-rLL=200n', page]
    const { stdout, stderr, exitCode } = await tryCommand(argv)
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
    const text = stdout.replaceAll(/\s+/g, ' ')
    for (const { path, options, examples } of COMMANDS) {
      for (const { flags, long } of options) if (long !== '--help') expect(text, path).toContain(flags)
      for (const { line } of examples) expect(text, path).toContain(line)
    }
  })

  it('begins with the line that apropos reads', () => {
    expect(MAN).toMatch(/\n\.SH NAME\nikestream \\- \S.*\n\.SH SYNOPSIS\n/)
  })
})
