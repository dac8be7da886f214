/**
 * Does ESP pass, and how much of it? Asked from inside a tunnel that was brought up for this alone (`check --auth`, `--bandwidth`).
 *
 * IKE that is answered proves nothing about ESP: some networks pass one and drop the other. So hosts behind the
 * gateway are asked that are likely to answer: the tunnel's name servers, and the gateway itself.
 * @module
 */
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { RoundTrip } from '../diagnosis/evidence.ts'
import { Bell } from './bell.ts'
import type { InnerLink } from './inner-link.ts'
import { dnsQuery, echoRequest, type InnerEnds, readDnsAnswer, readEchoReply } from './inner-packets.ts'
import { roundTrip } from './round-trip.ts'

export interface EspEvidence {
  /** `untested`: there is nobody inside to ask. */
  readonly outcome: 'passes' | 'silent' | 'untested'
  /** Who answered: to an echo request if anybody did, which is what `rtt` and bandwidth are measured with. */
  readonly host: string | null
  readonly answersEcho: boolean
  readonly rtt: RoundTrip | null
}

/** Asked so often, at this interval; the last answer has as long again. */
const ROUNDS = 5
const INTERVAL_MS = 200
const ECHO_BYTES = 84
const IDENTIFIER_MASK = 0xffff
/** Below the ports that the system gives away itself; nothing else in this tunnel could have it. */
const SOURCE_PORT = 20_053

export interface EspOptions {
  readonly clock: Clock
  readonly random: RandomSource
  readonly signal: AbortSignal
}

/** @param hosts whom to ask, by address; those of a family without an address of ours are left out */
export async function askEsp(
  link: InnerLink,
  own: readonly string[],
  { hosts, nameServers }: { readonly hosts: readonly string[]; readonly nameServers: readonly string[] },
  options: EspOptions
): Promise<EspEvidence> {
  const { clock, signal } = options
  const identifier = identifierFrom(options.random)
  const everybody = [...new Set([...nameServers, ...hosts])].flatMap((destination) =>
    endsTo(destination, own)
  )
  const targets = everybody.filter((ends) => link.takes(echoRequest(ends, identifier, 0, ECHO_BYTES)))
  if (targets.length === 0) return { outcome: 'untested', host: null, answersEcho: false, rtt: null }
  const bell = new Bell(clock, signal)
  const sentAt = new Map<number, number>()
  const samples = new Map<string, number[]>()
  let dnsHost: string | undefined
  link.setHandlers({
    onPacket: (packet) => {
      const reply = readEchoReply(packet)
      const at = reply?.identifier === identifier ? sentAt.get(reply.sequence) : undefined
      if (reply !== undefined && at !== undefined)
        samples.set(reply.from, [...(samples.get(reply.from) ?? []), clock.now() - at])
      dnsHost ??= readDnsAnswer(packet, SOURCE_PORT)
      bell.ring()
    },
    onReady() {},
    onEnd: () => bell.ring()
  })
  const enough = (): boolean => [...samples.values()].some((list) => list.length >= ROUNDS)
  for (let round = 0; round <= ROUNDS && !enough() && !signal.aborted; round++) {
    if (round < ROUNDS) {
      sentAt.set(round, clock.now())
      for (const ends of targets) {
        link.send(echoRequest(ends, identifier, round, ECHO_BYTES))
        if (nameServers.includes(ends.destination)) link.send(dnsQuery(ends, SOURCE_PORT))
      }
      link.flush()
    }
    const until = clock.now() + INTERVAL_MS
    while (clock.now() < until && !enough() && !signal.aborted) await bell.wait(until)
  }
  const [best] = [...samples].sort(([, a], [, b]) => b.length - a.length)
  if (best !== undefined)
    return { outcome: 'passes', host: best[0], answersEcho: true, rtt: roundTrip(best[1]) }
  // Anything authentic that came out, an ICMP error included, has come through ESP.
  const passes = dnsHost !== undefined || link.received > 0
  return { outcome: passes ? 'passes' : 'silent', host: dnsHost ?? null, answersEcho: false, rtt: null }
}

function identifierFrom(random: RandomSource): number {
  const [high = 0, low = 0] = random.bytes(2)
  return ((high << 8) | low) & IDENTIFIER_MASK
}

export function endsTo(destination: string, own: readonly string[]): InnerEnds[] {
  const isIpv6 = destination.includes(':')
  const source = own.find((address) => address.includes(':') === isIpv6)
  return source === undefined ? [] : [{ source, destination }]
}
