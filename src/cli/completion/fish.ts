/**
 * Completion for fish.
 * @module
 */
import type { CommandNode, OptionNode, ValueKind } from '../command-tree.ts'
import { leafCommands } from '../command-tree.ts'
import { NAMES_COMMAND } from './hidden-command.ts'

/** @param tree the whole program */
export function fishScript(tree: CommandNode): string {
  const nested = tree.commands.filter(({ commands }) => commands.length > 0)
  return `# fish completion for ikestream; load it with: ikestream completion fish | source
function __ikestream_in
    set -l words (commandline -opc)
    test (count $words) -gt (count $argv); or return 1
    for i in (seq (count $argv))
        test $words[(math $i + 1)] = $argv[$i]; or return 1
    end
end
function __ikestream_at
    test (count (commandline -opc)) -eq (math (count $argv) + 1); and __ikestream_in $argv
end
function __ikestream_first
    test (count (commandline -opc)) -eq 1
end
function __ikestream_inner
    set -l words (commandline -opc) (commandline -ct)
    set -l at (contains -i -- -- $words); or return 1
    set -e words[1..$at]
    complete -C (string join ' ' -- $words)
end
complete -c ikestream -f
complete -c ikestream -n __ikestream_first -l help -s h -d 'show this help'
complete -c ikestream -n __ikestream_first -l version -s V -d 'show the version'
${tree.commands.map((command) => commandLine(command, '__ikestream_first')).join('\n')}
complete -c ikestream -n __ikestream_first -a help -d 'show the help of a command'
complete -c ikestream -n '__ikestream_at help' -a '${tree.commands.map(({ name }) => name).join(' ')}'
${nested.flatMap(({ name, commands }) => commands.map((command) => commandLine(command, `'__ikestream_at ${name}'`))).join('\n')}
${leafCommands(tree).map(leafLines).join('\n')}
`
}

function commandLine({ name, description }: CommandNode, condition: string): string {
  return `complete -c ikestream -n ${condition} -a ${name} -d ${quoted(description)}`
}

function leafLines({ path, options, arguments: args }: CommandNode): string {
  const condition = `complete -c ikestream -n '__ikestream_in ${path}'`
  const values = args.filter(({ value }) => value.kind !== 'nothing')
  return [
    ...values.map(({ value }) => `${condition} ${candidates(value)}`),
    ...options.map((option) => `${condition} ${optionText(option)}`)
  ].join('\n')
}

function optionText({ short, long, description, takes, value }: OptionNode): string {
  const name = `${short === undefined ? '' : `-s ${short.slice(1)} `}-l ${long.slice(2)}`
  const wants = takes === 'value' ? ` -r ${candidates(value)}` : ''
  return `${name}${wants} -d ${quoted(description)}`
}

function candidates(value: ValueKind): string {
  switch (value.kind) {
    case 'choices':
      return `-f -a '${value.choices.join(' ')}'`
    case 'file':
      return '-F'
    case 'directory':
      return "-f -a '(__fish_complete_directories)'"
    case 'user':
      return "-f -a '(__fish_complete_users)'"
    case 'profile':
    case 'session':
      return `-f -a '(ikestream ${NAMES_COMMAND} ${value.kind} 2>/dev/null)'`
    case 'command':
      return "-f -a '(__ikestream_inner)'"
    default:
      return '-f'
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`
}
