/**
 * `ikestream profile`: which profiles there are, and what one of them comes to.
 * @module
 */
import type { Command } from 'commander'
import { ExitCode, IkestreamError, InputError } from '../errors.ts'
import { directories } from '../host/directories.ts'
import { addConnectionOptions, EffectiveOptions } from './connection-options.ts'
import { addExamples } from './examples.ts'
import { nearest } from './nearest.ts'
import { findProfile } from './profile.ts'
import { type ProfileFile, profileFiles } from './profile-files.ts'
import { settingLines, settingsOf } from './profile-report.ts'
import type { Profile } from './profile-type.ts'
import { Reporter, SCHEMA_VERSION } from './reporter.ts'

interface ProfileFlags {
  readonly json?: boolean
}

interface FoundProfile {
  readonly name: string
  readonly path: string
  /** null: it cannot be used. */
  readonly server: string | null
  readonly problem: string | null
}

export function addProfileCommand(program: Command): void {
  const command = program
    .command('profile')
    .description('show profiles, and where their settings come from')
    .helpCommand(false)
  const list = command
    .command('list')
    .description('the profiles that there are')
    .optionsGroup('Output:')
    .option('--json', 'one JSON document on standard output')
  addExamples(list, { line: 'ikestream profile list', says: 'name, server and file of each' })
  list.action((flags: ProfileFlags) => {
    process.exitCode = listProfiles(flags)
  })
  const show = command
    .command('show')
    .argument('<profile>', 'name of the profile, or its file')
    .description('every setting that a session would have, and where it comes from')
  addConnectionOptions(show).option('--json', 'one JSON document on standard output')
  addExamples(
    show,
    { line: 'ikestream profile show work', says: 'what connect would use, and why' },
    { line: 'ikestream profile show work --mtu 1300 --json', says: 'the same with an option, for a script' }
  )
  show.action((name: string, flags: ProfileFlags) => {
    process.exitCode = showProfile(name, show, flags)
  })
}

function reporterFor(flags: ProfileFlags): Reporter {
  return new Reporter({ json: flags.json === true, quiet: false, verbose: false, color: 'auto' })
}

function showProfile(name: string, command: Command, flags: ProfileFlags): number {
  const reporter = reporterFor(flags)
  try {
    const profile = findProfile(name, directories().profiles) ?? notFound(name)
    const settings = settingsOf(new EffectiveOptions(command, profile), profile, process.env)
    if (flags.json === true)
      printDocument({ name: profile.name, path: profile.path, server: profile.server, settings })
    else reporter.result(settingLines(profile, settings).join('\n'))
    return ExitCode.ok
  } catch (error) {
    return reporter.error(error)
  }
}

function notFound(name: string): never {
  const names = profileFiles(directories().profiles).map((profile) => profile.name)
  const near = nearest(name, names)
  throw new InputError('profile-not-found', `There is no profile ${JSON.stringify(name)}.`, {
    hint:
      near !== undefined
        ? `Did you mean ${near}?`
        : `Profiles are ${directories()
            .profiles.map((directory) => `${directory}/<name>.toml`)
            .join(' and ')}.`
  })
}

function listProfiles(flags: ProfileFlags): number {
  const reporter = reporterFor(flags)
  const profiles = profileFiles(directories().profiles).map(describe)
  if (flags.json === true) printDocument({ profiles })
  else {
    const width = Math.max(0, ...profiles.map(({ name }) => name.length))
    for (const { name, path, server, problem } of profiles)
      reporter.result(`${name.padEnd(width)}  ${server ?? `! ${problem}`}  ${path}`)
    if (profiles.length === 0) reporter.line(`No profiles in ${directories().profiles.join(' and ')}`)
  }
  return ExitCode.ok
}

function describe({ name, path }: ProfileFile): FoundProfile {
  try {
    const profile: Profile | undefined = findProfile(path, [])
    return { name, path, server: profile?.server ?? null, problem: null }
  } catch (error) {
    if (!(error instanceof IkestreamError)) throw error
    return { name, path, server: null, problem: error.message }
  }
}

function printDocument(document: Readonly<Record<string, unknown>>): void {
  const head = { schemaVersion: SCHEMA_VERSION, time: new Date().toISOString() }
  process.stdout.write(`${JSON.stringify({ ...head, ...document }, null, 2)}\n`)
}
