import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { KeyTables } from '../../../src/client/key-tables.ts'
import { childPair } from '../../support/esp-parameters.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

let place: string
beforeEach(async () => {
  place = await scratchDirectory('keys')
})
const [TABLE, OTHER] = ['esp_sa', 'ikev2_decryption_table']
const modeOf = async (path: string) => (await stat(path)).mode & 0o777

describe('key tables', () => {
  it('are made in a folder that only their owner can enter, and are theirs alone', async () => {
    const folder = join(place, 'deep', 'keys')
    new KeyTables(folder).addChild(childPair().left)
    expect(await modeOf(folder)).toBe(0o700)
    for (const name of await readdir(folder)) expect(await modeOf(join(folder, name))).toBe(0o600)
    expect((await readFile(join(folder, TABLE), 'utf8')).split('\n')).toHaveLength(5)
  })

  it('become their owner’s alone if they were there before, and keep what they hold', async () => {
    await writeFile(join(place, TABLE), 'earlier\n', { mode: 0o644 })
    new KeyTables(place)
    expect(await modeOf(join(place, TABLE))).toBe(0o600)
    expect(await readFile(join(place, TABLE), 'utf8')).toBe('earlier\n')
  })

  it('do not change the mode of a folder that was there, and shun one that others can write to', async () => {
    await chmod(place, 0o755)
    new KeyTables(place)
    expect(await modeOf(place)).toBe(0o755)
    const open = join(place, 'open')
    await mkdir(open)
    await chmod(open, 0o1777)
    expect(() => new KeyTables(open)).toThrow(/others can write there/)
    expect(await readdir(open)).toEqual([])
    expect((await stat(open)).mode & 0o7777).toBe(0o1777)
  })

  it('are not written through links', async () => {
    const victim = join(place, 'victim')
    await writeFile(victim, 'mine')
    await symlink(victim, join(place, OTHER))
    expect(() => new KeyTables(place)).toThrow(/ELOOP/)
    expect(await readFile(victim, 'utf8')).toBe('mine')
    await symlink(place, `${place}-link`)
    expect(() => new KeyTables(`${place}-link`)).toThrow()
  })
})
