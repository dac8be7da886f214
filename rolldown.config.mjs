/**
 * The bundle that `bin/ikestream.js` runs: the same program as the modules beside it in `dist/`, in a few files. Node spends more
 * time on finding and linking three hundred modules than a connection takes from there to its first packet.
 *
 * It is CommonJS, which Node loads without promises and threads. Nothing is minified: functions in a stack trace have the names of the
 * source, and with `node --enable-source-maps` so have files and lines.
 * @module
 */
import { defineConfig } from 'rolldown'

export default defineConfig({
  input: { main: 'src/cli/main.ts' },
  platform: 'node',
  // What is imported where it is used, and rarely needed; koffi is a library with native code.
  external: ['koffi', 'node-forge', 'ora', 'socks', /^@noble\//],
  transform: { target: 'node20.19' },
  output: {
    dir: 'dist/bundle',
    format: 'cjs',
    sourcemap: true,
    entryFileNames: '[name].cjs',
    chunkFileNames: '[name].cjs'
  }
})
