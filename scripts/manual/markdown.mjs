/**
 * The part of Markdown that the manual's prose is written in, as blocks: headings, paragraphs, code, tables of two columns, and the place
 * where the commands go.
 * @module
 */

/**
 * @typedef {{ kind: 'heading', level: number, text: string } | { kind: 'text', text: string } | { kind: 'code', lines: string[] }
 *   | { kind: 'table', rows: string[][] } | { kind: 'commands' }} Block
 */

/** @param {string} text @returns {Block[]} */
export function blocksOf(text) {
  return text.split(/\n{2,}(?=\S)/).map((chunk) => blockOf(chunk.trim()))
}

/** @param {string} chunk @returns {Block} */
function blockOf(chunk) {
  const heading = /^(#+) (.*)$/.exec(chunk)
  if (heading !== null) return { kind: 'heading', level: heading[1].length, text: heading[2] }
  if (chunk === '<!-- commands -->') return { kind: 'commands' }
  if (chunk.startsWith('```')) return { kind: 'code', lines: chunk.split('\n').slice(1, -1) }
  if (chunk.startsWith('|')) return { kind: 'table', rows: chunk.split('\n').map(cellsOf) }
  return { kind: 'text', text: chunk.replaceAll('\n', ' ') }
}

/** @param {string} line */
function cellsOf(line) {
  return line
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim())
}
