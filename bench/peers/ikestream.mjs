/**
 * ikestream, client and embedded gateway, over each of its transports.
 * @module
 */
import { readFileSync } from 'node:fs'
import { GATEWAY_ADDRESS } from '../compare/site.mjs'
import { GATEWAY_NAME, IKESTREAM } from '../lib/site.mjs'

const INNER_NETWORK = '10.99.0.0/24'

/** @type {readonly import('./types.mjs').Peer[]} */
export const ikestreamPeers = ['udp', 'tcp', 'tls'].map((transport) => ({
  name: `ikestream-${transport}`,
  label: `ikestream, ${transport.toUpperCase()}`,
  own: true,
  programs: [],
  /** The gateway's own address is the first of the pool. */
  innerAddress: '10.99.0.1',
  version: async () => `ikestream ${version()}, Node ${process.version}`,

  async startServer(site) {
    const { ca, server, serverKey } = site.credentials
    const program = site.start(
      'gateway',
      [
        ...[process.execPath, IKESTREAM, 'gateway', '--json', '--listen', GATEWAY_ADDRESS],
        ...['--identity', GATEWAY_NAME, '--certificate', server, '--sslkey', serverKey],
        ...['--client-cafile', ca, '--pool', INNER_NETWORK, '--local-ts', INNER_NETWORK]
      ],
      { IKESTREAM_STATE_DIR: site.path('ikestream-gateway') }
    )
    await program.printed(/"event":"listening"/)
    return { pids: [program.pid], stop: () => program.stop() }
  },

  async startClient(site) {
    const { ca, client, clientKey } = site.credentials
    const program = site.start(
      'client',
      [
        ...[process.execPath, IKESTREAM, 'connect', GATEWAY_ADDRESS, '--transport', transport],
        ...['--json', '--non-inter', '--no-dns', '--no-proxy', '--esp-proposal', 'aes128gcm16'],
        ...['--remote-identity', GATEWAY_NAME, '--cafile', ca, '--no-system-trust'],
        ...['--certificate', client, '--sslkey', clientKey]
      ],
      { IKESTREAM_STATE_DIR: site.path('ikestream-client') }
    )
    return { program, pids: [program.pid], stop: () => program.stop() }
  }
}))

function version() {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version
}
