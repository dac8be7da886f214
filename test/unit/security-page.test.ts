/** SECURITY.md names files; and each of its promises names the tests that show it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = join(import.meta.dirname, '..', '..')
const page = readFileSync(join(ROOT, 'SECURITY.md'), 'utf8')

function section(title: string): string {
  const [, behind = ''] = page.split(`\n## ${title}\n`)
  return behind.split('\n## ')[0] ?? ''
}

describe('SECURITY.md', () => {
  it('names no file that is not there', () => {
    const inText = [...page.matchAll(/`((?:src|test|examples|docs|bench)\/[^`\s]+)`/g)]
    const linked = [...page.matchAll(/\]\((?!https?:)([^)#]+)/g)]
    const named = [...inText, ...linked].map(([, path = '']) => path)
    expect(named.length).toBeGreaterThan(40)
    expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
  })

  it('says for each kind of promise which tests show it', () => {
    const promises = [...section('What is promised').matchAll(/^\*\*(.+)\*\*$/gm)].map(
      ([, title = '']) => title
    )
    const rows = section('How it is shown')
      .split('\n')
      .filter((line) => line.startsWith('| ') && line.includes('.test.ts'))
    expect(promises.length).toBeGreaterThan(5)
    for (const promise of promises)
      expect(
        rows.some((row) => row.startsWith(`| ${promise}`)),
        promise
      ).toBe(true)
  })

  it('names every test of an attack', () => {
    const files = readdirSync(join(ROOT, 'test/attacks')).filter((name) => name.endsWith('.test.ts'))
    expect(files.length).toBeGreaterThan(5)
    expect(files.filter((name) => !page.includes(`test/attacks/${name}`))).toEqual([])
  })
})
