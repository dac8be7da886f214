/**
 * Do large IKE messages get to the gateway, in one piece and in fragments? IKE_SA_INIT is padded to whole packets of many sizes, all sent
 * side by side; which ones are answered tells the path MTU, without trusting ICMP to come back.
 *
 * Answers are small: the way back is not tested. What was not answered counts as lost only if it was asked often enough and the answer had
 * time to come: when time runs out before that, nothing is said.
 * @module
 */
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { LargeMessageEvidence, LargeProbe } from '../diagnosis/evidence.ts'
import type { Proposal } from '../wire/ike-message.ts'
import { Bell } from './bell.ts'
import { InitProbe, REFUSABLE_OFFER } from './init-probe.ts'
import type { UdpAsker } from './udp-asker.ts'

/** Ethernet, PPPoE (RFC 2516), common tunnels, what IPv6 guarantees (RFC 8200 section 5), what IPv4 does (RFC 791). */
const SIZES: readonly number[] = [1500, 1492, 1460, 1420, 1400, 1360, 1280, 1024, 576]
/** Tried between the largest that passed and the smallest that did not. */
const FINER_SIZES = 7
/** How much longer than a packet a fragmented message is: two fragments. */
const FRAGMENTED_EXCESS = 500
/** Each size is asked twice at least: how long each time lasts, in round trips and within bounds. */
const ROUNDS = 2
/** As long as it does not take long, more often: where one packet in ten is lost, two losses are no limit. */
const MOST_ROUNDS = 4
const MORE_ROUNDS_WITHIN_MS = 700
const ROUND_TRIPS_OF_PATIENCE = 3
const LEAST_PATIENCE_MS = 200
const MOST_PATIENCE_MS = 600
/** What is not answered within so many round trips of the last question is lost. */
const ROUND_TRIPS_OF_PROOF = 2
/** What arrived while this process was held up is looked at before anything counts as lost. */
const LAST_LOOK_MS = 10

export type LargeMessageAsker = Pick<
  UdpAsker,
  'socket' | 'overhead' | 'announcedMtu' | 'listen' | 'forget' | 'send'
>

export interface LargeMessageOptions {
  readonly clock: Clock
  readonly random: RandomSource
  readonly signal: AbortSignal
  readonly proposals: readonly Proposal[]
  /** As far as it is known. */
  readonly rttMs: number | undefined
}

interface Trial {
  readonly probe: InitProbe
  readonly ipBytes: number
  readonly fragmented: boolean
  outcome: LargeProbe['outcome'] | undefined
}

/** @returns null when not even a small question of this kind was answered, or when there was no time to learn what passes */
export async function askLargeMessages(
  asker: LargeMessageAsker,
  options: LargeMessageOptions
): Promise<LargeMessageEvidence | null> {
  const largest = largestOf(asker)
  const whole = (ipBytes: number, real = false): Trial => makeTrial(asker, options, ipBytes, false, real)
  const pieces = (real: boolean): Trial => makeTrial(asker, options, largest + FRAGMENTED_EXCESS, true, real)
  const small = whole(0)
  const trials = [...new Set([largest, ...SIZES.filter((size) => size < largest)])].map((size) => whole(size))
  const fragmented = pieces(false)
  await askAll(asker, [small, ...trials, fragmented], options)
  if (small.outcome === 'answered') {
    if (!isSettled(trials)) return null
    const more = between(trials, asker.announcedMtu).map((size) => whole(size))
    await askAll(asker, more, options)
    return conclude(asker, [...trials, ...more], fragmented)
  }
  // A gateway that is silent about offers which it does not like: two real ones, each of which it will remember for a while.
  const [one, two] = [whole(largest, true), pieces(true)]
  await askAll(asker, [one, two], options)
  const isTelling = isSettled([one]) && [one, two].some(({ outcome }) => outcome === 'answered')
  return isTelling ? conclude(asker, [one], two) : null
}

function isSettled(trials: readonly Trial[]): boolean {
  return trials.every(({ outcome }) => outcome !== undefined)
}

/** No more than Ethernet has: nothing on the Internet is known to take more. */
function largestOf({ socket }: LargeMessageAsker): number {
  return Math.min(socket.linkMtu, SIZES[0] ?? socket.linkMtu)
}

