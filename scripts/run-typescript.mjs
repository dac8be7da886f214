/**
 * Runs a TypeScript program of this repository that is not part of the build: bundles it into node_modules/.cache and
 * imports what came out, since not every Node that we support reads TypeScript.
 *
 *     node scripts/run-typescript.mjs <entry.ts> [arguments]
 * @module
 */
import { rmSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { rolldown } from 'rolldown'

const [entry, ...rest] = process.argv.slice(2)
if (entry === undefined) throw new Error('usage: node scripts/run-typescript.mjs <entry.ts> [arguments]')
const root = join(import.meta.dirname, '..')
const dir = join(root, 'node_modules', '.cache', 'ikestream', `${basename(entry, '.ts')}-${process.pid}`)
const bundle = await rolldown({
  input: { main: resolve(entry) },
  platform: 'node',
  external: (id) => !id.startsWith('.') && !id.startsWith('/') && id !== 'main',
  transform: { target: 'node20.19' },
  logLevel: 'warn'
})
await bundle.write({
  dir,
  format: 'esm',
  sourcemap: true,
  entryFileNames: '[name].mjs',
  chunkFileNames: '[name].mjs'
})
await bundle.close()
process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
process.setSourceMapsEnabled(true)
process.argv = [process.argv[0], resolve(entry), ...rest]
await import(pathToFileURL(join(dir, 'main.mjs')).href)
