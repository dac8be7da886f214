/**
 * The commands and options as plain data: completion scripts, the man page and the reference are made from it, so that none of them can
 * know less than `--help` does.
 * @module
 */
import type { Argument, Command, Option } from 'commander'
import { type Example, examplesOf } from './examples.ts'

/** What may be completed for a value: one of these words, files, or what the machine has. */
export type ValueKind =
  | { readonly kind: 'choices'; readonly choices: readonly string[] }
  | {
      readonly kind: 'file' | 'directory' | 'profile' | 'session' | 'user' | 'command' | 'nothing'
    }

export interface OptionNode {
  /** As in the help: `-q, --quiet`, `--user <name>`. */
  readonly flags: string
  /** `--user`, `--no-dns` */
  readonly long: string
  /** `-q` */
  readonly short: string | undefined
  readonly group: string
  readonly description: string
  readonly takes: 'nothing' | 'value' | 'perhaps a value'
  readonly value: ValueKind
  readonly default: string | undefined
  readonly variable: string | undefined
}

export interface ArgumentNode {
  readonly name: string
  readonly description: string
  readonly required: boolean
  readonly variadic: boolean
  readonly value: ValueKind
}

export interface CommandNode {
  /** Below the program: `connect`, `profile show`. */
  readonly path: string
  readonly name: string
  readonly group: string
  readonly description: string
  readonly options: readonly OptionNode[]
  readonly arguments: readonly ArgumentNode[]
  readonly examples: readonly Example[]
  readonly commands: readonly CommandNode[]
}

/** @param program with all commands; hidden ones are left out */
export function commandTree(program: Command, path = ''): CommandNode {
  const help = program.createHelp()
  return {
    path,
    name: program.name(),
    group: heading(program.helpGroup()),
    description: program.description(),
    options: help.visibleOptions(program).map(optionNode),
    arguments: program.registeredArguments.map(argumentNode),
    examples: examplesOf(program),
    commands: help
      .visibleCommands(program)
      .filter((command) => command.name() !== 'help')
      .map((command) => commandTree(command, `${path} ${command.name()}`.trim()))
  }
}

/** The commands that do something, in order: those with commands below them are named by these. */
export function leafCommands(node: CommandNode): readonly CommandNode[] {
  return node.commands.flatMap((command) => (command.commands.length > 0 ? leafCommands(command) : [command]))
}

function heading(text: string): string {
  return text.replace(/:$/, '')
}

function optionNode(option: Option): OptionNode {
  const { defaultValue } = option
  const isTold = typeof defaultValue === 'string' || typeof defaultValue === 'number'
  return {
    flags: option.flags,
    long: option.long ?? option.flags,
    short: option.short,
    group: heading(option.helpGroupHeading ?? ''),
    description: option.description.replace(/ \(env: \w+\)$/, ''),
    takes: option.required ? 'value' : option.optional ? 'perhaps a value' : 'nothing',
    value: option.argChoices === undefined ? kindOf(option.flags) : choices(option.argChoices),
    // A counter begins at 0, which says nothing.
    default: isTold && option.isBoolean() === false ? String(defaultValue) : undefined,
    variable: option.envVar ?? / \(env: (\w+)\)$/.exec(option.description)?.[1]
  }
}

function argumentNode(argument: Argument): ArgumentNode {
  return {
    name: argument.name(),
    description: argument.description,
    required: argument.required,
    variadic: argument.variadic,
    value: argument.argChoices === undefined ? kindOfArgument(argument) : choices(argument.argChoices)
  }
}

function choices(words: readonly string[]): ValueKind {
  return { kind: 'choices', choices: words }
}

function kindOf(flags: string): ValueKind {
  const argumentName = /[<[](\w+)/.exec(flags)?.[1]
  if (argumentName === 'file') return { kind: 'file' }
  if (argumentName === 'dir') return { kind: 'directory' }
  return { kind: argumentName === 'user' ? 'user' : 'nothing' }
}

function kindOfArgument(argument: Argument): ValueKind {
  const kinds: Readonly<Record<string, ValueKind['kind']>> = {
    'server or profile': 'profile',
    profile: 'profile',
    name: 'session',
    file: 'file',
    command: 'command'
  }
  const kind = kinds[argument.name()] ?? 'nothing'
  return kind === 'choices' ? { kind: 'nothing' } : { kind }
}
