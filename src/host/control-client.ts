/**
 * The asking side of control sockets: for `ikestream status` and `ikestream disconnect`.
 * @module
 */
import { connect, type Socket } from 'node:net'
import { SystemError, TemporaryError } from '../errors.ts'
import { withSocketPath } from './control-path.ts'
import { type ControlRequest, MAX_ANSWER_BYTES, parseAnswer, requestLine } from './control-protocol.ts'

/** @throws the system's error: ENOENT, ECONNREFUSED (nobody listens any more), EACCES */
export function connectControl(path: string): Promise<Socket> {
  return withSocketPath(
    path,
    (short) =>
      new Promise((resolve, reject) => {
        const socket = connect(short)
        socket.once('error', reject)
        socket.once('connect', () => {
          socket.off('error', reject)
          resolve(socket)
        })
      })
  )
}

/** A session that hung up has ended, or had no time for us at that moment: asked again, it says which. */
const ATTEMPTS = 3
const PAUSE_MS = 50

/**
 * Asks one thing of the session behind a socket.
 * @returns its answer, or undefined: no session is there
 * @throws what the session answered; TemporaryError when it does not answer in time, SystemError when the socket is closed to us
 */
export async function askSession(path: string, request: ControlRequest, timeoutMs: number): Promise<unknown> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    const socket = await connectIfThere(path)
    if (socket === undefined) return undefined
    const line = await answerLine(socket, request, timeoutMs)
    if (line !== undefined) return parseAnswer(line)
  }
  throw new TemporaryError('control-refused', 'The session hangs up without an answer.', {
    hint: 'Only the user who started it, and root, can ask it.'
  })
}

async function connectIfThere(path: string): Promise<Socket | undefined> {
  try {
    return await connectControl(path)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR') return undefined
    throw new SystemError('control-socket', `The control socket ${path} cannot be used (${code}).`, { cause })
  }
}

/** @returns undefined when the session hung up: it has ended in between */
function answerLine(socket: Socket, request: ControlRequest, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => {
      reject(
        new TemporaryError('control-timeout', `The session did not answer within ${timeoutMs / 1000} s.`)
      )
      socket.destroy()
    }, timeoutMs)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => {
      clearTimeout(timer)
      resolve(undefined)
    })
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const end = text.indexOf('\n')
      if (end >= 0) resolve(text.slice(0, end))
      if (end >= 0 || text.length > MAX_ANSWER_BYTES) socket.destroy()
    })
    socket.write(requestLine(request))
  })
}
