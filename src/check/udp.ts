/**
 * UDP to one address of the gateway: both ports side by side from one local port, then NAT and large messages.
 * @module
 */
import { isIPv6 } from 'node:net'
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { LargeMessageEvidence, UdpEvidence, UdpPortEvidence } from '../diagnosis/evidence.ts'
import { failureFrom } from '../transport/failure.ts'
import { openProbeSocket } from '../transport/probe-socket.ts'
import type { TransportFailure } from '../transport/types.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import type { Proposal } from '../wire/ike-message.ts'
import { askLargeMessages } from './large-messages.ts'
import { natEvidence, type Sighting } from './nat.ts'
import { UdpAsker } from './udp-asker.ts'
import { askUdpPort, type UdpPortResult } from './udp-port.ts'

export interface UdpCheckOptions {
  readonly clock: Clock
  readonly random: RandomSource
  readonly signal: AbortSignal
  readonly proposals: readonly Proposal[]
  readonly ports: { readonly ike: number; readonly natT: number }
  readonly giveUpMs: number
  readonly publicAddress: string | undefined
  /** Large messages are asked too. */
  readonly large: boolean
}

/** Never rejects. */
export async function checkUdp(address: string, options: UdpCheckOptions): Promise<UdpEvidence> {
  const { ports } = options
  const family = isIPv6(address) ? 6 : 4
  const natT = await openAsker({ address, port: ports.natT }, undefined, true)
  if (!(natT instanceof UdpAsker)) {
    const [ike, other] = [failedPort(ports.ike, natT), failedPort(ports.natT, natT)]
    return { address, family, ike, natT: other, nat: null, large: null }
  }
  const ike =
    ports.ike === ports.natT ? natT : await openAsker({ address, port: ports.ike }, natT.socket.local, false)
  try {
    return { address, family, ...(await askBoth(ike, natT, options)) }
  } finally {
    natT.close()
    if (ike instanceof UdpAsker) ike.close()
  }
}

async function askBoth(
  ike: UdpAsker | TransportFailure,
  natT: UdpAsker,
  options: UdpCheckOptions
): Promise<Omit<UdpEvidence, 'address' | 'family'>> {
  const { publicAddress, ports } = options
  // One real question for each address is enough, unless two are to be compared.
  const natTAsked = askUdpPort(natT, { ...options, refusableFirst: false })
  const ikeAsked =
    ike === natT
      ? natTAsked
      : ike instanceof UdpAsker
        ? askUdpPort(ike, { ...options, refusableFirst: publicAddress === undefined })
        : undefined
  const [natTResult, ikeResult] = await Promise.all([natTAsked, ikeAsked])
  const sightings = [
    ...(ike instanceof UdpAsker && ike !== natT ? sightingOf(ike, ikeResult) : []),
    ...sightingOf(natT, natTResult)
  ]
  const failure = ike instanceof UdpAsker ? undefined : ike
  return {
    ike: ikeResult?.evidence ?? failedPort(ports.ike, failure),
    natT: natTResult.evidence,
    nat: natEvidence(sightings, publicAddress),
    large: await askLarge(ike, natT, ikeResult, natTResult, options)
  }
}

/** On the port of everything that is large, if it answers, else on the other one. */
async function askLarge(
  ike: UdpAsker | TransportFailure,
  natT: UdpAsker,
  ikeResult: UdpPortResult | undefined,
  natTResult: UdpPortResult,
  options: UdpCheckOptions
): Promise<LargeMessageEvidence | null> {
  if (!options.large || options.signal.aborted) return null
  const asker = natTResult.answer !== undefined ? natT : ikeResult?.answer !== undefined ? ike : undefined
  if (!(asker instanceof UdpAsker)) return null
  const { rtt } = (asker === natT ? natTResult : ikeResult)?.evidence ?? { rtt: null }
  return askLargeMessages(asker, { ...options, rttMs: rtt?.medianMs })
}

function sightingOf({ socket }: UdpAsker, result: UdpPortResult | undefined): Sighting[] {
  if (result?.answer === undefined || result.probe === undefined) return []
  const { local, remote } = socket
  return [{ answer: result.answer, spiI: result.probe.spiI, local, remote }]
}

async function openAsker(
  remote: Endpoint,
  local: Endpoint | undefined,
  marker: boolean
): Promise<UdpAsker | TransportFailure> {
  try {
    return new UdpAsker(await openProbeSocket({ remote, local }), marker)
  } catch (error) {
    return failureFrom(error)
  }
}

function failedPort(port: number, failure: TransportFailure | undefined): UdpPortEvidence {
  return {
    port,
    outcome: 'failed',
    reason: failure?.code ?? 'io-error',
    icmp: null,
    answer: null,
    rtt: null,
    transmissions: 0
  }
}
