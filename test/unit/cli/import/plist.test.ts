import { describe, expect, it } from 'vitest'
import { parsePlist } from '../../../../src/cli/import/plist.ts'
import { DataError } from '../../../../src/errors.ts'
import { plistOf } from '../../../support/import-fixtures.ts'

const parse = (text: string) => parsePlist(Buffer.from(text))
const inPlist = (text: string) => parse(`<plist version="1.0">${text}</plist>`)

function refusal(text: string): string {
  try {
    parse(text)
  } catch (error) {
    if (error instanceof DataError) return error.message
    throw error
  }
  throw new Error('it was taken')
}

describe('a property list', () => {
  it('gives back what was written into it', () => {
    const value = parse(
      plistOf({
        text: 'a < b & c',
        number: -12,
        yes: true,
        no: false,
        list: [1, 'x'],
        bytes: Uint8Array.of(1, 2, 255)
      })
    )
    expect(value).toEqual(
      new Map<string, unknown>([
        ['text', 'a < b & c'],
        ['number', -12],
        ['yes', true],
        ['no', false],
        ['list', [1, 'x']],
        ['bytes', Uint8Array.of(1, 2, 255)]
      ])
    )
  })

  it.each<[string, unknown]>([
    ['<string>a&#65;&#x1F600;&apos;</string>', "aA😀'"],
    ['<string><![CDATA[<a>&amp;]]>b</string>', '<a>&amp;b'],
    ['<string>a<!-- not shown -->b</string>', 'ab'],
    ['<string/>', ''],
    ['<dict/>', new Map()],
    ['<array></array>', []],
    ['<true></true>', true],
    ['<real>1.5e3</real>', 1500],
    ['<integer>0x1f</integer>', 31],
    ['<date>2026-01-01T00:00:00Z</date>', '2026-01-01T00:00:00Z'],
    [
      '<dict><key>__proto__</key><dict><key>a</key><true/></dict></dict>',
      new Map([['__proto__', new Map([['a', true]])]])
    ]
  ])('%s', (text, value) => {
    expect(inPlist(text)).toEqual(value)
  })

  it('may begin with a byte order mark and end with a comment', () => {
    expect(parse('\ufeff<?xml version="1.0"?>\n<!-- a -->\n<plist><true/></plist>\n<!-- b -->\n')).toBe(true)
  })
})

describe('a property list that is none, or hostile', () => {
  const nested = (depth: number) => `<plist>${'<array>'.repeat(depth)}${'</array>'.repeat(depth)}</plist>`
  const laughs = `<!DOCTYPE plist [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><plist><string>&b;</string></plist>`

  it.each<[string, string, RegExp]>([
    ['entities that stand for more entities', laughs, /DOCTYPE is more than/],
    ['an external entity', '<!DOCTYPE plist [<!ENTITY x SYSTEM "file:///etc/passwd">]><plist/>', /DOCTYPE/],
    ['a document type of another name', '<!DOCTYPE html><plist><true/></plist>', /DOCTYPE/],
    ['an unknown entity', '<plist><string>&x;</string></plist>', /entity .* \(line 1\)/],
    ['a character that XML does not allow', '<plist><string>&#0;</string></plist>', /character reference/],
    ['half of a surrogate pair', '<plist><string>&#xD800;</string></plist>', /character reference/],
    ['a zero byte', '<plist><string>a\0b</string></plist>', /characters that XML does not allow/],
    ['more depth than anything real', nested(40), /nested more than 32 deep/],
    ['very much depth', nested(200_000), /nested more than 32 deep/],
    ['a key twice', '<plist><dict><key>a</key><true/><key>a</key><false/></dict></plist>', /twice/],
    ['a key without a value', '<plist><dict><key>a</key></dict></plist>', /value is missing/],
    ['a value without a key', '<plist><dict><true/></dict></plist>', /<key> is missing/],
    ['an unknown element', '<plist><script>x</script></plist>', /<script> is not an element/],
    ['attributes', '<plist><string a="b">x</string></plist>', /attributes/],
    ['a processing instruction', '<plist><?php x?><true/></plist>', /value is missing/],
    ['no end', '<plist><string>x', /<\/string> is missing/],
    ['a comment without an end', '<plist><!-- x', /--> is missing/],
    ['a section without an end', '<plist><string><![CDATA[x', /\]\]> is missing/],
    ['two values', '<plist><true/><true/></plist>', /<\/plist> is missing/],
    ['something behind it', '<plist><true/></plist><plist/>', /follows/],
    ['no number', '<plist><integer>12a</integer></plist>', /number/],
    ['an endless number', '<plist><real>1e999</real></plist>', /number/],
    ['no base64', '<plist><data>a$b=</data></plist>', /base64/],
    ['nothing', '', /there is no <plist>/]
  ])('%s is refused', (_, text, message) => {
    expect(refusal(text)).toMatch(message)
  })

  it('names the line', () => {
    expect(refusal('<plist>\n<dict>\n<key>a</key>\n<frue/>\n</dict></plist>')).toMatch(/\(line 4\)/)
  })

  it('is refused when it is not UTF-8', () => {
    expect(() => parsePlist(Buffer.from('<plist><string>\xff</string></plist>', 'latin1'))).toThrow(/UTF-8/)
  })

  it('takes no longer for megabytes of white space, comments and text', () => {
    const much = ' '.repeat(1 << 20)
    expect(inPlist(`<string>${'<!-- -->'.repeat(100_000)}${much}<!--${much}--></string>`)).toBe(much)
  })
})
