import { spawnSync } from 'node:child_process'
import { mkdir, readdir, rename, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { removeLeftovers, scratchFolder } from '../../../src/host/leftovers.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

it('takes away what belongs to nobody any more, and nothing else', async () => {
  const folder = await scratchDirectory('leftovers')
  const living = createServer()
  await new Promise<void>((resolve) => living.listen(join(folder, 'living.sock'), resolve))
  const dead = createServer()
  await new Promise<void>((resolve) => dead.listen(join(folder, 'dead.sock'), resolve))
  await rename(join(folder, 'dead.sock'), join(folder, 'kept'))
  await new Promise((resolve) => dead.close(resolve))
  await rename(join(folder, 'kept'), join(folder, 'dead.sock'))
  const { pid } = spawnSync('true')
  await mkdir(scratchFolder(folder, 'vpn.example.com'))
  await mkdir(join(folder, `gone.${pid}.exec`, 'services-0'), { recursive: true })
  await writeFile(join(folder, 'note'), '')
  await removeLeftovers(folder)
  expect((await readdir(folder)).sort()).toEqual(
    ['living.sock', 'note', `vpn.example.com.${process.pid}.exec`].sort()
  )
  await removeLeftovers(join(folder, 'nowhere'))
  living.close()
})
