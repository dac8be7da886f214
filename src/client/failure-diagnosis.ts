/**
 * Why a session could not come up, in the words of `check`: what the ladder has seen on its way is evidence, too. Only a web
 * probe for a captive portal is asked in addition, and only then.
 * @module
 */
import type {
  Evidence,
  PortalEvidence,
  StreamEvidence,
  UdpEvidence,
  UdpPortEvidence
} from '../diagnosis/evidence.ts'
import { judge } from '../diagnosis/judge.ts'
import type { Verdict } from '../diagnosis/verdict.ts'
import { IkestreamError, ResolveError, UnreachableError } from '../errors.ts'
import type { TransportFailureCode } from '../transport/types.ts'
import type { ClientEvent, RungEvent } from './events.ts'
import type { TransportOptions } from './options.ts'

/** What became of each rung, the newest word on each. */
export class LadderEvidence {
  readonly #rungs = new Map<string, RungEvent>()
  #answered = false

  note(event: ClientEvent): void {
    if (event.event !== 'rung') return
    if (event.outcome === 'answered') this.#answered = true
    if (event.outcome === 'failed') this.#rungs.set(`${event.transport} ${event.via} ${event.address}`, event)
  }

  /** Nobody has said anything so far. */
  get isSilent(): boolean {
    return !this.#answered
  }

  /** @param error what ended it */
  evidence(
    { server, order, ports }: TransportOptions,
    error: IkestreamError,
    portal: PortalEvidence | null
  ): Evidence {
    const rungs = [...this.#rungs.values()]
    const streams = rungs.filter(({ transport }) => transport !== 'udp')
    return {
      server,
      order,
      proxy: streams[0]?.via ?? null,
      network: null,
      dns: error instanceof ResolveError ? nameEvidence(error) : null,
      udp: rungs
        .filter(({ transport }) => transport === 'udp')
        .map((rung) => udpEvidence(rung, ports.ike, ports.natT)),
      streams: streams.map((rung) => streamEvidence(rung, ports)),
      portal,
      complete: true
    }
  }
}

/** Whether there is anything to explain: the gateway's own answers explain themselves. */
export function wantsExplanation(error: unknown, ladder: LadderEvidence): error is IkestreamError {
  if (!(error instanceof IkestreamError)) return false
  if (error instanceof ResolveError || error.code === 'gateway-unreachable') return true
  return error.code === 'timeout' && ladder.isSilent
}

/**
 * The error with what is most likely the cause: a captive portal takes its place, everything else improves its hint.
 * @param checkPortal never rejects
 */
export async function explainFailure(
  error: IkestreamError,
  ladder: LadderEvidence,
  options: TransportOptions,
  checkPortal: () => Promise<PortalEvidence | null>
): Promise<IkestreamError> {
  const verdict = judge(ladder.evidence(options, error, await checkPortal()))
  if (verdict.works || verdict.hint === null) return error
  if (verdict.code === 'captive-portal')
    return new UnreachableError('captive-portal', `${verdict.sentence}.`, {
      hint: verdict.hint,
      cause: error
    })
  // What a name's error says is about the name; here the judge may know more about everything else.
  if (!(error instanceof UnreachableError)) return error
  return new UnreachableError(error.code, error.message, { hint: verdict.hint, cause: error })
}

/** What the judge says if it is a captive portal that is in the way. */
export function portalVerdict(
  ladder: LadderEvidence,
  options: TransportOptions,
  error: IkestreamError,
  portal: PortalEvidence | null
): Verdict | undefined {
  const verdict = judge(ladder.evidence(options, error, portal))
  return !verdict.works && verdict.code === 'captive-portal' ? verdict : undefined
}

function nameEvidence({ code, message }: ResolveError): Evidence['dns'] {
  const isMissing = code === 'name-not-found' || code === 'no-address'
  return {
    outcome: isMissing ? 'not-found' : code === 'resolve-aborted' ? 'timeout' : 'failed',
    message,
    elapsedMs: null,
    addresses: [],
    randomName: null,
    knownName: null,
    nat64: null
  }
}

const REASONS: ReadonlySet<string> = new Set<TransportFailureCode>(['port-unreachable'])

function udpEvidence({ address, reason }: RungEvent, ikePort: number, natTPort: number): UdpEvidence {
  const port = (
    number: number,
    outcome: UdpPortEvidence['outcome'],
    why: TransportFailureCode | null
  ): UdpPortEvidence => ({
    port: number,
    outcome,
    reason: why,
    icmp: null,
    answer: null,
    rtt: null,
    transmissions: 0
  })
  const code = reason as TransportFailureCode | null
  const onlyFirst = reason === 'ike-auth-silent'
  const first = onlyFirst ? 'answered' : REASONS.has(reason ?? '') ? 'rejected' : 'failed'
  return {
    address,
    family: address.includes(':') ? 6 : 4,
    ike: port(ikePort, reason === 'timeout' ? 'silent' : first, onlyFirst ? null : code),
    natT: onlyFirst ? port(natTPort, 'silent', 'timeout') : port(natTPort, 'skipped', null),
    nat: null,
    large: null
  }
}

/** Failures of a stream that was open: somebody listens there, and does not speak IKE. */
const OPEN_BUT_SILENT: ReadonlySet<string> = new Set<TransportFailureCode>([
  'ike-silent',
  'ike-auth-silent',
  'closed-by-peer',
  'framing-error'
])

function streamEvidence(
  { transport, via, address, reason, message }: RungEvent,
  ports: TransportOptions['ports']
): StreamEvidence {
  const kind = transport === 'tls' ? 'tls' : 'tcp'
  const isSilent = OPEN_BUT_SILENT.has(reason ?? '')
  return {
    transport: kind,
    via,
    address,
    port: ports[kind],
    outcome: isSilent ? 'silent' : 'failed',
    reason: reason as TransportFailureCode | null,
    message,
    openMs: isSilent ? 0 : null,
    prefixAccepted: null,
    answer: null,
    rtt: null,
    tls: null
  }
}
