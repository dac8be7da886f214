/**
 * The whole exchange with credentials (`check --auth`): IKE_SA_INIT, IKE_AUTH, a Child SA, proof that ESP passes, and a clean end. No
 * device, no routes, no privilege. The gateway leases an address for a moment.
 * @module
 */
import { type BringUpResult, bringUp } from '../client/bring-up.ts'
import { Farewells } from '../client/farewell.ts'
import { TransportOpener } from '../client/open-transport.ts'
import type { ConnectOptions } from '../client/options.ts'
import { SessionFactory } from '../client/session-factory.ts'
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { Evidence } from '../diagnosis/evidence.ts'
import type { BestPath } from '../diagnosis/verdict.ts'
import { type ExitCode, IkestreamError, TemporaryError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { proxyLabel } from '../transport/proxy-url.ts'
import { TlsSessionCache } from '../transport/tls.ts'
import { formatTrafficSelector } from '../wire/traffic-selectors.ts'
import { type BandwidthEvidence, measureBandwidth } from './bandwidth.ts'
import { askEsp, type EspEvidence, endsTo } from './esp.ts'
import { InnerLink } from './inner-link.ts'

export interface AuthenticationEvidence {
  readonly outcome: 'authenticated' | 'failed'
  /** What went wrong: an error's stable code, sentence, hint and exit code. */
  readonly code: string | null
  readonly message: string | null
  readonly hint: string | null
  readonly exitCode: ExitCode
  readonly elapsedMs: number
  readonly transport: BestPath['transport'] | null
  readonly via: string | null
  readonly gatewayId: string | null
  readonly localId: string | null
  readonly virtualIps: readonly string[]
  readonly dns: readonly string[]
  readonly remoteTs: readonly string[]
  readonly ikeSuite: string | null
  readonly espSuite: string | null
  readonly esp: EspEvidence | null
}

export interface DepthEvidence {
  readonly authentication: AuthenticationEvidence
  /** Null when it was not asked for, or nobody inside answers echo requests. */
  readonly bandwidth: BandwidthEvidence | null
}

export interface AuthenticateOptions {
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  readonly signal: AbortSignal
  /** Undefined: bandwidth is not measured. */
  readonly bandwidthMs: number | undefined
  /** Somebody inside who answers, if the user knows one. */
  readonly innerHost: string | undefined
}

/** EAP with a refused password takes gateways two seconds and more; a whole set-up is much quicker. */
const AUTHENTICATE_TIMEOUT_MS = 15_000
const OPEN_TIMEOUT_MS = 5_000

/** Rejects for bugs only: what a gateway or a network does is an outcome. */
export async function authenticate(
  session: ConnectOptions,
  evidence: Evidence,
  best: BestPath | null,
  options: AuthenticateOptions
): Promise<DepthEvidence> {
  const { clock, random } = options
  const startedAt = clock.now()
  const elapsedMs = (): number => Math.round(clock.now() - startedAt)
  try {
    const established = await establish(session, evidence, best, options)
    const took = elapsedMs()
    const link = new InnerLink(established, clock, random)
    try {
      return await lookInside(link, established, took, options)
    } finally {
      await link.close()
    }
  } catch (error) {
    if (!(error instanceof IkestreamError)) throw error
    return { authentication: failed(error, elapsedMs()), bandwidth: null }
  }
}

async function establish(
  session: ConnectOptions,
  { dns }: Evidence,
  best: BestPath | null,
  { clock, random, log, signal }: AuthenticateOptions
): Promise<BringUpResult> {
  const factory = new SessionFactory(session, { random, wallClockMs: () => Date.now() })
  const opener = new TransportOpener(session, new TlsSessionCache())
  const proxy = opener.proxyFor('tcp')
  const farewells = new Farewells(clock)
  const tooLate = new AbortController()
  const timer = clock.setTimer(AUTHENTICATE_TIMEOUT_MS, () =>
    tooLate.abort(
      new TemporaryError(
        'timeout',
        `The gateway did not finish within ${AUTHENTICATE_TIMEOUT_MS / 1000} s.`,
        {
          hint: 'Look at what happens with --verbose, and into the log of the gateway.'
        }
      )
    )
  )
  try {
    return await bringUp({
      ladder: {
        addresses: dns?.addresses.map(({ address }) => address) ?? [],
        order: session.order,
        via: proxy === undefined ? null : proxyLabel(proxy),
        streamAddresses: proxy === undefined ? undefined : [session.server],
        // What the check has found to work needs no second search.
        remembered: best === null ? undefined : { transport: best.transport, address: best.address }
      },
      timings: session.ladder,
      clock,
      log,
      open: (candidate, abort) => opener.open(candidate, abort, OPEN_TIMEOUT_MS),
      makeSession: () => factory.make([]),
      onReport: () => undefined,
      farewells,
      signal: AbortSignal.any([signal, tooLate.signal])
    })
  } finally {
    timer.cancel()
    await farewells.settled()
  }
}

async function lookInside(
  link: InnerLink,
  { link: { info, transport }, events }: BringUpResult,
  elapsedMs: number,
  options: AuthenticateOptions
): Promise<DepthEvidence> {
  const virtualIps = info.config?.addresses.map(({ address }) => address) ?? []
  const nameServers = info.config?.dns ?? []
  const { bandwidthMs, innerHost } = options
  const hosts = innerHost === undefined ? [transport.path.remote.address] : [innerHost]
  const esp = await askEsp(
    link,
    virtualIps,
    { hosts, nameServers: innerHost === undefined ? nameServers : [] },
    options
  )
  const [ends] = esp.answersEcho && esp.host !== null ? endsTo(esp.host, virtualIps) : []
  const bandwidth =
    bandwidthMs === undefined || ends === undefined
      ? undefined
      : await measureBandwidth(link, ends, { ...options, durationMs: bandwidthMs })
  const child = events.find((event) => event.type === 'child-up')
  return {
    authentication: {
      outcome: 'authenticated',
      ...{ code: null, message: null, hint: null, exitCode: 0, elapsedMs },
      transport: transport.kind,
      via: transport.via,
      gatewayId: info.remoteIdentity,
      localId: info.localIdentity,
      virtualIps,
      dns: nameServers,
      remoteTs: child?.type === 'child-up' ? child.child.remoteTs.map(formatTrafficSelector) : [],
      ikeSuite: info.ikeSuite,
      espSuite: info.espSuite ?? null,
      esp
    },
    bandwidth: bandwidth ?? null
  }
}

function failed(error: IkestreamError, elapsedMs: number): AuthenticationEvidence {
  const { code, message, hint, exitCode } = error
  return {
    outcome: 'failed',
    ...{ code, message, hint: hint ?? null, exitCode, elapsedMs },
    ...{ transport: null, via: null, gatewayId: null, localId: null },
    ...{ virtualIps: [], dns: [], remoteTs: [], ikeSuite: null, espSuite: null, esp: null }
  }
}
