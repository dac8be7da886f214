/**
 * The connectivity check: gathers evidence of everything side by side, within a bound of time, without credentials, and
 * changes nothing. What it means is `judge`'s business.
 *
 * What a gateway notices: for each of its addresses one IKE_SA_INIT that it accepts, and then forgets as it forgets every
 * session that never authenticates; about a dozen that it refuses; a few TCP connections.
 * @module
 */

import { setMaxListeners } from 'node:events'
import { rootCertificates } from 'node:tls'
import { TransportOpener } from '../client/open-transport.ts'
import type { TransportOptions } from '../client/options.ts'
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { Evidence, StreamEvidence, UdpEvidence } from '../diagnosis/evidence.ts'
import { checkPortal } from '../diagnosis/portal.ts'
import type { CommandRunner } from '../host/commands.ts'
import { DEFAULT_LADDER_TIMINGS, type LadderTimings } from '../transport/ladder-types.ts'
import { parseProxyUrl, proxiesFromEnvironment, proxyLabel } from '../transport/proxy-url.ts'
import { TlsSessionCache } from '../transport/tls.ts'
import type { Proposal } from '../wire/ike-message.ts'
import { checkNames } from './names.ts'
import { checkNetwork } from './network.ts'
import { checkStream, type RealQuestion, type StreamCheckOptions } from './stream.ts'
import { checkUdp } from './udp.ts'

export interface CheckOptions extends TransportOptions {
  readonly ikeProposals: readonly Proposal[]
  readonly ladder: Partial<LadderTimings>
  /** This machine's address on the Internet, if the user knows it. */
  readonly publicAddress: string | undefined
  /** The gateway's CAs for IKE, in PEM: an outer certificate of theirs is the gateway's, too. */
  readonly ikeCa: readonly string[]
  /** For everything. */
  readonly timeoutMs: number
}

export interface CheckEnvironment {
  readonly clock: Clock
  readonly random: RandomSource
  readonly runner: CommandRunner
  /** HTTPS_PROXY and its like. */
  readonly variables: Readonly<Record<string, string | undefined>>
  readonly signal: AbortSignal
}

/** More addresses of one gateway than this make the check slower and no wiser. */
const MAX_ADDRESSES = 4
/** A name server that takes longer is as good as none. */
const NAME_TIMEOUT_MS = 3_000
/** A connection that takes longer is of little use: the SYN has been sent at 0 and 1 s by then (RFC 6298 section 2). */
const STREAM_OPEN_MS = 3_000
/** Opening and asking together, so that what is slow to open and silent then ends before everything does. */
const STREAM_TOTAL_MS = 4_000
const PORTAL_TIMEOUT_MS = 3_000

/** @throws ConfigurationError for an unusable proxy setting; nothing else */
export async function check(options: CheckOptions, environment: CheckEnvironment): Promise<Evidence> {
  const { clock, runner, signal } = environment
  const proxies = proxiesOf(options, environment)
  const tooLate = new AbortController()
  const timer = clock.setTimer(options.timeoutMs, () => tooLate.abort())
  const limit = AbortSignal.any([signal, tooLate.signal])
  // Every probe listens to it: that many listeners are no leak.
  setMaxListeners(0, limit)
  try {
    const gathering = new Gathering(options, environment, proxies, limit)
    const portal = checkPortal(options.portal, { runner, timeoutMs: PORTAL_TIMEOUT_MS, signal: limit })
    const evidence = await gathering.run(portal)
    return { ...evidence, complete: !limit.aborted }
  } finally {
    timer.cancel()
    // Whatever is still under way ends now.
    tooLate.abort()
  }
}

/** @returns the proxies to look at, the one that `connect` would take first */
function proxiesOf({ proxy, server }: CheckOptions, { variables }: CheckEnvironment): readonly URL[] {
  if (proxy.kind === 'none') return []
  return proxy.kind === 'url' ? [parseProxyUrl(proxy.url)] : proxiesFromEnvironment(variables, server)
}

