import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, expect, it } from 'vitest'

/** Compiled modules (`npm test` builds first). */
const BUILT = fileURLToPath(new URL('../../../dist/', import.meta.url))
let folder: string | undefined

afterEach(async () => {
  if (folder !== undefined) await rm(folder, { recursive: true })
})

it('imports without koffi, and says what is missing when it is first used', async () => {
  folder = await mkdtemp(join(tmpdir(), 'ikestream-native-'))
  for (const part of ['native', 'tun', 'wire', 'errors.js'])
    await cp(join(BUILT, part), join(folder, part), { recursive: true })
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  await writeFile(
    join(folder, 'main.js'),
    `import { libc } from './native/libc.js'
     import { watch } from './native/poller.js'
     import { evp } from './native/libcrypto-evp.js'
     import { openTun } from './tun/tun-device.js'
     const failure = (action) => { try { action() } catch (error) { return [error.constructor.name, error.code, error.hint !== undefined] } }
     console.log(JSON.stringify([failure(libc), failure(() => watch(0, {}, () => {})), failure(evp), failure(openTun)]))`
  )
  const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'main.js')])
  const unavailable = ['NativeUnavailableError', 'native-unavailable', true]
  expect(JSON.parse(stdout)).toEqual([
    unavailable,
    unavailable,
    unavailable,
    ['SystemError', 'native-unavailable', true]
  ])
})
