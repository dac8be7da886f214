import { chmod, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SystemError, TemporaryError } from '../../../src/errors.ts'
import { askSession, connectControl } from '../../../src/host/control-client.ts'
import { controlPath, listControlSockets, withSocketPath } from '../../../src/host/control-path.ts'
import { MAX_REQUEST_BYTES } from '../../../src/host/control-protocol.ts'
import { ControlServer, type ControlServerOptions } from '../../../src/host/control-server.ts'
import { type PeerCredentials, peerCredentials } from '../../../src/host/peer-credentials.ts'
import { silentLogger } from '../../../src/log.ts'
import { scratchDirectory } from '../../support/run-directory.ts'
import { waitUntil } from '../../support/wait-until.ts'

const TIMEOUT_MS = 10_000

let directory: string
let servers: ControlServer[]
beforeEach(async () => {
  directory = join(await scratchDirectory('control'), 'run')
  servers = []
})
afterEach(() => Promise.all(servers.map((server) => server.close())))

async function open(changes: Partial<ControlServerOptions> = {}): Promise<ControlServer> {
  const server = await ControlServer.open({
    directory,
    sessionName: 'work',
    log: silentLogger,
    handle: async (request) => ({ request }),
    ...changes
  })
  servers.push(server)
  return server
}

/** Everything that comes until the other end hangs up. */
function untilClosed(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    socket.on('error', () => undefined)
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    socket.once('close', () => resolve(text))
  })
}

/** What the server says to these bytes until it hangs up, or we do. */
async function say(path: string, bytes: string, { end = true } = {}): Promise<string> {
  const socket = await connectControl(path)
  const said = untilClosed(socket)
  if (end) socket.end(bytes)
  else socket.write(bytes)
  return said
}

