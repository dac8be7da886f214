/**
 * A session's control socket: answers `ikestream status` and does what `ikestream disconnect` asks.
 *
 * Only the user who started the session can use it, and root: the folder is 0700, the socket 0600, and the kernel's word on who
 * connected is checked too. Everything is bounded: connections, lines, and how long a connection may be idle. It never keeps
 * the process alive.
 * @module
 */
import { chmod, rename, rm, stat } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { IkestreamError, InternalError, SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { draftPath } from './atomic-file.ts'
import { connectControl } from './control-client.ts'
import { controlPath, withSocketPath } from './control-path.ts'
import {
  type ControlRequest,
  errorLine,
  MAX_REQUEST_BYTES,
  parseRequest,
  resultLine
} from './control-protocol.ts'
import { ensurePrivateDirectory } from './directories.ts'
import { type PeerCredentials, peerCredentials } from './peer-credentials.ts'

/** More at a time are turned away: each `status` needs one, for some milliseconds. */
const MAX_CONNECTIONS = 16
/** Whoever asks nothing for this long is hung up on. */
const IDLE_TIMEOUT_MS = 10_000
/** At the end, answers that are still on their way have this long. */
const CLOSE_TIMEOUT_MS = 1_000

export interface ControlServerOptions {
  /** The runtime folder; made if need be. */
  readonly directory: string
  readonly sessionName: string
  readonly log: Logger
  /**
   * Does what is asked; what it rejects with is answered as an error.
   * @param closing resolves when the session is over and its socket gone
   */
  readonly handle: (request: ControlRequest, closing: Promise<void>) => Promise<unknown>
  /** Who is at the other end; found out from the kernel. */
  readonly credentials?: (socket: Socket) => PeerCredentials | undefined
}

export class ControlServer {
  readonly path: string
  readonly #options: ControlServerOptions
  readonly #server: Server
  /** Whoever started the session; `--setuid` changes nothing about that. */
  readonly #owner = process.getuid?.() ?? 0
  readonly #connections = new Map<Socket, { answering: Promise<void> }>()
  #inode: number | undefined
  #announceClosing: () => void = () => undefined
  readonly #closing = new Promise<void>((resolve) => {
    this.#announceClosing = resolve
  })

  private constructor(options: ControlServerOptions) {
    this.#options = options
    this.path = controlPath(options.directory, options.sessionName)
    this.#server = createServer((socket) => this.#accept(socket))
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.unref()
  }

  /**
   * Listens. A socket that nobody listens on any more is replaced.
   * @throws SystemError `session-running` when somebody does, or when the folder or the socket cannot be made
   */
  static async open(options: ControlServerOptions): Promise<ControlServer> {
    await ensurePrivateDirectory(options.directory)
    const server = new ControlServer(options)
    await server.#refuseRunning()
    try {
      await server.#listen()
    } catch (cause) {
      server.#server.close()
      throw new SystemError('control-socket', `The control socket ${server.path} cannot be made: ${cause}`, {
        cause
      })
    }
    return server
  }

  /** The session is over: no new connections, waiting answers are given, and the socket is gone. Never rejects. */
  async close(): Promise<void> {
    await this.#remove()
    this.#server.close()
    this.#announceClosing()
    await Promise.all([...this.#connections].map(([socket, { answering }]) => farewell(socket, answering)))
  }

  async #refuseRunning(): Promise<void> {
    const other = await connectControl(this.path).catch(() => undefined)
    if (other === undefined) return
    other.destroy()
    const { sessionName } = this.#options
    throw new SystemError('session-running', `The session ${sessionName} is running already.`, {
      hint: `End that one first: ikestream disconnect ${sessionName}`
    })
  }

  /** Under another name first, so that it has its final permissions when it appears. */
  async #listen(): Promise<void> {
    const draft = draftPath(this.path)
    try {
      await withSocketPath(draft, (path) => listening(this.#server, path))
      await chmod(draft, 0o600)
      this.#inode = (await stat(draft)).ino
      await rename(draft, this.path)
    } catch (error) {
      await rm(draft, { force: true })
      throw error
    }
  }

  /** Somebody else may have made another of that name since. */
  async #remove(): Promise<void> {
    try {
      if ((await stat(this.path)).ino === this.#inode) await rm(this.path)
    } catch (error) {
      // After --setuid the folder may be closed to us: then it stays, and nobody listens there.
      this.#options.log.log('debug', 'The control socket stays behind', { error: String(error) })
    }
  }

  #accept(socket: Socket): void {
    socket.on('error', () => socket.destroy())
    const peer = (this.#options.credentials ?? peerCredentials)(socket)
    if (peer === undefined || (peer.uid !== this.#owner && peer.uid !== 0)) {
      this.#options.log.log('warn', 'Somebody else tried to use the control socket', { ...peer })
      socket.destroy()
      return
    }
    const connection = { answering: Promise.resolve() }
    this.#connections.set(socket, connection)
    socket.once('close', () => this.#connections.delete(socket))
    socket.unref()
    new LineReader(socket, (line) => {
      connection.answering = this.#answer(socket, line)
      return connection.answering
    })
  }

  async #answer(socket: Socket, line: string): Promise<void> {
    socket.setTimeout(0)
    const answer = await this.#answerTo(line)
    if (socket.destroyed) return
    socket.setTimeout(IDLE_TIMEOUT_MS)
    await new Promise<void>((resolve) => {
      socket.once('close', resolve)
      socket.write(answer, () => resolve())
    })
  }

  async #answerTo(line: string): Promise<string> {
    try {
      return resultLine(await this.#options.handle(parseRequest(line), this.#closing))
    } catch (error) {
      const known =
        error instanceof IkestreamError
          ? error
          : new InternalError('internal', `Something unexpected happened: ${error}.`, { cause: error })
      return errorLine(known)
    }
  }
}

/** Takes one line at a time: the next is read when the one before is answered. */
class LineReader {
  readonly #socket: Socket
  readonly #answer: (line: string) => Promise<void>
  #text = ''
  #busy = false

  constructor(socket: Socket, answer: (line: string) => Promise<void>) {
    this.#socket = socket
    this.#answer = answer
    socket.setEncoding('utf8')
    socket.setTimeout(IDLE_TIMEOUT_MS, () => socket.destroy())
    socket.on('data', (chunk: string) => {
      this.#text += chunk
      void this.#next()
    })
  }

  async #next(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    this.#socket.pause()
    for (;;) {
      const end = this.#text.indexOf('\n')
      if (Math.max(end, end < 0 ? this.#text.length : 0) > MAX_REQUEST_BYTES) {
        this.#socket.destroy()
        return
      }
      if (end < 0) break
      const line = this.#text.slice(0, end)
      this.#text = this.#text.slice(end + 1)
      await this.#answer(line)
    }
    this.#busy = false
    this.#socket.resume()
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** What is being answered is answered, within a bound. */
async function farewell(socket: Socket, answering: Promise<void>): Promise<void> {
  const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS)
  await Promise.race([answering, closed(socket)])
  socket.end()
  await closed(socket)
  clearTimeout(timer)
}

function closed(socket: Socket): Promise<void> {
  if (socket.closed) return Promise.resolve()
  return new Promise((resolve) => socket.once('close', () => resolve()))
}
