import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseProfile } from '../../../src/cli/profile.ts'

const folder = new URL('../../../examples/', import.meta.url)

describe('examples', () => {
  it.each(readdirSync(new URL('profiles/', folder)))('the profile %s is one', (name) => {
    const path = new URL(`profiles/${name}`, folder).pathname
    const profile = parseProfile(readFileSync(path, 'utf8'), path)
    expect(profile.server).toBe('vpn.example.com')
    expect(profile.values.size).toBeGreaterThan(3)
  })

  it('every file is listed in their README', () => {
    const text = readFileSync(new URL('README.md', folder), 'utf8')
    const files = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== 'README.md')
      .map((entry) => entry.name)
    expect(files.length).toBeGreaterThan(0)
    for (const name of files) expect(text).toContain(name)
  })
})
