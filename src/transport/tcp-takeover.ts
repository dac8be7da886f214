/**
 * Takes a connected TCP socket over from Node: its descriptor is read and written directly from then on.
 *
 * Whatever Node does well stays with it: connecting with its deadlines, accepting, proxies, and being found by its owner. Its
 * socket object lives on as the one that others know, but reads and writes nothing. We work on a duplicate of the
 * descriptor, so that each side closes its own exactly once: were it the same number, Node might close it while we still use
 * it, and by then it may belong to something else. The connection ends when both are closed.
 *
 * Invariant: Node has stopped reading before the duplicate is first read, and what it had read by then is the `head`.
 * @module
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { descriptorOf } from '../native/descriptor.ts'
import { type Libc, libc, NativeUnavailableError } from '../native/libc.ts'
import { Errno, FileControl, MessageFlag, Shutdown } from '../native/libc-constants.ts'
import { type Facility, notInUse } from '../native/speedups.ts'
import type { DirectStream } from './direct-stream.ts'
import type { ReceiveMemory } from './receive-memory.ts'

export interface TakenOver {
  readonly stream: DirectStream
  /** Bytes of the stream that Node had read already. */
  readonly head: Uint8Array
}

/** The stream, or why it has to stay with Node. Node must have nothing left to write. */
export function takeOverTcp(stream: Duplex): TakenOver | Facility {
  const fd = descriptorOf(stream)
  if (!(stream instanceof Socket) || fd === undefined || stream.destroyed || stream.writableLength > 0)
    return notInUse('not a TCP connection with a descriptor')
  try {
    const copy = libc().fcntl(fd, FileControl.DUPFD_CLOEXEC, 0)
    if (copy < 0) return notInUse('the descriptor cannot be duplicated')
    return { stream: new TcpStream(copy, stream), head: stopReading(stream) }
  } catch (error) {
    if (error instanceof NativeUnavailableError) return notInUse(error.message)
    throw error
  }
}

/** What is used of Node's handle of a socket. */
interface ReadingHandle {
  readStop(): number
}

function stopReading(socket: Socket): Uint8Array {
  const head = drain(socket)
  ;(Reflect.get(socket, '_handle') as ReadingHandle).readStop()
  return head
}

/** Node hands out nothing more of this stream. @returns what it had read already */
export function drain(socket: Socket): Uint8Array {
  socket.pause()
  // Reading by hand tells them, too: they would hear of what is the head now.
  socket.removeAllListeners('data')
  // Paused or not, a stream of Node's reads ahead as soon as its buffer has room, also from a tick that is under way.
  socket._read = () => undefined
  const chunks: Buffer[] = []
  while (socket.readableLength > 0) chunks.push(socket.read() as Buffer)
  return Buffer.concat(chunks)
}

class TcpStream implements DirectStream {
  readonly unsent = false
  readonly pending = false
  more = false
  onGone: (() => void) | undefined
  readonly #libc: Libc = libc()
  readonly #socket: Socket
  #fd: number

  constructor(fd: number, socket: Socket) {
    this.#fd = fd
    this.#socket = socket
    // Its owner may destroy it; by itself it does nothing any more.
    socket.on('error', () => undefined)
    socket.once('close', () => {
      // Whoever waits for the descriptor has to stop before it is closed.
      this.onGone?.()
      this.destroy()
    })
  }

  get fd(): number {
    return this.#fd
  }

  read({ buffer, address }: ReceiveMemory, at = 0): number {
    if (this.#fd < 0) return -Errno.EBADF
    const room = buffer.length - at
    const count = this.#libc.recv(this.#fd, address + at, room, 0)
    this.more = count === room
    return count < 0 ? -this.#libc.errno() : count
  }

  write(address: number, length: number): number {
    if (this.#fd < 0) return -Errno.EBADF
    const count = this.#libc.send(this.#fd, address, length, MessageFlag.NOSIGNAL)
    return count < 0 ? -this.#libc.errno() : count
  }

  push(): number {
    return 0
  }

  end(): void {
    if (this.#fd >= 0) this.#libc.shutdown(this.#fd, Shutdown.WRITE)
  }

  destroy(): void {
    if (this.#fd < 0) return
    this.#libc.close(this.#fd)
    this.#fd = -1
    this.#socket.destroy()
  }

  describe(): undefined {}
}
