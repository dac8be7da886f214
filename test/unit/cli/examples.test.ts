import { readdirSync, readFileSync } from 'node:fs'
import { copyFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readClusterFile } from '../../../src/cli/cluster-file.ts'
import { parseProfile } from '../../../src/cli/profile.ts'
import { silentLogger } from '../../../src/log.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

const folder = new URL('../../../examples/', import.meta.url)

describe('examples', () => {
  it.each(readdirSync(new URL('profiles/', folder)))('the profile %s is one', (name) => {
    const path = new URL(`profiles/${name}`, folder).pathname
    const profile = parseProfile(readFileSync(path, 'utf8'), path)
    expect(profile.server).toBe('vpn.example.com')
    expect(profile.values.size).toBeGreaterThan(3)
  })

  it.each(['left', 'right'])('the cluster file of the %s node is one', async (name) => {
    const directory = await scratchDirectory('example')
    const path = join(directory, `${name}.toml`)
    await copyFile(new URL(`ha-cluster/${name}.toml`, folder), path)
    await writeFile(join(directory, 'cluster.secret'), 'a secret that is long enough for two\n', {
      mode: 0o600
    })
    const { node, listen, peer } = await readClusterFile(path, silentLogger)
    expect(node).toBe(name)
    expect([listen.address, peer.address].sort()).toEqual(['198.18.0.1', '198.18.0.2'])
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
