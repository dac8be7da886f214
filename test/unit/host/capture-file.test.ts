import { chmod, chown, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { SystemError } from '../../../src/errors.ts'
import { CaptureFile } from '../../../src/host/capture-file.ts'
import { silentLogger } from '../../../src/log.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

const HEAD = Uint8Array.of(1, 2, 3, 99)
const BODY = Uint8Array.from({ length: 60_000 }, (_, index) => index & 0xff)
const NOBODY = 65_534

let path: string
beforeEach(async () => {
  path = join(await scratchDirectory('capture'), 'out.pcap')
})

const open = (): CaptureFile => CaptureFile.open(path, silentLogger, () => 1_000_000_001.5)

/** The packets in the file. */
async function packets(): Promise<Buffer[]> {
  const bytes = await readFile(path)
  expect(bytes.readUInt32LE(0)).toBe(0xa1b2c3d4)
  const found: Buffer[] = []
  for (let at = 24; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8)
    found.push(bytes.subarray(at + 16, at + 16 + length))
    at += 16 + length
  }
  return found
}

describe('a capture file', () => {
  it('holds packets that are made of two pieces, in order', async () => {
    const file = open()
    file.packet(HEAD, 3, BODY, 10, 2)
    file.packet(HEAD, 0, BODY, 0, 1)
    file.close()
    expect(await packets()).toEqual([Buffer.of(1, 2, 3, 10, 11), Buffer.of(0)])
  })

  it('gathers packets in memory until it is asked', async () => {
    const file = open()
    file.packet(HEAD, 3, BODY, 0, 0)
    expect((await stat(path)).size).toBe(0)
    file.flush()
    expect(await packets()).toHaveLength(1)
    file.packet(HEAD, 3, BODY, 0, 0)
    file.close()
    expect(await packets()).toHaveLength(2)
  })

  it('holds more than its memory', async () => {
    const file = open()
    for (let count = 0; count < 100; count++) file.packet(HEAD, 3, BODY, count, BODY.length - 100)
    file.close()
    file.packet(HEAD, 3, BODY, 0, 1)
    file.close()
    const found = await packets()
    expect(found).toHaveLength(100)
    expect(found.map((packet) => packet[3])).toEqual(Array.from({ length: 100 }, (_, index) => index))
  })

  it('takes the place of an earlier one, and is its owner’s alone', async () => {
    await writeFile(path, 'x'.repeat(1000))
    await chmod(path, 0o644)
    open().close()
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(await packets()).toEqual([])
  })

  it('is not written through a symbolic link', async () => {
    const target = `${path}.target`
    await writeFile(target, 'precious')
    await symlink(target, path)
    expect(open).toThrow(SystemError)
    expect(await readFile(target, 'utf8')).toBe('precious')
  })

  it('is no folder, and in no folder that is not there', async () => {
    await mkdir(path)
    expect(open).toThrow(/cannot be used/)
    path = join(path, 'no', 'where')
    expect(open).toThrow(/ENOENT/)
  })

  it('is no device', () => {
    path = '/dev/null'
    expect(open).toThrow(/no regular file/)
  })

  it.skipIf(process.getuid?.() !== 0)('is not somebody else’s file, who could read it', async () => {
    await writeFile(path, 'theirs')
    await chown(path, NOBODY, NOBODY)
    expect(open).toThrow(/belongs to user 65534/)
    expect(await readFile(path, 'utf8')).toBe('theirs')
  })
})
