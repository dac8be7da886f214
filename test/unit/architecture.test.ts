import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { architectureViolations, importsOf, withoutComments } from '../support/architecture.ts'

/** What is wrong, the files that show it, and the sentence that must say so. */
type Breach = [what: string, files: Record<string, string>, sentence: string]

const ROOT = join(import.meta.dirname, '..', '..')

function sources(): Map<string, string> {
  const paths = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => `src/${path.replaceAll('\\', '/')}`)
    .sort()
  return new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]))
}

describe('the house', () => {
  it('keeps its rules', () => {
    const files = sources()
    expect(files.size).toBeGreaterThan(10)
    expect(architectureViolations(files)).toEqual([])
  })
})

describe('the check of the house', () => {
  const check = (files: Record<string, string>) => architectureViolations(new Map(Object.entries(files)))
  const empty = 'export {}'

  it('is content with imports that run downwards', () => {
    expect(
      check({
        'src/cli/a.ts': "import { b } from '../client/b.ts'",
        'src/client/b.ts': "import { readFile } from 'node:fs/promises'\nexport { c } from '../ike/c.ts'",
        'src/ike/c.ts': "import type { E } from '../errors.ts'\nimport { d } from '../crypto/d.ts'",
        'src/crypto/d.ts': "import { createHash } from 'node:crypto'",
        'src/errors.ts': empty
      })
    ).toEqual([])
  })

  const breaches: readonly Breach[] = [
    [
      'an import of a higher floor',
      { 'src/ike/a.ts': "import type { B } from '../client/b.ts'", 'src/client/b.ts': empty },
      'src/ike/a.ts (floor 2) imports src/client/b.ts (floor 4): imports run downwards only.'
    ],
    [
      'a re-export of a higher floor',
      { 'src/wire/a.ts': "export * from '../esp/b.ts'", 'src/esp/b.ts': empty },
      'src/wire/a.ts (floor 1) imports src/esp/b.ts (floor 2): imports run downwards only.'
    ],
    [
      'a dynamic import of a higher floor',
      { 'src/esp/a.ts': "const b = await import('../tun/b.ts')", 'src/tun/b.ts': empty },
      'src/esp/a.ts (floor 2) imports src/tun/b.ts (floor 3): imports run downwards only.'
    ],
    [
      'a folder without a floor',
      { 'src/util/a.ts': empty },
      'src/util/a.ts is on no floor: put it into a folder of the house, or give its folder a floor here.'
    ],
    [
      'a missing file',
      { 'src/ike/a.ts': "import './b.ts'" },
      'src/ike/a.ts imports src/ike/b.ts, which does not exist.'
    ],
    [
      'a circle of files',
      { 'src/ike/a.ts': "import './b.ts'", 'src/ike/b.ts': "import './a.ts'" },
      'A circle of files: src/ike/a.ts -> src/ike/b.ts -> src/ike/a.ts.'
    ],
    [
      'a circle of folders',
      {
        'src/wire/a.ts': "import '../crypto/b.ts'",
        'src/crypto/b.ts': empty,
        'src/crypto/c.ts': "import '../wire/d.ts'",
        'src/wire/d.ts': empty
      },
      'A circle of folders: src/wire -> src/crypto -> src/wire.'
    ],
    [
      'node: in an engine',
      { 'src/ike/a.ts': "import { randomInt } from 'node:crypto'" },
      'src/ike/a.ts imports node:crypto: floor 2 does without it, or takes it as an argument.'
    ],
    [
      'a package in a format',
      { 'src/wire/a.ts': "import koffi from 'koffi'" },
      'src/wire/a.ts imports koffi: floor 1 does without it, or takes it as an argument.'
    ],
    [
      'I/O in cryptography',
      { 'src/crypto/a.ts': "import { readFileSync } from 'node:fs'" },
      'src/crypto/a.ts imports node:fs: floor 1 does without it, or takes it as an argument.'
    ],
    ...(
      [
        ['Date.now()', 'Date.now'],
        ['new Date()', 'new Date()'],
        ['setTimeout(f, 1)', 'a timer'],
        ['Math.random()', 'Math.random'],
        ["console.error('x')", 'console'],
        ['process.hrtime()', 'process'],
        ['performance.now()', 'performance'],
        ['crypto.getRandomValues(b)', 'a random generator']
      ] as const
    ).map(
      ([code, name]): Breach => [
        `${code} in an engine`,
        { 'src/esp/a.ts': `const x = ${code}` },
        `src/esp/a.ts uses ${name}: time, chance and output belong to whoever drives the engine.`
      ]
    )
  ]

  it.each(breaches)('finds %s', (_what, files, sentence) => {
    expect(check(files)).toEqual([sentence])
  })

  it('is not misled by comments and strings', () => {
    const text = [
      "// import '../client/a.ts' and Date.now()",
      '/* setTimeout */',
      "const url = 'https://example.com' // console.log",
      "const hint = 'process.exit is not called'"
    ].join('\n')
    expect(check({ 'src/ike/a.ts': text })).toEqual([])
    expect(withoutComments("const a = 'b//c' // d")).toBe("const a = 'b//c'  ")
  })

  it('sees every form of import', () => {
    const code = [
      "import 'a'",
      "import b from 'b'",
      "import {\n  c,\n  type C\n} from 'c'",
      "import type * as d from 'd'",
      "export { e } from 'e'",
      "const f = await import('f')"
    ].join('\n')
    expect(importsOf(code).sort()).toEqual(['a', 'b', 'c', 'd', 'e', 'f'])
  })
})