class Gathering {
  readonly #options: CheckOptions
  readonly #environment: CheckEnvironment
  readonly #proxies: readonly URL[]
  readonly #signal: AbortSignal

  constructor(
    options: CheckOptions,
    environment: CheckEnvironment,
    proxies: readonly URL[],
    signal: AbortSignal
  ) {
    this.#options = options
    this.#environment = environment
    this.#proxies = proxies
    this.#signal = signal
  }

  async run(portal: Promise<Evidence['portal']>): Promise<Omit<Evidence, 'complete'>> {
    const { server, order } = this.#options
    const names = checkNames(server, {
      clock: this.#environment.clock,
      signal: this.#signal,
      timeoutMs: NAME_TIMEOUT_MS
    })
    const addresses = names.addresses.then((found) => found.slice(0, MAX_ADDRESSES))
    const udp = addresses.then((found) => this.#checkUdp(found))
    const real: RealQuestion = { wanted: udp.then((found) => !found.some(answeredForReal)), claimed: false }
    const through = this.#proxies.flatMap((proxy) => this.#checkStreams([server], proxy, real))
    const direct = addresses.then((found) => Promise.all(this.#checkStreams(found, undefined, real)))
    const [first] = this.#proxies
    return {
      server,
      order,
      proxy: first === undefined ? null : proxyLabel(first),
      network: await addresses.then(checkNetwork),
      dns: await names.evidence,
      udp: await udp,
      streams: [...(await Promise.all(through)), ...(await direct)],
      portal: await portal
    }
  }

  async #checkUdp(addresses: readonly string[]): Promise<UdpEvidence[]> {
    const { order, ikeProposals, ports, ladder, publicAddress } = this.#options
    const { clock, random } = this.#environment
    if (!order.includes('udp')) return []
    return Promise.all(
      addresses.map((address) =>
        checkUdp(address, {
          clock,
          random,
          signal: this.#signal,
          proposals: ikeProposals,
          ports,
          giveUpMs: ladder.udpGiveUpMs ?? DEFAULT_LADDER_TIMINGS.udpGiveUpMs,
          publicAddress,
          large: true
        })
      )
    )
  }

  #checkStreams(
    hosts: readonly string[],
    proxy: URL | undefined,
    real: RealQuestion
  ): Promise<StreamEvidence>[] {
    const { order, ports } = this.#options
    const via = proxy === undefined ? null : proxyLabel(proxy)
    const options = this.#streamOptions(proxy, real)
    return order
      .filter((kind) => kind !== 'udp')
      .flatMap((transport) =>
        hosts.map((address) => checkStream({ transport, via, address, port: ports[transport] }, options))
      )
  }

  #streamOptions(proxy: URL | undefined, real: RealQuestion): StreamCheckOptions {
    const { tls, ikeCa, ikeProposals, ladder } = this.#options
    const { clock, random } = this.#environment
    const own = tls.ca.length > 0 || ikeCa.length === 0 ? tls.ca : [...rootCertificates, ...ikeCa]
    const opener = new TransportOpener(
      {
        ...this.#options,
        // What is wrong with a certificate is wanted as evidence.
        tls: { ...tls, ca: own, verify: false },
        proxy: proxy === undefined ? { kind: 'none' } : { kind: 'url', url: proxy.href }
      },
      new TlsSessionCache()
    )
    return {
      clock,
      random,
      signal: this.#signal,
      proposals: ikeProposals,
      opener,
      openTimeoutMs: STREAM_OPEN_MS,
      answerTimeoutMs: ladder.streamIkeMs ?? DEFAULT_LADDER_TIMINGS.streamIkeMs,
      totalMs: STREAM_TOTAL_MS,
      verify: tls.verify,
      anchorsGiven: tls.ca.length > 0,
      real
    }
  }
}

function answeredForReal({ ike, natT }: UdpEvidence): boolean {
  return ike.answer?.offerWasReal === true || natT.answer?.offerWasReal === true
}
