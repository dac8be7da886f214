/**
 * Everything that is compared, in the order of the tables.
 * @module
 */
import { accessSync, constants } from 'node:fs'
import { basename, join } from 'node:path'
import { ikestreamPeers } from './ikestream.mjs'
import { link } from './link.mjs'
import { openconnectPeers } from './openconnect.mjs'
import { openvpnPeers } from './openvpn.mjs'
import { strongswan } from './strongswan.mjs'
import { wireguardGo } from './wireguard-go.mjs'

/**
 * @param {readonly string[]} wireguardBinaries further builds of wireguard-go
 * @returns {import('./types.mjs').Peer[]}
 */
export function allPeers(wireguardBinaries) {
  const further = wireguardBinaries.map((binary, index) => wireguardGo(binary, `wireguard-go-${index + 2}`))
  return [
    link,
    ...ikestreamPeers,
    strongswan,
    wireguardGo(),
    ...further,
    ...openvpnPeers,
    ...openconnectPeers
  ]
}

/** The first of its programs that is not on this machine. */
export function missingProgram({ programs }) {
  return programs.find((program) => !isThere(program))
}

function isThere(program) {
  const folders =
    basename(program) === program ? (process.env.PATH ?? '').split(':').concat('/usr/sbin', '/sbin') : ['']
  return folders.some((folder) => {
    try {
      accessSync(folder === '' ? program : join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
