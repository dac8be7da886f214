/**
 * Everything there is to know about a tunnel that has come up, as an event.
 * @module
 */
import { tlsInfoOf } from '../transport/tls.ts'
import type { Transport } from '../transport/types.ts'
import type { ConnectedEvent, OuterTls } from './events.ts'
import type { Link } from './link.ts'
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

/** What the outer TLS turned out to be: an interceptor's certificate is worth knowing, although IKE does not depend on it. */
function outerTls(transport: Transport): OuterTls | null {
  const info = tlsInfoOf(transport)
  if (info === undefined) return null
  const { protocol, authorized, authorizationError, issuer } = info
  return { protocol, authorized, problem: authorizationError ?? null, issuer }
}
