/**
 * Asks the tunnel's own name server for its root servers, so that some ESP comes back soon after a path was taken into use.
 * One small DNS query (RFC 1035) through the TUN device, whose answer nobody reads: that ESP carried it is all that counts. An answer
 * proves the path; silence is a reason to look at another path, but no more than once, since the server may be down or filtered.
 * @module
 */

import type { AssignedConfig } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import { AddressFamily } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { UdpSocket } from '../transport/udp-socket.ts'

const DNS_PORT = 53
/** Header (id, RD, one question), root name, type NS, class IN. */
const QUERY = Uint8Array.from([0x69, 0x6b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])
/** As many as the judge needs to say anything. */
const REPEATS = 3

/** @returns how many packets went into the tunnel */
export function probeInner(interfaceName: string, config: AssignedConfig, log: Logger): number {
  for (const server of config.dns) {
    const family = familyOf(server)
    const local = config.addresses.find(({ address }) => familyOf(address) === family)
    if (local === undefined) continue
    try {
      return ask(interfaceName, local.address, server)
    } catch (error) {
      // Without the right to bind to a device, or without a route, traffic itself has to tell.
      log.log('debug', 'The tunnel was not probed', { error: String(error) })
    }
    return 0
  }
  return 0
}

function familyOf(address: string): number {
  return address.includes(':') ? AddressFamily.INET6 : AddressFamily.INET
}

function ask(interfaceName: string, from: string, server: string): number {
  const socket = UdpSocket.open({
    remote: { address: server, port: DNS_PORT },
    local: { address: from, port: 0 },
    interface: interfaceName,
    bufferBytes: 0
  })
  try {
    const query = nativeBuffer(QUERY.length)
    query.set(QUERY)
    for (let count = 0; count < REPEATS; count++) socket.send(addressOf(query), query.length)
    return REPEATS
  } finally {
    socket.close()
  }
}