function makeTrial(
  asker: LargeMessageAsker,
  { proposals, random }: LargeMessageOptions,
  ipBytes: number,
  fragmented: boolean,
  real: boolean
): Trial {
  const question = {
    proposals: real ? proposals : REFUSABLE_OFFER,
    real,
    remote: asker.socket.remote,
    lengthBytes: ipBytes - asker.overhead
  }
  return { probe: new InitProbe(question, random), ipBytes, fragmented, outcome: undefined }
}

/** Sizes that narrow down the limit: what a router named, else some between what passed and what did not. */
function between(trials: readonly Trial[], announcedMtu: number | undefined): readonly number[] {
  const passed = Math.max(
    0,
    ...trials.filter(({ outcome }) => outcome === 'answered').map(({ ipBytes }) => ipBytes)
  )
  const lost = trials.filter(({ ipBytes }) => ipBytes > passed).map(({ ipBytes }) => ipBytes)
  if (passed === 0 || lost.length === 0) return []
  const limit = Math.min(...lost)
  if (announcedMtu !== undefined) return announcedMtu > passed && announcedMtu < limit ? [announcedMtu] : []
  const step = (limit - passed) / (FINER_SIZES + 1)
  if (step < 1) return []
  return Array.from({ length: FINER_SIZES }, (_, index) => Math.round(passed + step * (index + 1)))
}

async function askAll(
  asker: LargeMessageAsker,
  trials: readonly Trial[],
  options: LargeMessageOptions
): Promise<void> {
  const { clock, signal, rttMs } = options
  const bell = new Bell(clock, signal)
  const open = (): Trial[] => trials.filter(({ outcome }) => outcome === undefined)
  for (const trial of trials) {
    asker.listen(trial.probe, () => {
      trial.outcome = 'answered'
      if (open().length === 0) bell.ring()
    })
  }
  const wanted = (rttMs ?? LEAST_PATIENCE_MS) * ROUND_TRIPS_OF_PATIENCE
  const patience = Math.min(Math.max(wanted, LEAST_PATIENCE_MS), MOST_PATIENCE_MS)
  const proof = Math.max(patience, (rttMs ?? 0) * ROUND_TRIPS_OF_PROOF)
  const startedAt = clock.now()
  const another = (round: number): boolean =>
    round < ROUNDS || (round < MOST_ROUNDS && clock.now() - startedAt < MORE_ROUNDS_WITHIN_MS)
  const waitUntil = async (untilMs: number): Promise<void> => {
    while (open().length > 0 && clock.now() < untilMs && !signal.aborted) await bell.wait(untilMs)
  }
  let sentAtMs = startedAt
  for (let round = 0; another(round) && open().length > 0 && !signal.aborted; round++) {
    for (const trial of open())
      if (!asker.send(trial.probe, trial.fragmented ? 'allowed' : 'never')) trial.outcome = 'refused'
    sentAtMs = clock.now()
    await waitUntil(sentAtMs + patience)
  }
  await waitUntil(sentAtMs + proof)
  await waitUntil(clock.now() + LAST_LOOK_MS)
  for (const trial of trials) asker.forget(trial.probe)
  if (signal.aborted) return
  for (const trial of open()) trial.outcome = 'lost'
}

function conclude(
  asker: LargeMessageAsker,
  whole: readonly Trial[],
  fragmented: Trial
): LargeMessageEvidence {
  const { announcedMtu, socket } = asker
  const largest = largestOf(asker)
  const probes = [...whole, fragmented].flatMap(({ ipBytes, fragmented: inPieces, outcome }) => {
    if (outcome === undefined) return []
    // Whoever says what fits has refused the rest, also where it did not say so each time.
    const isRefused = announcedMtu !== undefined && !inPieces && ipBytes > announcedMtu && outcome === 'lost'
    return [{ ipBytes, fragmented: inPieces, outcome: isRefused ? 'refused' : outcome } as const]
  })
  const passed = whole.filter(({ outcome }) => outcome === 'answered').map(({ ipBytes }) => ipBytes)
  const pathMtu = passed.length === 0 ? null : Math.max(...passed)
  // The fragments are as large as the link takes: only where that much passes does their loss say anything about fragments.
  const telling = pathMtu === largest
  return {
    port: socket.remote.port,
    linkMtu: largest,
    probes: probes.sort((a, b) => b.ipBytes - a.ipBytes),
    pathMtu,
    announcedMtu: announcedMtu ?? null,
    fragments:
      fragmented.outcome === 'answered'
        ? 'pass'
        : telling && fragmented.outcome === 'lost'
          ? 'lost'
          : 'unknown'
  }
}
