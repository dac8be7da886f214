/**
 * The state of one rung, and the questions that the ladder asks about rungs.
 * @module
 */
import type { TransportKind } from '../wire/endpoint.ts'
import type { LadderInput, LadderTimings, Rung } from './ladder-types.ts'

/**
 *     waiting -> opening -> open -> ike -> answered -> established
 *        ^          |        |       |        |
 *        |          v        v       v        v
 *        |        failed  parked   late (UDP only: given up, still listened to)
 *        +-- parked: its connection is gone, but it may be opened again
 */
type RungPhase =
  | 'waiting'
  | 'opening'
  | 'open'
  | 'ike'
  | 'answered'
  | 'established'
  | 'late'
  | 'parked'
  | 'failed'

export interface RungState {
  readonly rung: Rung
  readonly group: number
  /** Place of its transport in the order, and of its address. */
  readonly rank: number
  readonly index: number
  phase: RungPhase
  /** `waiting`: when to open. `opening`, `ike`, `answered`, `late`: when that has lasted too long. */
  deadline: number | undefined
  /** `answered`: when a rumour that the gateway has forgotten the session is believed, unless the gateway itself is heard. */
  doubtUntil: number | undefined
  /** Something authentic came in the IKE session. */
  proven: boolean
  /** When its connection was opened. */
  openedAt: number
  /** When IKE began on it. */
  ikeAt: number
  /** Connections that may still be opened after the first. */
  reopensLeft: number
  /** The IKE session goes on when the connection is open again. */
  resume: boolean
  /** Came back after it was given up. */
  returned: boolean
}

/** For INVALID_KE_PAYLOAD and COOKIE in a row, an idle close in between, and a gateway that forgets. */
const REOPENS = 3

export function isStream(state: RungState): boolean {
  return state.rung.transport !== 'udp'
}

/** An IKE session runs here and is not given up; its connection may be on its way back. */
export function isActive(state: RungState): boolean {
  const { phase } = state
  return (
    phase === 'ike' ||
    phase === 'answered' ||
    phase === 'established' ||
    (phase === 'opening' && state.resume)
  )
}

/** There is an IKE session to be told about. */
export function hasIke(state: RungState): boolean {
  return isActive(state) || state.phase === 'late'
}

/** Could still be given its turn. */
export function isCandidate(state: RungState): boolean {
  const { phase } = state
  return (
    phase === 'waiting' || phase === 'open' || phase === 'parked' || (phase === 'opening' && !state.resume)
  )
}

/** UDP that made room for another address of the gateway: only tried again when nothing else is left. */
export function isLastResort(state: RungState): boolean {
  return state.phase === 'parked' && !isStream(state)
}

/** All rungs, in groups of neighbours in the order that are tried together: UDP alone, streams side by side. */
export function buildRungs(input: LadderInput): RungState[] {
  const order = [...new Set(input.order)]
  const remembered = input.remembered
  const states: RungState[] = []
  let group = -1
  let previous: TransportKind | undefined
  for (const [rank, transport] of order.entries()) {
    if (previous === undefined || previous === 'udp' || transport === 'udp') group++
    previous = transport
    const known = transport === 'udp' ? input.addresses : (input.streamAddresses ?? input.addresses)
    const ours = remembered?.transport === transport
    const addresses = ours ? firstOf(known, remembered.address) : known
    for (const [index, address] of addresses.entries()) {
      const rung: Rung = {
        id: states.length + 1,
        transport,
        address,
        via: transport === 'udp' ? null : (input.via ?? null),
        remembered: ours && index === 0
      }
      states.push({
        rung,
        group,
        rank,
        index,
        phase: 'waiting',
        deadline: undefined,
        doubtUntil: undefined,
        proven: false,
        openedAt: 0,
        ikeAt: 0,
        reopensLeft: REOPENS,
        resume: false,
        returned: false
      })
    }
  }
  return states
}

function firstOf(addresses: readonly string[], first: string | undefined): readonly string[] {
  if (first === undefined || !addresses.includes(first)) return addresses
  return [first, ...addresses.filter((address) => address !== first)]
}

/** Delay between the starts of two addresses, such that all have started in time. */
export function staggerMs(timings: LadderTimings, addresses: number): number {
  return addresses < 2
    ? 0
    : Math.min(timings.addressStaggerMs, timings.addressStaggerTotalMs / (addresses - 1))
}

/**
 * Best first: a transport that stayed silent at one address is tried last at the others (what swallows it is most
 * likely near this machine), else the user's order, else the order of addresses.
 */
export function compareStreams(silent: ReadonlyMap<TransportKind, number>) {
  const silences = (state: RungState) => silent.get(state.rung.transport) ?? 0
  return (a: RungState, b: RungState): number =>
    silences(a) - silences(b) || a.rank - b.rank || a.index - b.index
}
