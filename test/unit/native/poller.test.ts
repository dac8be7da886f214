import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import { checked, libc } from '../../../src/native/libc.ts'
import { AddressFamily, Errno, errnoName, SocketType } from '../../../src/native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../../../src/native/memory.ts'
import { pollerRoundTrip, type Watch, watch } from '../../../src/native/poller.ts'

const run = promisify(execFile)
/** Compiled modules, for child processes (`npm test` builds first). */
const built = (name: string) => fileURLToPath(new URL(`../../../dist/native/${name}`, import.meta.url))
const opened: number[] = []
const watches: Watch[] = []

function pair(): [number, number] {
  const buffer = nativeBuffer(8)
  const type = SocketType.STREAM | SocketType.NONBLOCK | SocketType.CLOEXEC
  checked('socketpair', libc().socketpair(AddressFamily.UNIX, type, 0, addressOf(buffer)))
  const ends: [number, number] = [buffer.readInt32LE(0), buffer.readInt32LE(4)]
  opened.push(...ends)
  return ends
}

function tracked(...parameters: Parameters<typeof watch>): Watch {
  const made = watch(...parameters)
  watches.push(made)
  return made
}

const scratch = nativeBuffer(64)
const send = (fd: number, length = 1) => libc().write(fd, addressOf(scratch), length)
const receive = (fd: number, length = 64) => libc().read(fd, addressOf(scratch), length)

afterEach(() => {
  for (const one of watches.splice(0)) one.close()
  for (const fd of opened.splice(0)) libc().close(fd)
})

describe('libc', () => {
  it('tells why a call failed', () => {
    expect(libc().open('/does/not/exist', 0)).toBe(-1)
    expect(errnoName(libc().errno())).toBe('ENOENT')
    expect(() => checked('open', libc().open('/does/not/exist', 0))).toThrow('open: ENOENT')
  })

  it('knows the loopback interface by name, and no interface by a wrong one', () => {
    expect(libc().ifNameToIndex('lo')).toBeGreaterThan(0)
    expect(libc().ifNameToIndex('no-such-if')).toBe(0)
  })

  it('gives addresses that respect the offset of a view', () => {
    const whole = nativeBuffer(32)
    expect(addressOf(whole.subarray(5)) - addressOf(whole)).toBe(5)
  })
})

describe('poller', () => {
  it('calls back when data arrives, and again until it has been read', async () => {
    const [left, right] = pair()
    const calls = await new Promise<number>((resolve) => {
      let count = 0
      tracked(right, { readable: true }, (readable, writable) => {
        expect([readable, writable]).toEqual([true, false])
        receive(right, 1)
        if (++count === 3) resolve(count)
      })
      send(left, 3)
    })
    expect(calls).toBe(3)
    expect(receive(right)).toBe(-1)
    expect(libc().errno()).toBe(Errno.EAGAIN)
  })

  it('tells of room for writing only while that is asked for', async () => {
    const [left, right] = pair()
    const big = nativeBuffer(1 << 20)
    while (libc().write(left, addressOf(big), big.length) > 0);
    const writable = new Promise<void>((resolve) => {
      const watched = tracked(left, { writable: true }, (_readable, ready) => {
        expect(ready).toBe(true)
        watched.modify({})
        resolve()
      })
    })
    while (libc().read(right, addressOf(big), big.length) > 0);
    await writable
  })

  it('stays silent while paused, even when the other end hangs up', async () => {
    const [left, right] = pair()
    const [otherLeft, otherRight] = pair()
    let paused = true
    const done = new Promise<void>((resolve) => {
      const watched = tracked(right, { readable: true }, () => {
        expect(paused).toBe(false)
        resolve()
      })
      watched.modify({})
      libc().close(left)
      opened.splice(opened.indexOf(left), 1)
      let rounds = 0
      tracked(otherRight, { readable: true }, () => {
        receive(otherRight)
        if (++rounds < 5) send(otherLeft)
        else {
          paused = false
          watched.modify({ readable: true })
        }
      })
      send(otherLeft)
    })
    await done
    expect(receive(right)).toBe(0)
  })

  it('does not call a watch that another callback of the same batch closed', async () => {
    const first = pair()
    const second = pair()
    let calls = 0
    const called = new Promise<void>((resolve) => {
      const both: Watch[] = []
      for (const [, right] of [first, second])
        both.push(
          tracked(right, { readable: true }, () => {
            calls++
            for (const one of both) one.close()
            setImmediate(resolve)
          })
        )
      send(first[0])
      send(second[0])
    })
    await called
    expect(calls).toBe(1)
  })

  it('lets the process end when nothing is watched any more, and on process.exit while something is', async () => {
    const script = (end: string) => `
      import { libc } from ${JSON.stringify(built('libc.js'))}
      import { watch } from ${JSON.stringify(built('poller.js'))}
      import { addressOf, nativeBuffer } from ${JSON.stringify(built('memory.js'))}
      const buffer = nativeBuffer(8)
      libc().socketpair(1, 1 | 0o4000, 0, addressOf(buffer))
      const watched = watch(buffer.readInt32LE(0), { readable: true }, () => {})
      setTimeout(() => { console.log('ending'); ${end} }, 20)`
    for (const end of ['watched.close()', 'process.exit(3)']) {
      const child = run(process.execPath, ['--input-type=module', '-e', script(end)])
      const { stdout, code } = await child.then(
        (result) => ({ stdout: result.stdout, code: 0 }),
        (error: { stdout: string; code: number }) => error
      )
      expect({ stdout, code }).toEqual({ stdout: 'ending\n', code: end.startsWith('process') ? 3 : 0 })
    }
  })

  it('answers whoever asks whether it is alive, whether it waits, is busy, or has nothing to watch', async () => {
    await pollerRoundTrip()
    const [left, right] = pair()
    const watched = tracked(right, { readable: true }, () => undefined)
    await pollerRoundTrip()
    // It is called again and again, since nobody reads.
    send(left)
    await pollerRoundTrip()
    await Promise.all([pollerRoundTrip(), pollerRoundTrip()])
    watched.close()
    await pollerRoundTrip()
  })
})
