/**
 * What `bench:loss` measures: a list of cells, each a measurement of its own with a name by which it is found again.
 * @module
 */
import { seededChance } from '../../dist/host/link/chance.js'
import { TUNNELS } from './lane.mjs'

/** A line as homes and hotels have it, slow enough that the processor is not what bounds it. */
export const LINK = { rateBitsPerSecond: 50e6, queueMs: 50, mtu: 1500 }
/** What the small flow is: a call, 50 datagrams a second. */
export const SMALL_FLOW = { perSecond: 50, lengthBytes: 160 }
const SEED = 42

/** TLS behaves as TCP does, a little slower: at one delay only. */
const TLS_ROUND_TRIP_MS = 50

const FULL = {
  lossPercents: [0, 0.5, 1, 2, 3],
  roundTripsMs: [5, 50, 200, 500],
  flows: [1, 4],
  innerBbr: { lossPercents: [0, 0.5, 1, 2, 3], roundTripsMs: [50, 200], flows: [1] },
  latency: { lossPercents: [0, 1, 3], roundTripMs: 50, bulkFlows: [0, 4], seconds: 10 },
  outage: {
    secondsOut: [1, 5, 15],
    roundTripMs: 50,
    tunnels: TUNNELS.map(({ name }) => name).filter((name) => name !== 'TLS, CUBIC')
  },
  tunnels: TUNNELS.map(({ name }) => name)
}

const QUICK = {
  ...FULL,
  lossPercents: [0, 3],
  roundTripsMs: [50],
  flows: [1],
  innerBbr: { lossPercents: [0, 3], roundTripsMs: [50], flows: [1] },
  latency: { lossPercents: [3], roundTripMs: 50, bulkFlows: [0, 4], seconds: 5 },
  outage: { secondsOut: [1], roundTripMs: 50, tunnels: ['UDP', 'TCP, as it comes'] },
  tunnels: [
    ...['no tunnel', 'UDP', 'TCP, CUBIC', 'TCP, BBR', 'TLS, BBR'],
    ...['TCP, as it comes', 'TCP, as it came before']
  ]
}

/** Cells in an order that spreads whatever else the machine does over all of them, the tunnels of one point side by side. */
export function makePlan({ quick, before }) {
  const plan = quick ? QUICK : FULL
  const known = new Map(TUNNELS.map((tunnel) => [tunnel.name, tunnel]))
  const isWanted = (name, { roundTripMs }) =>
    (before || known.get(name).before !== true) &&
    (roundTripMs === TLS_ROUND_TRIP_MS || known.get(name).transport !== 'tls')
  const points = [
    ...gridPoints(plan, 'cubic'),
    ...gridPoints(plan.innerBbr, 'bbr'),
    ...plan.latency.lossPercents.flatMap((lossPercent) =>
      plan.latency.bulkFlows.map((flows) => ({
        ...{ kind: 'latency', lossPercent, flows, inner: 'cubic' },
        ...{ roundTripMs: plan.latency.roundTripMs, seconds: plan.latency.seconds }
      }))
    ),
    ...plan.outage.secondsOut.map((secondsOut) => ({
      ...{ kind: 'outage', secondsOut, roundTripMs: plan.outage.roundTripMs, inner: 'cubic' },
      ...{ lossPercent: 0, flows: 1, tunnels: plan.outage.tunnels }
    }))
  ]
  const chance = seededChance(SEED)
  const cells = shuffled(points, chance).flatMap(({ tunnels = plan.tunnels, ...point }) =>
    shuffled(tunnels, chance)
      .filter((tunnel) => isWanted(tunnel, point))
      .map((tunnel) => withKey({ ...point, tunnel }))
  )
  return { cells, tunnels: plan.tunnels.filter((name) => before || known.get(name).before !== true) }
}

function gridPoints({ lossPercents, roundTripsMs, flows }, inner) {
  return lossPercents.flatMap((lossPercent) =>
    roundTripsMs.flatMap((roundTripMs) =>
      flows.map((count) => ({ kind: 'throughput', inner, lossPercent, roundTripMs, flows: count }))
    )
  )
}

function withKey(cell) {
  const { kind, inner, tunnel, flows, lossPercent, roundTripMs, secondsOut } = cell
  const key = [
    kind,
    `inner ${inner}`,
    tunnel,
    `flows ${flows}`,
    `loss ${lossPercent} %`,
    `rtt ${roundTripMs} ms`
  ]
  if (secondsOut !== undefined) key.push(`outage ${secondsOut} s`)
  return { key: key.join(' | '), ...cell }
}

function shuffled(list, chance) {
  const copy = [...list]
  for (let index = copy.length - 1; index > 0; index--) {
    const other = Math.floor(chance() * (index + 1))
    const [a, b] = [copy[index], copy[other]]
    copy[index] = b
    copy[other] = a
  }
  return copy
}
