import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { parseUsers, readUsersFile } from '../../../src/gateway/users-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'ikestream-users-'))
afterAll(() => rmSync(directory, { recursive: true }))

const texts = (text: string): string[][] =>
  [...parseUsers(text, 'users')].map(([name, secret]) => [name, secret.revealText()])

describe('users file', () => {
  it('takes everything behind the first colon as the password', () => {
    expect(texts('alice:a:b c \n# nobody:x\n\nbob@test: pässwörd\r\n')).toEqual([
      ['alice', 'a:b c '],
      ['bob@test', ' pässwörd']
    ])
  })

  it.each([
    ['alice', 'line 1 has no name or no colon'],
    ['alice:x\nbob', 'line 2 has no name or no colon'],
    [':secret', 'line 1 has no name'],
    ['  :secret', 'line 1 has no name'],
    ['alice:', 'line 1 has no password'],
    ['alice:x\nalice:y', 'line 2 names a user a second time'],
    [`alice:${'x'.repeat(2000)}`, 'line 1 is too long'],
    ['# nobody', 'names no user']
  ])('refuses %j, and does not repeat it', (text, message) => {
    let said = ''
    try {
      parseUsers(text, 'users')
    } catch (error) {
      said = error instanceof Error ? error.message : ''
    }
    expect(said.toLowerCase()).toContain(message.split(' ').slice(2).join(' '))
    expect(said).not.toContain('secret')
  })

  it('is only read when nobody else can', async () => {
    const path = join(directory, 'users')
    writeFileSync(path, 'alice:secret\n')
    for (const mode of [0o644, 0o640, 0o604, 0o620]) {
      chmodSync(path, mode)
      await expect(readUsersFile(path)).rejects.toMatchObject({ code: 'file-not-private', exitCode: 78 })
    }
    chmodSync(path, 0o600)
    expect([...(await readUsersFile(path)).keys()]).toEqual(['alice'])
  })

  it('that is not there is an input error', async () => {
    await expect(readUsersFile(join(directory, 'none'))).rejects.toMatchObject({ exitCode: 66 })
  })
})
