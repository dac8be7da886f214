/**
 * docs/CLI.md and man/ikestream.1, made of the same prose and the same commands and options.
 *
 * An option that a later command shares with an earlier one, word for word, is explained there once and named again.
 * @module
 */
import { blocksOf } from './markdown.mjs'
import { escaped, formatted } from './roff.mjs'

/** @typedef {import('../../src/cli/command-tree.ts').CommandNode} CommandNode */
/** @typedef {import('../../src/cli/command-tree.ts').OptionNode} OptionNode */
/** @typedef {{ from: string, options: OptionNode[] }} Shared options that another command has explained */

/** Every command has it. */
const HELP = '--help'

/**
 * @param {readonly CommandNode[]} commands
 * @returns {{ command: CommandNode, groups: [string, OptionNode[]][], shared: Shared[] }[]}
 */
function explained(commands) {
  const known = new Map()
  return commands.map((command) => {
    const groups = new Map()
    const shared = new Map()
    for (const option of command.options) {
      if (option.long === HELP) continue
      const key = JSON.stringify({ ...option, group: undefined })
      const from = known.get(key)
      if (from === undefined) known.set(key, command.path)
      const [map, name] = from === undefined ? [groups, option.group] : [shared, from]
      map.set(name, [...(map.get(name) ?? []), option])
    }
    return {
      command,
      groups: [...groups],
      shared: [...shared].map(([from, options]) => ({ from, options }))
    }
  })
}

/** @param {CommandNode} command */
function usage({ path, arguments: args }) {
  const names = args.map(({ name, required, variadic }) => {
    const text = `${name}${variadic ? '...' : ''}`
    return required ? `<${text}>` : `[${text}]`
  })
  return ['ikestream', path, '[options]', ...names].join(' ')
}

/** @param {OptionNode} option */
function notes({ value, default: preset, variable }) {
  return [
    ...(value.kind === 'choices' ? [`one of ${value.choices.join(', ')}`] : []),
    ...(preset === undefined ? [] : [`default: ${preset}`]),
    ...(variable === undefined ? [] : [`environment: ${variable}`])
  ].join('; ')
}

/** @param {string} text */
function sentence(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`
}

// ---- Markdown

/** @param {readonly CommandNode[]} commands @param {string} prose @returns {string} docs/CLI.md */
export function markdownPage(commands, prose) {
  const parts = blocksOf(prose).map((block) => {
    switch (block.kind) {
      case 'heading':
        return `${'#'.repeat(block.level)} ${block.text}`
      case 'code':
        return ['```toml', ...block.lines, '```'].join('\n')
      case 'table':
        return block.rows.map((cells) => `| ${cells.map(withoutPadding).join(' | ')} |`).join('\n')
      case 'commands':
        return markdownCommands(commands)
      default:
        return block.text
    }
  })
  const note = '<!-- Made by "npm run manual" from src/cli and scripts/manual/prose.md. -->'
  return `${[...parts.slice(0, 1), note, ...parts.slice(1)].join('\n\n')}\n`
}

/** @param {string} cell */
function withoutPadding(cell) {
  return /^-+$/.test(cell) ? '---' : cell
}

/** @param {readonly CommandNode[]} commands */
function markdownCommands(commands) {
  const overview = commands.map(
    ({ path, description }) => `| [\`${path}\`](#${anchor(path)}) | ${description} |`
  )
  const sections = explained(commands).map(({ command, groups, shared }) =>
    [
      `### ${command.path}`,
      sentence(command.description),
      ['```text', usage(command), '```'].join('\n'),
      ...(command.arguments.length === 0 ? [] : [markdownArguments(command)]),
      ...groups.map(([group, options]) => markdownOptions(group, options)),
      ...shared.map(
        ({ from, options }) =>
          `As of \`${from}\`: ${options.map((option) => `\`${option.flags}\``).join(', ')}.`
      ),
      ...command.examples.map(({ line, says }) => `${sentence(says)}\n\n\`\`\`sh\n${line}\n\`\`\``)
    ].join('\n\n')
  )
  return ['## Commands', ['| command | does |', '| --- | --- |', ...overview].join('\n'), ...sections].join(
    '\n\n'
  )
}

