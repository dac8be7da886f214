/**
 * Takes a connected stream over from Node, TCP or TLS, so that it is read and written directly; or says why that cannot be.
 * @module
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { isKnownTlsSuite, TlsRecordCipher } from '../crypto/tls-record-cipher.ts'
import { descriptorOf } from '../native/descriptor.ts'
import { NativeUnavailableError } from '../native/libc.ts'
import { evp } from '../native/libcrypto-evp.ts'
import { type Facility, IN_USE, notInUse, switchedOff } from '../native/speedups.ts'
import { drain, type TakenOver, takeOverTcp } from './tcp-takeover.ts'
import { TlsStream } from './tls-stream.ts'
import { TlsTap, tapOf } from './tls-tap.ts'

/** The stream, or why it has to stay with Node. Node must have nothing left to write. */
export function takeOver(stream: Duplex): TakenOver | Facility {
  const why = switchedOff('direct-streams')
  if (why !== undefined) return notInUse(why)
  if (!(stream instanceof TLSSocket)) return takeOverTcp(stream)
  const tap = tapOf(stream)
  if (tap === undefined) return notInUse('TLS of Node is in between')
  const taken = takeOverTls(stream, tap)
  if ('inUse' in taken) tap.pass()
  return taken
}

/** The stream will not be taken over: Node's TLS reads as fast as it can, and secrets are forgotten. */
export function leaveToNode(stream: Duplex): void {
  if (!(stream instanceof TLSSocket)) return
  const tap = tapOf(stream)
  tap?.takeSecrets()
  tap?.pass()
}

/** For `facts`. */
export function facilityOf(taken: TakenOver | Facility): Facility {
  return 'inUse' in taken ? taken : IN_USE
}

/** What Node is to do its TLS handshake over, so that the connection can be taken over afterwards. */
export function tapped(socket: Duplex, isServer: boolean): Duplex {
  if (switchedOff('direct-streams') !== undefined || switchedOff('libcrypto') !== undefined) return socket
  if (!(socket instanceof Socket) || socket instanceof TLSSocket || descriptorOf(socket) === undefined)
    return socket
  try {
    evp()
  } catch (error) {
    if (error instanceof NativeUnavailableError) return socket
    throw error
  }
  return new TlsTap(socket, isServer)
}

function takeOverTls(stream: TLSSocket, tap: TlsTap): TakenOver | Facility {
  const secrets = tap.takeSecrets()
  const suite = stream.getCipher()?.standardName ?? ''
  if (secrets === undefined || !isKnownTlsSuite(suite))
    return notInUse(`${stream.getProtocol()} with ${suite}`)
  const { sequences } = tap
  if (sequences === undefined || stream.destroyed || tap.writableLength > 0)
    return notInUse('a record was on its way just then')
  const [ours, theirs] = tap.isServer ? [secrets.server, secrets.client] : [secrets.client, secrets.server]
  const tcp = takeOverTcp(tap.socket)
  if ('inUse' in tcp) return tcp
  const keys = {
    reading: new TlsRecordCipher(suite, theirs, sequences.read, 'open'),
    writing: new TlsRecordCipher(suite, ours, sequences.written, 'seal')
  }
  const head = Buffer.concat([tap.release(), tcp.head])
  const direct = new TlsStream(tcp.stream, keys, head, {
    // A client keeps tickets, which only Node can make a session of.
    show: tap.isServer ? undefined : (record) => tap.show(record),
    over: () => setImmediate(() => stream.destroy())
  })
  return { stream: direct, head: drain(stream) }
}
