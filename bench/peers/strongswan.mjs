/**
 * strongSwan with user-space ESP (kernel-libipsec): charon as the gateway, charon-cmd as the client; ESP in UDP, AES-128-GCM.
 * @module
 */
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { GATEWAY_ADDRESS } from '../compare/site.mjs'
import { GATEWAY_NAME } from '../lib/site.mjs'
import { firstLine } from './versions.mjs'

const CHARON = '/usr/lib/ipsec/charon'
const INNER_ADDRESS = '10.77.0.1'
const INNER_NETWORK = '10.77.0.0/24'
const POOL = '10.88.0.0/24'
const IKE_PROPOSAL = 'aes128gcm16-prfsha256-x25519'
const ESP_PROPOSAL = 'aes128gcm16-modpnone'
/** charon's own packets carry it, so that they do not enter the tunnel that they carry. */
const OUTER_MARK = '0x42'

const PLUGINS =
  'random nonce drbg openssl pem pkcs1 pkcs8 x509 revocation constraints pubkey curve25519 aes sha1 sha2 hmac kdf gcm ' +
  'kernel-libipsec kernel-netlink socket-default vici updown'

/** @type {import('./types.mjs').Peer} */
export const strongswan = {
  name: 'strongswan',
  label: 'strongSwan libipsec',
  own: false,
  programs: [CHARON, 'charon-cmd', 'swanctl'],
  innerAddress: INNER_ADDRESS,
  version: async () => firstLine(['charon-cmd', '--version']),

  async startServer(site) {
    const socket = site.path('charon.vici')
    const environment = {
      STRONGSWAN_CONF: site.file('charon.conf', daemonSettings('charon', socket)),
      SWANCTL_DIR: credentialTree(site)
    }
    // Its network is there for as long as charon is.
    await site.run('gateway', ['ip', 'addr', 'replace', `${INNER_ADDRESS}/32`, 'dev', 'lo'])
    const program = site.start('gateway', [CHARON], environment)
    const load = ['swanctl', '--load-all', '--noprompt', '--uri', `unix://${socket}`]
    await program.until('load its configuration', async () => {
      const { exitCode } = await site.gateway.runner.run(load, { env: { ...process.env, ...environment } })
      return exitCode === 0
    })
    return { pids: [program.pid], stop: () => program.stop() }
  },

  async startClient(site) {
    // charon-cmd takes RSA keys only.
    const { ca, clientRsa, clientRsaKey, clientName } = site.credentials
    const program = site.start(
      'client',
      [
        ...['charon-cmd', '--host', GATEWAY_ADDRESS, '--identity', clientName, '--profile', 'ikev2-pub'],
        ...['--remote-identity', GATEWAY_NAME, '--cert', ca, '--cert', clientRsa, '--rsa', clientRsaKey],
        ...['--ike-proposal', IKE_PROPOSAL, '--esp-proposal', ESP_PROPOSAL]
      ],
      { STRONGSWAN_CONF: site.file('charon-cmd.conf', daemonSettings('charon-cmd')) }
    )
    return { program, pids: [program.pid], stop: () => program.stop() }
  }
}

function daemonSettings(section, socket) {
  const vici = socket === undefined ? '' : `vici { socket = unix://${socket} }`
  return `${section} {
  load = ${PLUGINS}
  plugins {
    ${vici}
    kernel-libipsec { allow_peer_ts = yes }
    kernel-netlink { fwmark = !${OUTER_MARK} }
    socket-default { fwmark = ${OUTER_MARK} }
  }
  filelog { stderr { default = 1 } }
}
swanctl { load = pem pkcs1 pkcs8 x509 pubkey openssl random nonce }
`
}

/** A directory for swanctl: the connection, and the gateway's credentials where it seeks them. */
function credentialTree(site) {
  const directory = site.path('swanctl')
  const { ca, server, serverKey } = site.credentials
  for (const [folder, file] of [
    ['x509ca', ca],
    ['x509', server],
    ['private', serverKey]
  ]) {
    mkdirSync(join(directory, folder), { recursive: true })
    copyFileSync(file, join(directory, folder, file.split('/').at(-1)))
  }
  site.file(
    'swanctl/swanctl.conf',
    `connections {
  bench {
    version = 2
    local_addrs = %any
    remote_addrs = %any
    proposals = ${IKE_PROPOSAL}
    encap = yes
    send_cert = always
    pools = inner
    local { auth = pubkey
      certs = server.pem
      id = ${GATEWAY_NAME} }
    remote { auth = pubkey
      cacerts = ca.pem }
    children { net { local_ts = ${INNER_NETWORK}
      esp_proposals = ${ESP_PROPOSAL} } }
  }
}
pools { inner { addrs = ${POOL} } }
`
  )
  return directory
}
