/**
 * Everything there is to know about a tunnel that has come up, as an event.
 * @module
 */
import type { ConnectedEvent } from './events.ts'
import type { Link } from './link.ts'
import { outerTls } from './outer-tls.ts'
import type { Tunnel } from './tunnel.ts'

export function connectedEvent({ info, transport }: Link, tunnel: Tunnel, elapsedMs: number): ConnectedEvent {
  return {
    event: 'connected',
    transport: transport.kind,
    via: transport.via,
    gateway: transport.path.remote.address,
    gatewayId: info.remoteIdentity,
    virtualIps: info.config?.addresses.map(({ address }) => address) ?? [],
    dns: info.config?.dns ?? [],
    interface: tunnel.interfaceName,
    mtu: tunnel.mtu,
    remoteTs: tunnel.remoteTs,
    ikeSuite: info.ikeSuite,
    espSuite: info.espSuite ?? '',
    cluster: info.cluster,
    outerTls: outerTls(transport),
    elapsedMs: Math.round(elapsedMs)
  }
}
