/**
 * Completion for bash. Needs nothing but bash 4 itself.
 * @module
 */
import type { CommandNode, OptionNode, ValueKind } from '../command-tree.ts'
import { leafCommands } from '../command-tree.ts'
import { NAMES_COMMAND } from './hidden-command.ts'

/** @param tree the whole program */
export function bashScript(tree: CommandNode): string {
  const leaves = leafCommands(tree)
  const nested = tree.commands.filter(({ commands }) => commands.length > 0)
  const words = [...tree.commands.map(({ name }) => name), 'help', '--help', '--version'].join(' ')
  return `# bash completion for ikestream; load it with: source <(ikestream completion bash)
_ikestream_names() {
  ikestream ${NAMES_COMMAND} "$1" 2>/dev/null
}

_ikestream() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} first=2
  local command=\${COMP_WORDS[1]} options='' valued='' kind='' position=0 i
  COMPREPLY=()
  # bash makes three words of --option=value.
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]]; then
    prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '${words}' -- "$cur")
    return
  fi
  case $command in
${nested.map(nestedCase).join('\n')}
    help)
      ((COMP_CWORD == 2)) && mapfile -t COMPREPLY < <(compgen -W '${words}' -- "$cur")
      return
      ;;
  esac
  case $command in
${leaves.map(optionsCase).join('\n')}
  esac
  for ((i = first; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      --) continue ;;
      =) ((i++)) ;;
      -*) [[ " $valued " == *" \${COMP_WORDS[i]} "* && \${COMP_WORDS[i+1]} != '=' ]] && ((i++)) ;;
      *) ((position++)) ;;
    esac
  done
  if [[ $prev == -* && -z $kind && " $valued " == *" $prev "* ]]; then
    kind=nothing
  fi
  if [[ -z $kind && $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    return
  fi
  if [[ -z $kind ]]; then
    case "$command/$position" in
${leaves.flatMap(argumentCases).join('\n')}
    esac
  fi
  case $kind in
    profile | session)
      mapfile -t COMPREPLY < <(compgen -W "$(_ikestream_names "$kind")" -- "$cur")
      [[ $kind == profile && $cur == */* ]] && mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      ;;
    file) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); compopt -o filenames 2>/dev/null ;;
    directory) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); compopt -o filenames 2>/dev/null ;;
    user) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
    command) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
    choices:*) mapfile -t COMPREPLY < <(compgen -W "\${kind#choices:}" -- "$cur") ;;
  esac
}
complete -F _ikestream ikestream
`
}

function nestedCase({ name, commands }: CommandNode): string {
  const words = commands.map((command) => command.name).join(' ')
  return `    ${name})
      if ((COMP_CWORD == 2)); then
        mapfile -t COMPREPLY < <(compgen -W '${words}' -- "$cur")
        return
      fi
      command="$command \${COMP_WORDS[2]}" first=3
      ;;`
}

function optionsCase({ path, options }: CommandNode): string {
  const names = options.flatMap(namesOf)
  const valued = options.filter(({ takes }) => takes === 'value')
  return `    '${path}')
      options='${names.join(' ')}'
      valued='${valued.flatMap(namesOf).join(' ')}'
      case $prev in
${valued
  .filter(({ value }) => value.kind !== 'nothing')
  .map(valueCase)
  .join('\n')}
      esac
      ;;`
}

function valueCase(option: OptionNode): string {
  return `        ${namesOf(option).join(' | ')}) kind='${kindText(option.value)}' ;;`
}

function argumentCases({ path, arguments: args }: CommandNode): string[] {
  return args.map((argument, index) => {
    const kind = kindText(argument.value)
    const cases = [`      '${path}/${index}') kind='${kind}' ;;`]
    if (argument.variadic) cases.push(`      '${path}/'*) kind=file ;;`)
    return cases.join('\n')
  })
}

function kindText(value: ValueKind): string {
  return value.kind === 'choices' ? `choices:${value.choices.join(' ')}` : value.kind
}

function namesOf({ short, long }: OptionNode): string[] {
  return short === undefined ? [long] : [short, long]
}
