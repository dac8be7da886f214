/**
 * openconnect with ocserv: over TLS alone, and with DTLS for the packets; AES-128-GCM.
 * @module
 */
import { GATEWAY_ADDRESS } from '../compare/site.mjs'
import { GATEWAY_NAME } from '../lib/site.mjs'
import { firstLine } from './versions.mjs'

const PORT = 443
const NETWORK = '10.69.0.0/24'
const DEVICE = 'oc-client'

/** What openconnect calls once the server has answered: addresses and routes, nothing else. */
const SCRIPT = `#!/bin/sh
[ "$reason" = connect ] || exit 0
ip link set "$TUNDEV" mtu "$INTERNAL_IP4_MTU" up
ip addr add "$INTERNAL_IP4_ADDRESS/32" dev "$TUNDEV"
ip route add ${NETWORK} dev "$TUNDEV"
`

/** @type {readonly import('./types.mjs').Peer[]} */
export const openconnectPeers = ['tls', 'dtls'].map((transport) => ({
  name: `openconnect-${transport}`,
  label: `openconnect, ${transport.toUpperCase()}`,
  own: false,
  programs: ['openconnect', 'ocserv'],
  innerAddress: '10.69.0.1',
  version: async () => `${firstLine(['openconnect', '--version'])}, ${firstLine(['ocserv', '--version'])}`,

  async startServer(site) {
    const config = site.file('ocserv.conf', serverConfig(site, transport))
    const program = site.start('gateway', ['ocserv', '--foreground', '--debug', '1', '--config', config])
    await program.until('listen', async () => {
      const sockets = await site.run('gateway', ['ss', '-Hltn', `sport = :${PORT}`])
      return sockets.trim() !== ''
    })
    return { pids: [program.pid], stop: () => program.stop() }
  },

  async startClient(site) {
    const { ca, client, clientKey } = site.credentials
    const script = site.file('openconnect-script', SCRIPT, 0o700)
    const program = site.start('client', [
      ...['openconnect', '--non-inter', ...(transport === 'tls' ? ['--no-dtls'] : [])],
      ...['--certificate', client, '--sslkey', clientKey, '--cafile', ca, '--no-system-trust'],
      ...['--resolve', `${GATEWAY_NAME}:${GATEWAY_ADDRESS}`, '--script', script, '--interface', DEVICE],
      `https://${GATEWAY_NAME}:${PORT}`
    ])
    return { program, pids: [program.pid], stop: () => program.stop() }
  }
}))

function serverConfig(site, transport) {
  const { ca, server, serverKey } = site.credentials
  const ciphers = 'NORMAL:-CIPHER-ALL:+AES-128-GCM:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+VERS-DTLS1.2'
  return `auth = "certificate"
tcp-port = ${PORT}
udp-port = ${transport === 'dtls' ? PORT : 0}
listen-host = ${GATEWAY_ADDRESS}
run-as-user = root
run-as-group = root
socket-file = ${site.path('ocserv.socket')}
pid-file = ${site.path('ocserv.pid')}
server-cert = ${server}
server-key = ${serverKey}
ca-cert = ${ca}
cert-user-oid = 2.5.4.3
isolate-workers = false
max-clients = 8
max-same-clients = 8
keepalive = 300
dpd = 300
mobile-dpd = 300
try-mtu-discovery = false
tls-priorities = "${ciphers}"
auth-timeout = 20
rekey-time = 172800
use-occtl = false
device = oc-server
predictable-ips = true
ipv4-network = ${NETWORK}
route = ${NETWORK}
ping-leases = false
cisco-client-compat = true
dtls-legacy = false
`
}
