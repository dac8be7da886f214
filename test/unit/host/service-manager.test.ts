import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { childEnvironment } from '../../../src/host/commands.ts'
import { ServiceManager } from '../../../src/host/service-manager.ts'
import { NotifySocket } from '../../support/notify-socket.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

let folder: string
let socket: NotifySocket
beforeEach(async () => {
  folder = await scratchDirectory('notify')
  socket = new NotifySocket(join(folder, 'notify'))
})
afterEach(() => socket.close())

describe('telling the service manager', () => {
  it('reaches a socket at a path, in one line each', async () => {
    const manager = ServiceManager.fromEnvironment({ NOTIFY_SOCKET: socket.address })
    manager?.tell({ ready: true, status: 'Connected\nto\u001b\u0007gw\u2028.test' })
    manager?.tell({ watchdog: true })
    manager?.tell({ reloading: true })
    manager?.tell({ stopping: true })
    await socket.hears('STOPPING=1')
    expect(socket.lines).toEqual([
      ...['READY=1', 'STATUS=Connected to gw .test', 'WATCHDOG=1', 'RELOADING=1', 'STOPPING=1']
    ])
  })

  it('reaches a socket in the abstract namespace', async () => {
    const abstract = new NotifySocket(`@ikestream-test-${process.pid}`)
    ServiceManager.fromEnvironment({ NOTIFY_SOCKET: abstract.address })?.tell({ ready: true })
    await abstract.hears('READY=1')
    await abstract.close()
  })

  it('does no harm when nobody listens', () => {
    for (const path of [join(folder, 'nobody'), folder, '@nobody-listens-here'])
      ServiceManager.fromEnvironment({ NOTIFY_SOCKET: path })?.tell({ ready: true })
  })

  it('waits for a manager whose queue is full, but not with signs of life', async () => {
    const manager = ServiceManager.fromEnvironment({ NOTIFY_SOCKET: socket.address })
    // More than net.unix.max_dgram_qlen, while the test does not let the receiver have its turn.
    for (let count = 0; count < 2000; count++) manager?.tell({ watchdog: true })
    manager?.tell({ ready: true })
    await socket.hears('READY=1')
    expect(socket.count('WATCHDOG=1')).toBeLessThan(2000)
    expect(socket.lines.at(-1)).toBe('READY=1')
  })

  it.each([undefined, '', 'relative/path', 'vsock:2:1', `/${'x'.repeat(200)}`])(
    'is not possible at %j',
    (path) => expect(ServiceManager.fromEnvironment({ NOTIFY_SOCKET: path })).toBeUndefined()
  )

  it('is nobody else’s business: children do not find the socket', () => {
    const env = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: '1', WATCHDOG_PID: '1', HOME: '/' }
    expect(Object.keys(childEnvironment(env)).sort()).toEqual(['HOME', 'LC_ALL', 'PATH'])
    ServiceManager.fromEnvironment(env)
    expect(Object.keys(env)).toEqual(['HOME'])
  })
})

it('knows how often the manager wants to hear that it is alive', () => {
  const watchdogMs = (env: Record<string, string>) =>
    ServiceManager.fromEnvironment({ NOTIFY_SOCKET: socket.address, ...env })?.watchdogMs
  expect(watchdogMs({ WATCHDOG_USEC: '30000000' })).toBe(30_000)
  expect(watchdogMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: String(process.pid) })).toBe(30_000)
  expect(watchdogMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '1' })).toBeUndefined()
  for (const bad of ['0', '-1', 'soon', '']) expect(watchdogMs({ WATCHDOG_USEC: bad })).toBeUndefined()
  expect(watchdogMs({})).toBeUndefined()
})
