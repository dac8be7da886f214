/**
 * `ikestream import <file>`: turns a .mobileconfig or .sswan file into a profile.
 * @module
 */
import { basename, extname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { ExitCode, UsageError } from '../errors.ts'
import { directories } from '../host/directories.ts'
import { addExamples } from './examples.ts'
import { readInput } from './files.ts'
import type { Leftover, ProfileDraft } from './import/draft.ts'
import { type ImportContents, readImport } from './import/import-file.ts'
import { profileName, type WrittenFile, writeProfile } from './import/write-profile.ts'
import { addOutputOptions, type OutputFlags, outputOptions } from './output-options.ts'
import { Reporter } from './reporter.ts'

/** Of what is left out, for people: more than any real file has, less than a hostile one may. */
const MOST_LINES = 50

interface ImportFlags extends OutputFlags {
  readonly output?: string
  readonly name?: string
  readonly force?: boolean
}

export function addImportCommand(program: Command): void {
  const command = program
    .command('import')
    .argument('<file>', 'a .mobileconfig or .sswan file')
    .description('turn a .mobileconfig or .sswan file into a profile')
    .optionsGroup('Writing:')
    .option('--output <dir>', "folder for the profile and its files (default: the user's profiles)")
    .option('--name <name>', 'name of the profile (default: as the file calls it)')
    .option('--force', 'replace files that are there')
  addOutputOptions(command)
  addExamples(
    command,
    {
      line: 'ikestream import office.mobileconfig',
      says: 'then: ikestream connect <the name that it tells>'
    },
    {
      line: 'ikestream import office.sswan --name work --output .',
      says: 'into this folder, under another name'
    }
  )
  command.action(async (file: string, flags: ImportFlags) => {
    process.exitCode = await runImport(file, flags)
  })
}

async function runImport(file: string, flags: ImportFlags): Promise<number> {
  const reporter = new Reporter(outputOptions(flags))
  try {
    const bytes = readInput(file, 'The file')
    const contents = readImport(bytes, basename(file, extname(file)))
    tellAboutFile(contents, reporter)
    const names = namesOf(contents.drafts, flags.name)
    const directory = resolve(flags.output ?? defaultDirectory())
    for (const [index, draft] of contents.drafts.entries()) {
      const name = names[index] ?? ''
      const options = { directory, force: flags.force === true, source: basename(file) }
      tellAboutProfile(name, draft, await writeProfile(name, draft, options), reporter)
    }
    return ExitCode.ok
  } catch (error) {
    return reporter.error(error)
  }
}

function defaultDirectory(): string {
  const [first] = directories().profiles
  if (first === undefined) throw new UsageError('no-directory', 'There is no folder for profiles.')
  return first
}

/** One name each, no two alike. @throws UsageError when one name is given to several */
function namesOf(drafts: readonly ProfileDraft[], wanted: string | undefined): string[] {
  if (wanted !== undefined) {
    if (drafts.length > 1)
      throw new UsageError('several-profiles', `The file holds ${drafts.length} connections.`, {
        hint: 'Leave --name out: each gets the name that it has in the file.'
      })
    if (profileName(wanted) !== wanted)
      throw new UsageError('bad-profile-name', `${JSON.stringify(wanted)} cannot be the name of a profile.`, {
        hint: 'Use letters, digits and . _ @ + -, at most 48.'
      })
    return [wanted]
  }
  const taken = new Set<string>()
  return drafts.map(({ title }) => {
    const plain = profileName(title)
    let name = plain
    for (let number = 2; taken.has(name.toLowerCase()); number++) name = `${plain}-${number}`
    taken.add(name.toLowerCase())
    return name
  })
}

function tellAboutFile({ signature, leftovers }: ImportContents, reporter: Reporter): void {
  if (signature !== undefined) {
    const who = signature.signer ?? 'somebody whose certificate is not in it'
    reporter.line(`The file says that it was signed by ${who}. The signature was not checked.`, 'warn')
  }
  reporter.event({
    event: 'file',
    signed: signature !== undefined,
    signer: signature?.signer ?? null,
    leftOut: leftovers
  })
  tellLeftovers(leftovers, reporter)
}

function tellAboutProfile(
  name: string,
  draft: ProfileDraft,
  files: readonly WrittenFile[],
  reporter: Reporter
): void {
  const [profile] = files
  const path = profile?.path ?? ''
  reporter.event({
    event: 'imported',
    name,
    profile: path,
    server: draft.server,
    files: files.slice(1),
    leftOut: draft.leftovers
  })
  tellLeftovers(draft.leftovers, reporter)
  const isFound = directories().profiles.some((directory) => join(directory, `${name}.toml`) === path)
  reporter.line(`Imported ${draft.server}: ikestream connect ${isFound ? name : path}`, 'ok')
  reporter.result(path)
}

function tellLeftovers(leftovers: readonly Leftover[], reporter: Reporter): void {
  for (const { setting, reason } of leftovers.slice(0, MOST_LINES))
    reporter.line(`Left out: ${setting} (${reason})`, 'warn')
  const more = leftovers.length - MOST_LINES
  if (more > 0) reporter.line(`Left out: ${more} more; --json names all of them`, 'warn')
}
