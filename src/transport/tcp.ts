/**
 * RFC 9329 over plain TCP.
 * @module
 */
import { type ConnectStreamOptions, connectStream } from './connect.ts'
import { StreamTransport } from './stream.ts'
import type { Transport } from './types.ts'

/**
 * Opens the connection and stays silent: nothing is sent, not even the prefix, before the first message.
 * @throws TransportError
 */
export async function openTcp(options: ConnectStreamOptions): Promise<Transport> {
  const connected = await connectStream(options)
  return new StreamTransport({ ...connected, kind: 'tcp', role: 'originator', faults: options.faults })
}
