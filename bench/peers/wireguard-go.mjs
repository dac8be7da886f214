/**
 * wireguard-go: the user-space implementation, never the kernel's. Its cipher is ChaCha20-Poly1305; there is no other.
 * @module
 */
import { existsSync } from 'node:fs'
import { GATEWAY_ADDRESS } from '../compare/site.mjs'
import { firstLine } from './versions.mjs'

const PORT = 51820
const SERVER = { device: 'wg-server', address: '10.66.0.1/24', peerAddress: '10.66.0.2/32' }
const CLIENT = { device: 'wg-client', address: '10.66.0.2/24', peerAddress: '10.66.0.0/24' }
/** wg-quick's: 1500 less an IPv6 header, UDP and WireGuard's own. */
const MTU = 1420

/**
 * @param {string} binary
 * @param {string} name
 * @returns {import('./types.mjs').Peer}
 */
export function wireguardGo(binary = 'wireguard-go', name = 'wireguard-go') {
  const keys = new Map()
  return {
    name,
    label: versionLabel(binary),
    own: false,
    programs: [binary, 'wg'],
    innerAddress: '10.66.0.1',
    version: async () => firstLine([binary, '--version']),

    async startServer(site) {
      if (!keys.has(site)) keys.set(site, await makeKeys(site))
      const { server, client } = keys.get(site)
      const lines = [`ListenPort = ${PORT}`, ...peerSection(client.publicKey, SERVER.peerAddress)]
      return bringUp(site, 'gateway', binary, SERVER, server.privateKey, lines)
    },

    startClient(site) {
      const { server, client } = keys.get(site)
      const endpoint = `Endpoint = ${GATEWAY_ADDRESS}:${PORT}`
      const lines = [...peerSection(server.publicKey, CLIENT.peerAddress), endpoint]
      return bringUp(site, 'client', binary, CLIENT, client.privateKey, lines)
    }
  }
}

/** Two builds are told apart by their dates: `wireguard-go 20230223`. */
function versionLabel(binary) {
  const date = /\d{8}/.exec(firstLine([binary, '--version']))?.[0]
  return date === undefined ? 'wireguard-go' : `wireguard-go ${date}`
}

/** What `wg-quick up` does, without its shell script. */
async function bringUp(site, where, binary, { device, address }, privateKey, lines) {
  const config = ['[Interface]', `PrivateKey = ${privateKey}`, ...lines, ''].join('\n')
  const file = site.file(`${device}.conf`, config)
  const program = site.start(where, [binary, '-f', device], { LOG_LEVEL: 'error' })
  const socket = site.seenFrom(where, `/run/wireguard/${device}.sock`)
  await program.until('open its socket', () => existsSync(socket))
  await site.run(where, ['wg', 'setconf', device, file])
  await site.run(where, ['ip', 'address', 'add', address, 'dev', device])
  await site.run(where, ['ip', 'link', 'set', 'mtu', String(MTU), 'up', 'dev', device])
  return { program, pids: [program.pid], stop: () => program.stop() }
}

/** A peer, at the end of the section that precedes it. */
function peerSection(publicKey, allowed) {
  return ['[Peer]', `PublicKey = ${publicKey}`, `AllowedIPs = ${allowed}`]
}

async function makeKeys(site) {
  const pair = async () => {
    const privateKey = (await site.run('gateway', ['wg', 'genkey'])).trim()
    const publicKey = (await site.run('gateway', ['wg', 'pubkey'], { input: `${privateKey}\n` })).trim()
    return { privateKey, publicKey }
  }
  return { server: await pair(), client: await pair() }
}
