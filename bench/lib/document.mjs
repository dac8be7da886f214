/**
 * Figures that stand in docs/PERFORMANCE.md.
 * @module
 */
import { readFileSync, writeFileSync } from 'node:fs'

const DOCUMENT = new URL('../../docs/PERFORMANCE.md', import.meta.url)

/** Puts text between the marks `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`. */
export function replaceInDocument(name, text) {
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`]
  const page = readFileSync(DOCUMENT, 'utf8')
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`docs/PERFORMANCE.md has no marks ${begin} and ${end}`)
  writeFileSync(DOCUMENT, `${page.slice(0, from + begin.length)}\n\n${text.trim()}\n\n${page.slice(to)}`)
}
