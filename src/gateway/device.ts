/**
 * The gateway's TUN device: it has the first host address of each pool with the pool's prefix, so that the kernel
 * routes the clients' addresses to it.
 *
 * The machine's forwarding is left alone; what that means for the clients is said once.
 * @module
 */
import { readFileSync } from 'node:fs'
import { STREAM_TUNNEL_MTU } from '../dataplane/mtu.ts'
import { applyTunnelConfig } from '../host/tunnel-config.ts'
import type { AppliedConfig } from '../host/types.ts'
import type { Logger } from '../log.ts'
import { openTun } from '../tun/tun-device.ts'
import type { Tun } from '../tun/types.ts'
import { addressFromBytes } from '../wire/address.ts'
import type { Lease } from './address-pool.ts'

export interface GatewayDevice {
  readonly tun: Tun
  /** Takes the addresses back, and ends the device. */
  close(): Promise<void>
}

/** @throws SystemError, AuthenticationError (privileges), UsageError (the name) */
export async function openGatewayDevice(
  name: string | undefined,
  addresses: readonly Lease[],
  log: Logger
): Promise<GatewayDevice> {
  const tun = openTun({ name })
  let applied: AppliedConfig
  try {
    applied = await applyTunnelConfig(
      {
        interface: tun.name,
        addresses: addresses.map(({ address, prefixLength }) => ({
          address: addressFromBytes(address),
          prefixLength
        })),
        mtu: STREAM_TUNNEL_MTU,
        routes: [],
        pinned: []
      },
      { log }
    )
  } catch (error) {
    tun.release()
    throw error
  }
  return {
    tun,
    async close() {
      try {
        await applied.undo()
      } catch (error) {
        log.log('warn', error instanceof Error ? error.message : String(error))
      }
      tun.release()
    }
  }
}

const FORWARDING = {
  4: '/proc/sys/net/ipv4/ip_forward',
  6: '/proc/sys/net/ipv6/conf/all/forwarding'
} as const

/** Families whose packets the kernel does not forward from one device to another. */
export function familiesWithoutForwarding(): (4 | 6)[] {
  return ([4, 6] as const).filter((family) => {
    try {
      return readFileSync(FORWARDING[family], 'utf8').trim() === '0'
    } catch {
      return false
    }
  })
}
