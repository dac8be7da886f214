/**
 * Completion for zsh, for `_arguments` of its completion system.
 * @module
 */
import type { ArgumentNode, CommandNode, OptionNode, ValueKind } from '../command-tree.ts'
import { NAMES_COMMAND } from './hidden-command.ts'

/** @param tree the whole program */
export function zshScript(tree: CommandNode): string {
  return `#compdef ikestream
# zsh completion for ikestream; put it into a folder of $fpath as _ikestream, or load it with:
#   source <(ikestream completion zsh)
_ikestream_profile_names() {
  local -a names
  names=(\${(f)"$(ikestream ${NAMES_COMMAND} profile 2>/dev/null)"})
  compadd "$@" -a names
}

_ikestream_sessions() {
  local -a names
  names=(\${(f)"$(ikestream ${NAMES_COMMAND} session 2>/dev/null)"})
  compadd "$@" -a names
}

_ikestream_profiles() {
  _alternative 'profiles:profile:_ikestream_profile_names' 'files:file:_files -g "*.toml"'
}

_ikestream() {
  local curcontext=$curcontext state line
  local -A opt_args
  _arguments -C '1: :->command' '*:: :->rest' && return
  case $state in
    command)
      _values command ${[...tree.commands.map(commandWord), "'help[show the help of a command]'"].join(' ')}
      ;;
    rest)
      case $line[1] in
${tree.commands.map((command) => commandCase(command)).join('\n')}
        help) (( CURRENT == 2 )) && _values command ${tree.commands.map(commandWord).join(' ')} ;;
      esac
      ;;
  esac
}

if [[ $funcstack[1] == _ikestream ]]; then
  _ikestream "$@"
else
  compdef _ikestream ikestream
fi
`
}

function commandWord({ name, description }: CommandNode): string {
  return quoted(`${name}[${escaped(description)}]`)
}

function commandCase({ name, commands, ...node }: CommandNode, indent = '        '): string {
  if (commands.length === 0) return `${indent}${name}) ${argumentsCall({ name, commands, ...node })} ;;`
  const inner = commands.map((command) => commandCase(command, `${indent}      `)).join('\n')
  return `${indent}${name})
${indent}  _arguments -C '1: :->command' '*:: :->rest' && return
${indent}  case $state in
${indent}    command) _values command ${commands.map(commandWord).join(' ')} ;;
${indent}    rest)
${indent}      case $line[1] in
${inner}
${indent}      esac
${indent}      ;;
${indent}  esac
${indent}  ;;`
}

function argumentsCall({ options, arguments: args }: CommandNode): string {
  return ['_arguments -s -S', ...options.map(optionSpec), ...args.map(argumentSpec)].join(' \\\n            ')
}

/** \`'(-q --quiet)'{-q,--quiet}'[errors only]'\`, \`'*--cafile=[CAs]:file:_files'\` */
function optionSpec({ short, long, description, takes, value, flags }: OptionNode): string {
  const argumentName = /[<[]([^>\]]+)/.exec(flags)?.[1] ?? 'value'
  const action =
    takes === 'nothing' ? '' : `${takes === 'value' ? '' : ':'}:${escaped(argumentName)}:${actionOf(value)}`
  const explanation = `[${escaped(description)}]${action}`
  const equals = takes === 'value' ? '=' : takes === 'perhaps a value' ? '=-' : ''
  // Whatever may be given again is not told apart here: offering it once more does no harm.
  if (short === undefined) return quoted(`*${long}${equals}${explanation}`)
  return `'*'{${short},${long}${equals}}${quoted(explanation)}`
}

function argumentSpec({ name, required, variadic, value }: ArgumentNode): string {
  if (value.kind === 'command') return quoted('*:::command:_normal')
  const colon = required ? ':' : '::'
  return quoted(`${variadic ? '*' : ''}${colon}${escaped(name)}:${actionOf(value)}`)
}

function actionOf(value: ValueKind): string {
  switch (value.kind) {
    case 'choices':
      return `(${value.choices.join(' ')})`
    case 'file':
      return '_files'
    case 'directory':
      return '_files -/'
    case 'user':
      return '_users'
    case 'profile':
      return '_ikestream_profiles'
    case 'session':
      return '_ikestream_sessions'
    default:
      return ' '
  }
}

function escaped(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, String.raw`\$&`)
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}
