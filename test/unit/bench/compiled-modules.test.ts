/** Benches, scripts and test tools run compiled modules, which no compiler and no import checker follows. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { expect, it } from 'vitest'

const TOOLS = ['bench', 'scripts', 'examples', 'test/support']
const COMPILED = /'(\.{1,2}\/[^']*\/dist\/[^']+\.js)'/g

it('every compiled module that a tool names has a source', () => {
  const files = TOOLS.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.mjs'))
      .map((name) => join(folder, name))
  )
  const named = files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(COMPILED)].map(([, path = '']) => ({
      file,
      source: resolve(dirname(file), path).replace('/dist/', '/src/').replace(/\.js$/, '.ts')
    }))
  )
  expect(named.length).toBeGreaterThan(10)
  expect(named.filter(({ source }) => !existsSync(source))).toEqual([])
})
