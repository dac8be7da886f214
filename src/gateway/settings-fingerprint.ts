/**
 * A digest of the settings that a session must find alike on both nodes of a cluster.
 * @module
 */
import { createHash } from 'node:crypto'
import { formatCidr } from '../wire/cidr.ts'
import type { GatewayOptions } from './options.ts'

export function settingsFingerprint(options: GatewayOptions): Uint8Array {
  const { identity, pools, localTs, dns, ports, udp, tcp, tls } = options
  const told = {
    identity: [identity.idType, Buffer.from(identity.data).toString('hex')],
    pools: pools.map(formatCidr),
    localTs: localTs.map(formatCidr),
    ...{ dns, ports, udp, tcp, tls }
  }
  return createHash('sha256').update(JSON.stringify(told)).digest()
}
