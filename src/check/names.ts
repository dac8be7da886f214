/**
 * The gateway's name, looked up as a session would do it, and two names of which the true answer is known: whoever lies about
 * those lies about the gateway too.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { Resolver } from 'node:dns/promises'
import { isIP, isIPv6 } from 'node:net'
import type { Clock } from '../clock.ts'
import type { ControlName, DnsEvidence, ResolvedAddress } from '../diagnosis/evidence.ts'
import { ResolveError } from '../errors.ts'
import { systemCode } from '../transport/failure.ts'
import { resolveServer } from '../transport/resolve.ts'
import { addressScope } from './address-scope.ts'

/** RFC 7050 section 8.2. */
const KNOWN_NAME = 'ipv4only.arpa'
/** IANA's own, in which nothing is ever added (RFC 2606 section 3). */
const RANDOM_NAME_PARENT = 'example.com'

/** One lost packet is not a silent name server. The wait doubles from question to question. */
const FIRST_WAIT_MS = 400
const TRIES = 3

export interface NameCheckOptions {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** For each of the lookups. */
  readonly timeoutMs: number
}

export interface NameCheck {
  /** Resolves as soon as the gateway's addresses are known; empty: none. */
  readonly addresses: Promise<readonly string[]>
  /** Everything, somewhat later. */
  readonly evidence: Promise<DnsEvidence>
}

/** Never rejects. */
export function checkNames(server: string, options: NameCheckOptions): NameCheck {
  const literal = server.replace(/^\[(.*)\]$/, '$1')
  if (isIP(literal) !== 0) {
    const addresses = [resolved(literal)]
    const nothing = { message: null, elapsedMs: null, randomName: null, knownName: null, nat64: null }
    return {
      addresses: Promise.resolve([literal]),
      evidence: Promise.resolve({ outcome: 'literal', addresses, ...nothing })
    }
  }
  const gateway = lookUpGateway(server, options)
  return {
    addresses: gateway.then(({ addresses }) => addresses.map(({ address }) => address)),
    evidence: Promise.all([gateway, askControls(options)]).then(([own, controls]) => ({
      ...own,
      ...controls
    }))
  }
}

type Own = Pick<DnsEvidence, 'outcome' | 'message' | 'elapsedMs' | 'addresses'>

async function lookUpGateway(server: string, { clock, signal, timeoutMs }: NameCheckOptions): Promise<Own> {
  const startedAt = clock.now()
  const tooLate = new AbortController()
  const timer = clock.setTimer(timeoutMs, () => tooLate.abort())
  const elapsedMs = (): number => Math.round((clock.now() - startedAt) * 100) / 100
  try {
    const found = await resolveServer(server, { signal: AbortSignal.any([signal, tooLate.signal]) })
    return { outcome: 'resolved', message: null, elapsedMs: elapsedMs(), addresses: found.map(resolved) }
  } catch (error) {
    const outcome = outcomeOf(error)
    const message = error instanceof Error ? error.message : String(error)
    return { outcome, message, elapsedMs: elapsedMs(), addresses: [] }
  } finally {
    timer.cancel()
  }
}

function outcomeOf(error: unknown): Own['outcome'] {
  if (!(error instanceof ResolveError)) return 'failed'
  if (error.code === 'name-not-found' || error.code === 'no-address') return 'not-found'
  return error.code === 'resolve-aborted' ? 'timeout' : 'failed'
}

function resolved(address: string): ResolvedAddress {
  return { address, family: isIPv6(address) ? 6 : 4, scope: addressScope(address) }
}

/** Asked of the name servers themselves, without search lists and hosts files. */
async function askControls({
  clock,
  signal,
  timeoutMs
}: NameCheckOptions): Promise<Pick<DnsEvidence, 'randomName' | 'knownName' | 'nat64'>> {
  const resolver = new Resolver({ timeout: Math.min(FIRST_WAIT_MS, timeoutMs), tries: TRIES })
  const cancel = (): void => resolver.cancel()
  signal.addEventListener('abort', cancel, { once: true })
  // With several silent name servers each would have its own time.
  const timer = clock.setTimer(timeoutMs, cancel)
  const random = `ikestream-check-${randomBytes(8).toString('hex')}.${RANDOM_NAME_PARENT}`
  try {
    const [randomName, knownName, ipv6] = await Promise.all([
      askControl(random, () => resolver.resolve4(random)),
      askControl(KNOWN_NAME, () => resolver.resolve4(KNOWN_NAME)),
      askControl(KNOWN_NAME, () => resolver.resolve6(KNOWN_NAME))
    ])
    const nat64 = ipv6.outcome === 'resolved' ? true : ipv6.outcome === 'not-found' ? false : null
    return { randomName, knownName, nat64 }
  } finally {
    timer.cancel()
    signal.removeEventListener('abort', cancel)
  }
}

async function askControl(name: string, ask: () => Promise<string[]>): Promise<ControlName> {
  try {
    return { name, outcome: 'resolved', addresses: await ask() }
  } catch (error) {
    const code = systemCode(error)
    const outcome =
      code === 'ENOTFOUND' || code === 'ENODATA'
        ? 'not-found'
        : code === 'ETIMEOUT' || code === 'ECANCELLED'
          ? 'timeout'
          : 'failed'
    return { name, outcome, addresses: [] }
  }
}
