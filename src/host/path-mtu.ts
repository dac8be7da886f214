/**
 * The MTU of the way out: of the route to an address where one is set, else of the device that its packets leave by. What lies
 * beyond is found out by the transports.
 * @module
 */
import { type CommandRunner, SystemCommandRunner } from './commands.ts'
import { deviceState } from './device.ts'
import { canonicalAddress } from './pinned-routes.ts'
import { routeTo } from './route.ts'

export interface OutgoingPath {
  readonly device: string
  readonly mtu: number
  /** Address of the next router; undefined when the destination is on the link. */
  readonly nextHop: string | undefined
  /** The address that packets are sent from. */
  readonly source: string | undefined
}

/** How packets to `address` leave this machine, or undefined when there is no route. */
export async function outgoingPath(
  address: string,
  runner: CommandRunner = new SystemCommandRunner()
): Promise<OutgoingPath | undefined> {
  const hop = await routeTo(runner, canonicalAddress(address))
  if (hop === undefined) return undefined
  const name = hop === 'local' ? 'lo' : hop.device
  const device = await deviceState(runner, name)
  if (device === undefined) return undefined
  if (hop === 'local') return { device: name, mtu: device.mtu, nextHop: undefined, source: undefined }
  return {
    device: name,
    mtu: Math.min(hop.mtu ?? device.mtu, device.mtu),
    nextHop: hop.via,
    source: hop.source
  }
}
