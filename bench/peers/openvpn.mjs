/**
 * OpenVPN in user space (no DCO), AES-128-GCM, no compression.
 * @module
 */
import { GATEWAY_ADDRESS } from '../compare/site.mjs'
import { firstLine } from './versions.mjs'

const PORT = 1194

/** @type {readonly import('./types.mjs').Peer[]} */
export const openvpnPeers = ['udp', 'tcp'].map((transport) => ({
  name: `openvpn-${transport}`,
  label: `OpenVPN, ${transport.toUpperCase()}`,
  own: false,
  programs: ['openvpn'],
  innerAddress: '10.67.0.1',
  version: async () => firstLine(['openvpn', '--version']).split(' ').slice(0, 2).join(' '),

  async startServer(site) {
    const { server, serverKey } = site.credentials
    const program = site.start('gateway', [
      ...common(site, transport, transport === 'tcp' ? 'tcp-server' : 'udp', 'ovpn-server'),
      ...['--local', GATEWAY_ADDRESS, '--port', String(PORT), '--topology', 'subnet'],
      ...['--server', '10.67.0.0', '255.255.255.0', '--dh', 'none', '--cert', server, '--key', serverKey]
    ])
    await program.printed(/Initialization Sequence Completed/)
    return { pids: [program.pid], stop: () => program.stop() }
  },

  async startClient(site) {
    const { client, clientKey } = site.credentials
    const program = site.start('client', [
      ...common(site, transport, transport === 'tcp' ? 'tcp-client' : 'udp', 'ovpn-client'),
      ...['--client', '--nobind', '--remote', GATEWAY_ADDRESS, String(PORT)],
      ...['--remote-cert-tls', 'server', '--cert', client, '--key', clientKey]
    ])
    return { program, pids: [program.pid], stop: () => program.stop() }
  }
}))

function common(site, transport, protocol, device) {
  const fast = transport === 'tcp' ? ['--tcp-nodelay'] : ['--fast-io']
  return [
    ...['openvpn', '--dev', device, '--dev-type', 'tun', '--proto', protocol, ...fast, '--verb', '3'],
    ...['--ca', site.credentials.ca, '--data-ciphers', 'AES-128-GCM', '--disable-dco']
  ]
}
