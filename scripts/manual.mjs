/**
 * Writes docs/CLI.md and man/ikestream.1 from what the compiled program knows of itself:
 *
 *     npm run manual
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { manPage, markdownPage } from './manual/pages.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const { buildProgram } = await import(join(ROOT, 'dist', 'cli', 'program.js'))
const { commandTree, leafCommands } = await import(join(ROOT, 'dist', 'cli', 'command-tree.js'))

const commands = leafCommands(commandTree(await buildProgram()))
const prose = readFileSync(join(ROOT, 'scripts', 'manual', 'prose.md'), 'utf8')
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
mkdirSync(join(ROOT, 'man'), { recursive: true })
writeFileSync(join(ROOT, 'docs', 'CLI.md'), markdownPage(commands, prose))
writeFileSync(join(ROOT, 'man', 'ikestream.1'), manPage(commands, prose, version))
