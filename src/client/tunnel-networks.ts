/**
 * The networks that a Child SA reaches, for routes.
 * @module
 */
import { ProtocolError } from '../errors.ts'
import { MAX_ROUTES } from '../host/keeper-protocol.ts'
import { formatCidr } from '../wire/cidr.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'
import { selectorToCidrs } from '../wire/traffic-selectors.ts'

/**
 * Networks of all selectors, in CIDR notation; a selector for one protocol or port still routes its addresses.
 * @throws ProtocolError for more than anybody has use for: 255 ranges of IPv6 that begin and end oddly are 64 770 networks
 */
export function networksOf(selectors: readonly TrafficSelector[]): string[] {
  const networks = new Set<string>()
  for (const selector of selectors) {
    for (const cidr of selectorToCidrs(selector)) networks.add(formatCidr(cidr))
    // Some left out would go past the tunnel.
    if (networks.size > MAX_ROUTES)
      throw new ProtocolError(
        'too-many-networks',
        `The gateway's traffic selectors make more than ${MAX_ROUTES} routes.`,
        {
          hint: 'Ask for what you need alone: --remote-ts.'
        }
      )
  }
  return [...networks]
}
