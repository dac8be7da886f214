/**
 * Text for man(7), such that every implementation shows it as it was written.
 * @module
 */

/** @type {Readonly<Record<string, string>>} */
const CHARACTERS = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
  '"': '\\(dq'
}

/** @param {string} text @returns {string} one line */
export function escaped(text) {
  const plain = text
    .replaceAll(/[\\'`^~"-]/g, (character) => CHARACTERS[character])
    .replaceAll(
      /[^\x20-\x7e]/g,
      (character) => `\\[u${character.codePointAt(0).toString(16).padStart(4, '0')}]`
    )
  // A full stop at the beginning of a line would be a request.
  return plain.startsWith('.') ? `\\&${plain}` : plain
}

/** @param {string} text with `code` in it @returns {string} one line */
export function formatted(text) {
  return text
    .replaceAll('\\|', '|')
    .split('`')
    .map((part, index) => (index % 2 === 0 ? escaped(part) : `\\fB${escaped(part)}\\fR`))
    .join('')
}
