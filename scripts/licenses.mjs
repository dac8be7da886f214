/**
 * Writes docs/LICENSES.md: what the package needs at run time, or holds in its bundle, under which licences. Reads the lock
 * file and what is installed:
 *
 *     node scripts/licenses.mjs
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LICENSE_FILE = /^(licen[cs]e|copying)(\.(md|txt))?$/i
/** Libraries of one package for one platform each, which have no licence file of their own. */
const PLATFORM_LIBRARY = /^@koromix\/koffi-/

/** @returns {{ name: string, version: string, license: string }[]} what `dependencies` leads to, each once, by name */
export function runtimePackages() {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'))
  const found = new Map()
  const visit = (from, names) => {
    for (const name of names) {
      const path = resolvePath(packages, from, name)
      if (path === undefined || found.has(path)) continue
      const { version, license, dependencies = {}, optionalDependencies = {} } = packages[path]
      found.set(path, { name, version, license })
      visit(path, [...Object.keys(dependencies), ...Object.keys(optionalDependencies)])
    }
  }
  visit('', Object.keys(packages[''].dependencies))
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** As Node looks for it: beside the one that needs it, then further up. */
function resolvePath(packages, from, name) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    const path = `${at === '' ? '' : `${at}/`}node_modules/${name}`
    if (packages[path] !== undefined) return path
    if (at === '') return undefined
  }
}

/** @returns {string} the page */
export function licensesPage() {
  const all = runtimePackages()
  const packages = all.filter(({ name }) => !PLATFORM_LIBRARY.test(name))
  const rows = packages.map(({ name, version, license }) => `| ${name} | ${version} | ${license} |`)
  const texts = packages.map(({ name }) => `## ${name}\n\n\`\`\`text\n${licenseText(name)}\n\`\`\``)
  return `${[
    '# Licences of what ikestream is built on',
    'ikestream itself is under the [MIT licence](../LICENSE). It needs these packages at run time; some of them are part of its bundle.',
    ['| package | version | licence |', '| --- | --- | --- |', ...rows].join('\n'),
    'koffi comes with a library for each platform (`@koromix/koffi-...`), under the same licence. node-forge is used under the BSD licence.',
    'Made by `node scripts/licenses.mjs` from the lock file and the packages themselves.',
    ...texts
  ].join('\n\n')}\n`
}

function licenseText(name) {
  const folder = join(ROOT, 'node_modules', name)
  const file = existsSync(folder) ? readdirSync(folder).find((entry) => LICENSE_FILE.test(entry)) : undefined
  if (file === undefined) throw new Error(`${name} is not installed, or brings no licence`)
  return readFileSync(join(folder, file), 'utf8')
    .replaceAll('\r\n', '\n')
    .replaceAll('```', "'''")
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
    .trim()
}

if (argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(ROOT, 'docs/LICENSES.md'), licensesPage())
