/**
 * One outgoing TCP connection.
 * @module
 */
import { connect, type Socket } from 'node:net'
import { abortedError, failureOf, systemCode, TransportError, transportError } from './failure.ts'

export interface ConnectSocketOptions {
  readonly host: string
  readonly port: number
  readonly localAddress: string | undefined
  readonly signal: AbortSignal | undefined
  readonly timeoutMs: number
  /** The far end, in an error's sentence. */
  readonly what: string
}

/** One TCP connection with Nagle's algorithm off. @throws TransportError */
export function connectSocket(options: ConnectSocketOptions): Promise<Socket> {
  const { host, port, localAddress, signal, timeoutMs, what } = options
  if (signal?.aborted === true) return Promise.reject(abortedError(what))
  return new Promise((resolve, reject) => {
    const local = localAddress === undefined ? {} : { localAddress }
    const socket = connect({ host, port, noDelay: true, ...local })
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect)
    }
    const fail = (error: TransportError) => {
      settle()
      socket.destroy()
      reject(error)
    }
    const onConnect = () => {
      settle()
      resolve(socket)
    }
    const onAbort = () => fail(abortedError(what))
    const timer = setTimeout(
      () => fail(new TransportError('timeout', `${what} did not answer within ${timeoutMs / 1000} s`)),
      timeoutMs
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.once('connect', onConnect)
    // Stays: an error between this and the next owner's listener must not end the process.
    socket.on('error', (error) => fail(transportError(failureOf(systemCode(error), what), error)))
  })
}
