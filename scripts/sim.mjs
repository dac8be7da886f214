/**
 * `npm run sim`: bundles the simulation, which is TypeScript, into one file and runs it with the same arguments.
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'rolldown'

const root = fileURLToPath(new URL('..', import.meta.url))
// Beside the packages that it imports.
const directory = join(root, 'node_modules', '.cache', 'ikestream-sim')

await build({
  input: { main: join(root, 'test', 'sim', 'main.ts') },
  platform: 'node',
  external: ['koffi', 'node-forge', /^@noble\//],
  logLevel: 'warn',
  transform: { target: 'node20.19' },
  output: { dir: directory, format: 'esm', sourcemap: true, entryFileNames: '[name].mjs' }
})

const main = join(directory, 'main.mjs')
const child = spawn(process.execPath, ['--enable-source-maps', main, ...process.argv.slice(2)], {
  stdio: 'inherit'
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', (code) => {
  process.exitCode = code ?? 1
})