/** @param {string} path */
function anchor(path) {
  return path.replaceAll(' ', '-')
}

/** @param {CommandNode} command */
function markdownArguments({ arguments: args }) {
  const rows = args.map(({ name, description }) => `| \`${name}\` | ${cell(description)} |`)
  return ['| argument | is |', '| --- | --- |', ...rows].join('\n')
}

/** @param {string} group @param {readonly OptionNode[]} options */
function markdownOptions(group, options) {
  const rows = options.map((option) => {
    const more = notes(option)
    return `| \`${option.flags}\` | ${cell(option.description)}${more === '' ? '' : `<br>${cell(more)}`} |`
  })
  return [`| ${group} | |`, '| --- | --- |', ...rows].join('\n')
}

/** @param {string} text */
function cell(text) {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('_', '\\_').replaceAll('*', '\\*')
}

// ---- man

/**
 * @param {readonly CommandNode[]} commands
 * @param {string} prose
 * @param {string} version
 * @returns {string} man/ikestream.1
 */
export function manPage(commands, prose, version) {
  const [title, summary, ...rest] = blocksOf(prose)
  const lines = [
    '.\\" Made by "npm run manual" from src/cli and scripts/manual/prose.md.',
    `.TH IKESTREAM 1 "" "ikestream ${version}" "User Commands"`,
    '.SH NAME',
    `${escaped(title.text)} \\- ${escaped(summary.text)}`,
    '.SH SYNOPSIS',
    ...commands.flatMap((command) => [escaped(usage(command)), '.br']),
    ...rest.flatMap((block) => manBlock(block, commands))
  ]
  return `${lines.join('\n')}\n`
}

/** @param {import('./markdown.mjs').Block} block @param {readonly CommandNode[]} commands @returns {string[]} */
function manBlock(block, commands) {
  switch (block.kind) {
    case 'heading':
      return [`.SH ${escaped(block.text.toUpperCase())}`]
    case 'code':
      return ['.PP', '.RS 4', '.EX', ...block.lines.map(escaped), '.EE', '.RE']
    case 'table':
      return block.rows
        .slice(2)
        .flatMap(([first, ...others]) => ['.TP', formatted(first), formatted(others.join(' '))])
    case 'commands':
      return ['.SH COMMANDS', ...explained(commands).flatMap(manCommand)]
    default:
      return ['.PP', formatted(block.text)]
  }
}

/** @param {ReturnType<typeof explained>[number]} entry @returns {string[]} */
function manCommand({ command, groups, shared }) {
  return [
    `.SS ${escaped(usage(command))}`,
    escaped(sentence(command.description)),
    ...command.arguments.flatMap(({ name, description }) => [
      '.TP',
      `\\fI${escaped(name)}\\fR`,
      escaped(sentence(description))
    ]),
    ...groups.flatMap(([group, options]) => [
      '.PP',
      `\\fB${escaped(group)}\\fR`,
      ...options.flatMap(manOption)
    ]),
    ...shared.flatMap(({ from, options }) => [
      '.PP',
      `As of \\fB${escaped(from)}\\fR: ${options.map((option) => `\\fB${escaped(option.flags)}\\fR`).join(', ')}.`
    ]),
    ...(command.examples.length === 0 ? [] : ['.PP', '\\fBExamples\\fR']),
    ...command.examples.flatMap(({ line, says }) => ['.TP', escaped(line), escaped(sentence(says))])
  ]
}

/** @param {OptionNode} option @returns {string[]} */
function manOption(option) {
  const [, names = option.flags, value = ''] = /^([^<[]*?)\s*([<[].*)?$/.exec(option.flags) ?? []
  const more = notes(option)
  return [
    '.TP',
    `\\fB${escaped(names)}\\fR${value === '' ? '' : ` \\fI${escaped(value)}\\fR`}`,
    escaped(sentence(option.description)),
    ...(more === '' ? [] : ['.br', escaped(`(${more})`)])
  ]
}