describe('a control socket', () => {
  it('answers a question', async () => {
    const { path } = await open()
    expect(await askSession(path, 'status', TIMEOUT_MS)).toEqual({ request: 'status' })
  })

  it('answers several questions of one connection in order', async () => {
    let first = true
    const { path } = await open({
      handle: async (request) => {
        // The first answer takes longer than the second would.
        if (first) await new Promise((resolve) => setImmediate(resolve))
        first = false
        return request
      }
    })
    const socket = await connectControl(path)
    const said = untilClosed(socket)
    socket.write('{"version":1,"request":"status"}\n{"version":1,"request":"disc')
    socket.end('onnect"}\n')
    const answers = (await said).trim().split('\n')
    expect(answers.map((line) => JSON.parse(line))).toEqual([
      { version: 1, result: 'status' },
      { version: 1, result: 'disconnect' }
    ])
  })

  it('is in a folder and has a mode that keep others out', async () => {
    await mkdir(directory, { recursive: true })
    await chmod(directory, 0o755)
    const { path } = await open()
    expect((await stat(directory)).mode & 0o777).toBe(0o700)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(await readdir(directory)).toEqual(['work.sock'])
  })

  it('knows from the kernel who asks', async () => {
    const seen: (PeerCredentials | undefined)[] = []
    const { path } = await open({
      credentials: (socket) => {
        seen.push(peerCredentials(socket))
        return seen[0]
      }
    })
    await askSession(path, 'status', TIMEOUT_MS)
    expect(seen).toEqual([{ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() }])
  })

  it.each([
    ['another user', { pid: 1, uid: 4711, gid: 4711 }],
    ['somebody unknown', undefined]
  ])('hangs up on %s', async (_who, credentials) => {
    const { path } = await open({ credentials: () => credentials })
    expect(await say(path, '{"version":1,"request":"status"}\n', { end: false })).toBe('')
    await expect(askSession(path, 'status', TIMEOUT_MS)).rejects.toThrow(TemporaryError)
  })

  it('lets root ask', async () => {
    const { path } = await open({ credentials: () => ({ pid: 1, uid: 0, gid: 0 }) })
    expect(await askSession(path, 'status', TIMEOUT_MS)).toEqual({ request: 'status' })
  })

  it.each([
    ['what is no JSON', 'status', 'control-request', 65],
    ['JSON that is no request', '[1]', 'control-request', 65],
    ['another version', '{"version":2,"request":"status"}', 'control-version', 64],
    ['an unknown request', '{"version":1,"request":"dance"}', 'control-request', 64]
  ])('answers %s with an error', async (_what, line, code, exitCode) => {
    const { path } = await open()
    const answer = JSON.parse(await say(path, `${line}\n`))
    expect(answer).toMatchObject({ version: 1, error: { code, exitCode, message: expect.any(String) } })
  })

  it('hands on errors as what they are', async () => {
    const { path } = await open({
      handle: () => Promise.reject(new SystemError('no-luck', 'It did not work.', { hint: 'Try again.' }))
    })
    await expect(askSession(path, 'disconnect', TIMEOUT_MS)).rejects.toMatchObject({
      ...{ name: 'SystemError', code: 'no-luck', message: 'It did not work.', hint: 'Try again.' },
      exitCode: 71
    })
  })

  it.each([
    ['with', '\n'],
    ['without', '']
  ])('hangs up on a line without end, %s its end', async (_how, end) => {
    const { path } = await open()
    expect(await say(path, 'x'.repeat(MAX_REQUEST_BYTES + 1) + end, { end: false })).toBe('')
    expect(await askSession(path, 'status', TIMEOUT_MS)).toBeDefined()
  })

  it('serves a bounded number of connections at a time', async () => {
    const { path } = await open()
    const idle = await Promise.all(Array.from({ length: 16 }, () => connectControl(path)))
    await expect(askSession(path, 'status', TIMEOUT_MS)).rejects.toThrow(/hangs up/)
    for (const socket of idle) socket.destroy()
    await waitUntil('room', () =>
      askSession(path, 'status', TIMEOUT_MS).then(
        () => true,
        () => false
      )
    )
  })

  it('refuses the name of a session that runs', async () => {
    const first = await open()
    await expect(open()).rejects.toMatchObject({ code: 'session-running' })
    expect(await askSession(first.path, 'status', TIMEOUT_MS)).toBeDefined()
  })

  it('takes the place of a socket that nobody listens on', async () => {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const path = controlPath(directory, 'work')
    const dead = createServer()
    await new Promise<void>((resolve) => dead.listen(path, resolve))
    await leaveSocketBehind(dead, path)
    expect(await askSession(path, 'status', TIMEOUT_MS)).toBeUndefined()
    await open()
    expect(await askSession(path, 'status', TIMEOUT_MS)).toBeDefined()
  })

  it('is gone when the session is over, after the answer to whoever asked for that', async () => {
    let taken: () => void = () => undefined
    const isTaken = new Promise<void>((resolve) => {
      taken = resolve
    })
    const server = await open({
      handle: async (_request, closing) => {
        taken()
        await closing
        return { socketsLeft: await readdir(directory) }
      }
    })
    const idle = await connectControl(server.path)
    const hungUp = untilClosed(idle)
    const asked = askSession(server.path, 'disconnect', TIMEOUT_MS)
    await isTaken
    await server.close()
    expect(await asked).toEqual({ socketsLeft: [] })
    expect(await hungUp).toBe('')
    expect(await askSession(server.path, 'status', TIMEOUT_MS)).toBeUndefined()
  })

  it('leaves a socket alone that another session has made since', async () => {
    const first = await open()
    await rm(first.path)
    const second = await open()
    await first.close()
    expect(await askSession(second.path, 'status', TIMEOUT_MS)).toBeDefined()
  })

  it('works where its path is longer than the kernel takes', async () => {
    directory = join(directory, 'a'.repeat(100), 'b'.repeat(60))
    await mkdir(directory, { recursive: true })
    const { path } = await open()
    expect(path.length).toBeGreaterThan(107)
    expect(await askSession(path, 'status', TIMEOUT_MS)).toBeDefined()
    expect(await withSocketPath(path, async (short) => short.length)).toBeLessThan(107)
  })

  it('is found by the name of its session', async () => {
    await open()
    await open({ sessionName: 'vpn.example.com' })
    await mkdir(join(directory, 'no-socket'))
    expect(await listControlSockets(directory)).toEqual(['vpn.example.com', 'work'])
    expect(await listControlSockets(join(directory, 'nowhere'))).toEqual([])
  })

  it('cannot be made in a folder of somebody else', async () => {
    await expect(open({ directory: '/proc/self' })).rejects.toThrow(SystemError)
  })
})

/** As a killed process leaves it: nobody listens, the name is there. */
async function leaveSocketBehind(server: Server, path: string): Promise<void> {
  const kept = `${path}.kept`
  await rename(path, kept)
  await new Promise((resolve) => server.close(resolve))
  await rename(kept, path)
}
