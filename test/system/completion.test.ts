/** Completion as people meet it: real shells with the real script, asked for what they would offer. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { allCommands } from '../support/command-line.ts'
import { findProgram, has, type Requirement } from '../support/require.ts'
import { runCommand } from '../support/run-command.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', 'bin', 'ikestream.js')
const COMMANDS = await allCommands()

let directory: string
let env: Record<string, string>
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'completion-'))
  env = {
    PATH: `${directory}/bin:/usr/bin:/bin`,
    HOME: directory,
    XDG_CONFIG_HOME: join(directory, 'config'),
    IKESTREAM_STATE_DIR: join(directory, 'state'),
    LC_ALL: 'C.UTF-8',
    TERM: 'dumb'
  }
  for (const folder of ['bin', 'config/ikestream', 'state/run', 'files/sub'])
    await mkdir(join(directory, folder), { recursive: true })
  await writeFile(
    join(directory, 'bin', 'ikestream'),
    `#!/bin/sh\nexec ${process.execPath} ${PROGRAM} "$@"\n`,
    { mode: 0o755 }
  )
  for (const name of ['work', 'travel'])
    await writeFile(join(directory, 'config', 'ikestream', `${name}.toml`), 'server = "x"\n')
  await writeFile(join(directory, 'state', 'run', 'office.sock'), '')
  for (const name of ['corp-ca.pem', 'corp notes.txt']) await writeFile(join(directory, 'files', name), '')
  for (const shell of ['bash', 'zsh', 'fish']) {
    const script = await runCommand([process.execPath, PROGRAM, 'completion', shell], { env })
    await writeFile(join(directory, `script.${shell}`), script)
  }
})
afterAll(() => rm(directory, { recursive: true }))

type Shell = 'bash' | 'zsh' | 'fish'

/** What a shell offers for the last word of a line. */
async function offers(shell: Shell, line: string): Promise<string[]> {
  const words = line.split(' ')
  const output = await { bash: bashOffers, zsh: zshOffers, fish: fishOffers }[shell](words)
  return [...new Set(output.split('\n').filter((candidate) => candidate !== ''))].sort()
}

function bashOffers(words: readonly string[]): Promise<string> {
  const text = `source ${directory}/script.bash; COMP_CWORD=$((\${#COMP_WORDS[@]}-1)); _ikestream; printf '%s\\n' "\${COMPREPLY[@]}"`
  const list = words.map((word) => `'${word}'`).join(' ')
  const argv = ['bash', '--norc', '--noprofile', '-c', `COMP_WORDS=(${list}); ${text}`]
  return runCommand(argv, { env, cwd: join(directory, 'files') })
}

/** fish says of each candidate what it is, behind a tab. */
async function fishOffers(words: readonly string[]): Promise<string> {
  const text = `source ${directory}/script.fish; complete -C "${words.join(' ')}"`
  const output = await runCommand(['fish', '--no-config', '-c', text], { env, cwd: join(directory, 'files') })
  return output.replaceAll(/\t.*$/gm, '')
}

/**
 * The line editor of zsh completes on a pseudo-terminal only: lines are typed there, and `compadd`, which everything comes to in the
 * end, writes down what it is given. One shell answers for all lines.
 */
async function askZsh(): Promise<ReadonlyMap<string, string>> {
  const found = join(directory, 'offers')
  const setup = join(directory, 'setup.zsh')
  await writeFile(
    setup,
    `autoload -Uz compinit; compinit -u -D; source ${directory}/script.zsh
compadd() {
  if [[ \${@[1,(i)(-|--)]} != *-(O|A|D)* ]]; then
    local -a __hits
    builtin compadd -A __hits "$@"
    print -l -- $__hits >> ${found}
  fi
  builtin compadd "$@"
}
ask() { zle list-choices; print '<end>' >> ${found}; BUFFER='' }
zle -N ask; bindkey '^T' ask
`
  )
  const typed = EXPECTED.map(([line]) => `${line}\u0014`).join('')
  await runCommand(['script', '-qec', 'zsh -f -i', '/dev/null'], {
    env,
    cwd: join(directory, 'files'),
    input: `source ${setup}\r${typed}exit\r`
  })
  const answers = (await readFile(found, 'utf8')).split('<end>\n')
  return new Map(EXPECTED.map(([line], index) => [line, answers[index] ?? '']))
}

let zshAnswers: Promise<ReadonlyMap<string, string>> | undefined
async function zshOffers(words: readonly string[]): Promise<string> {
  zshAnswers ??= askZsh()
  return (await zshAnswers).get(words.join(' ')) ?? ''
}

/** Lines, what has to be among the offers, and what must not. */
const EXPECTED: [line: string, offered: readonly string[], not?: readonly string[]][] = [
  ['ikestream ', COMMANDS.map(({ path }) => path.split(' ')[0] ?? ''), ['__names']],
  ['ikestream dis', ['disconnect'], ['connect']],
  ['ikestream connect --tls', ['--tls-name', '--tls-verify', '--tls-port'], ['--user']],
  ['ikestream relay --l', ['--listen', '--log'], ['--user']],
  ['ikestream connect --transport ', ['auto', 'udp', 'tcp', 'tls'], ['work']],
  ['ikestream gateway --cookies a', ['auto', 'always'], ['never']],
  ['ikestream connect ', ['work', 'travel'], ['office']],
  ['ikestream exec --user alice w', ['work']],
  ['ikestream connect --identity ', [], ['work', 'corp-ca.pem']],
  ['ikestream status ', ['office'], ['work']],
  ['ikestream disconnect o', ['office']],
  ['ikestream profile ', ['list', 'show']],
  ['ikestream profile show t', ['travel'], ['work']],
  ['ikestream profile show --m', ['--mtu']],
  ['ikestream completion ', ['bash', 'zsh', 'fish']],
  ['ikestream exec work -- ca', ['cat']],
  ['ikestream connect --cafile corp-', ['corp-ca.pem']],
  ['ikestream import corp-', ['corp-ca.pem']],
  ['ikestream import --output s', [], ['corp-ca.pem']]
]

describe.each(['bash', 'zsh', 'fish'] as const)('completion in %s', (shell) => {
  const missing = (['script', shell] as Requirement[]).find((requirement) => !has(requirement))
  if (missing !== undefined && process.env['IKESTREAM_TEST_ALL'] === '1')
    throw new Error(`nothing may be skipped here, but ${missing} is missing`)

  it
    .skipIf(missing !== undefined)
    .each(EXPECTED.map(([line, offered, not = []]) => [line, offered, not] as const))(
    '%s',
    async (line, offered, not) => {
      const found = await offers(shell, line)
      expect(found).toEqual(expect.arrayContaining([...offered]))
      for (const word of not) expect(found).not.toContain(word)
    }
  )
})

describe('the script for bash', () => {
  it.skipIf(findProgram('bash') === null)('knows every option of every command', async () => {
    for (const { path, options } of COMMANDS)
      expect(await offers('bash', `ikestream ${path} -`), path).toEqual(
        options.flatMap(({ short, long }) => (short === undefined ? [long] : [short, long])).sort()
      )
  })

  it.skipIf(findProgram('bash') === null)(
    'completes behind an equals sign, of which bash makes a word',
    async () => {
      expect(await offers('bash', 'ikestream connect --transport = t')).toEqual(['tcp', 'tls'])
      expect(await offers('bash', 'ikestream connect --transport =')).toEqual(['auto', 'tcp', 'tls', 'udp'])
    }
  )
})
