/**
 * How this machine is attached: is there a route, and from which own address? A connected UDP socket knows, and sends nothing.
 * @module
 */
import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { Family, FamilyEvidence, NetworkEvidence } from '../diagnosis/evidence.ts'
import { failureOf, systemCode } from '../transport/failure.ts'
import { plainAddress } from '../transport/plain-address.ts'
import { addressScope } from './address-scope.ts'

/** Somewhere on the Internet, where the gateway has no address of that family. Nothing is ever sent there. */
const ELSEWHERE: Readonly<Record<Family, string>> = { 4: '1.1.1.1', 6: '2606:4700:4700::1111' }
/** The discard port (RFC 863); any would do. */
const ANY_PORT = 9

/** Never rejects. */
export async function checkNetwork(gateway: readonly string[]): Promise<NetworkEvidence> {
  const target = (family: Family): string =>
    gateway.find((address) => (isIPv6(address) ? 6 : 4) === family) ?? ELSEWHERE[family]
  const [ipv4, ipv6] = await Promise.all([routeTo(target(4)), routeTo(target(6))])
  return { ipv4, ipv6 }
}

function routeTo(address: string): Promise<FamilyEvidence> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  return new Promise((resolve) => {
    const finish = (evidence: FamilyEvidence): void => {
      socket.removeAllListeners()
      socket.on('error', () => undefined)
      socket.close()
      resolve(evidence)
    }
    const failed = (error: Error): void => {
      const { code } = failureOf(systemCode(error), address, true)
      finish({ available: false, address: null, scope: null, reason: code })
    }
    socket.once('error', failed)
    try {
      // A callback would swallow the error: without one it is emitted.
      socket.once('connect', () => {
        const own = plainAddress(socket.address().address)
        finish({ available: true, address: own, scope: addressScope(own), reason: null })
      })
      socket.connect(ANY_PORT, address)
    } catch (error) {
      failed(error as Error)
    }
  })
}
