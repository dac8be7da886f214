/**
 * How `bench:loss` measures one cell on a lane.
 * @module
 */
import { LINK, SMALL_FLOW } from './loss-plan.mjs'
import { loadNow } from './machine.mjs'
import { median, quantile } from './numbers.mjs'

/** What counts begins when flows had this long, and this many round trips, to find their speed. */
const SETTLE_S = 1.5
const SETTLE_ROUND_TRIPS = 5
const COUNT_S = 5
/** Around an outage. */
const BEFORE_S = 6
const AFTER_S = 20
/** Back at speed: this share of what was before, over this long. */
const BACK_AT_SHARE = 0.8
const BACK_OVER_MS = 500

const QUANTILES = Array.from({ length: 101 }, (_, percent) => percent / 100)

/** @returns what is kept of the cell */
export async function measureCell(lane, cell) {
  const conditions = {
    delayMs: cell.roundTripMs / 2,
    rateBitsPerSecond: LINK.rateBitsPerSecond,
    queueBytes: (LINK.rateBitsPerSecond / 8) * (LINK.queueMs / 1000),
    loss: cell.lossPercent / 100
  }
  const { address, mark } = await lane.prepare(cell.tunnel, conditions)
  const how = { throughput, latency, outage }[cell.kind]
  const result = await how(lane, cell, address)
  return { ...result, incidents: lane.incidents(cell.tunnel, mark), load: loadNow()[0] }
}

async function throughput(lane, { roundTripMs, flows, inner }, address) {
  const omitSeconds = SETTLE_S + (SETTLE_ROUND_TRIPS * roundTripMs) / 1000
  const order = { address, flows, congestionControl: inner, omitSeconds, seconds: omitSeconds + COUNT_S }
  const { flowBytes, openedMs } = await lane.bulk(order)
  return {
    mbitPerSecond: mbit(sum(flowBytes), COUNT_S),
    flowMbit: flowBytes.map((bytes) => mbit(bytes, COUNT_S)),
    openedMs
  }
}

async function latency(lane, { seconds, flows, inner }, address) {
  const bulk =
    flows === 0
      ? undefined
      : lane.bulk({
          address,
          flows,
          congestionControl: inner,
          seconds: seconds + SETTLE_S + 1,
          omitSeconds: SETTLE_S
        })
  if (bulk !== undefined) await new Promise((resolve) => setTimeout(resolve, SETTLE_S * 1000))
  const { sent, delaysMs } = await lane.latency({ address, seconds, ...SMALL_FLOW })
  const beside = await bulk
  const own = delaysMs.map(([, delayMs]) => delayMs)
  return {
    sent,
    arrived: own.length,
    delayQuantilesMs: QUANTILES.map((share) => rounded(quantile(own, share))),
    p999Ms: rounded(quantile(own, 0.999)),
    bulkMbitPerSecond: beside === undefined ? null : mbit(sum(beside.flowBytes), seconds + 1)
  }
}

async function outage(lane, { secondsOut, flows, inner }, address) {
  const seconds = BEFORE_S + secondsOut + AFTER_S
  const bulk = lane.bulk({ address, flows, congestionControl: inner, seconds })
  await new Promise((resolve) => setTimeout(resolve, BEFORE_S * 1000))
  const { fromMs, toMs } = await lane.link.outage(secondsOut * 1000)
  const { fromMs: startedMs, binMs, bins } = await bulk
  const speeds = bins.map((bytes) => mbit(bytes, binMs / 1000))
  const firstOut = Math.floor((fromMs - startedMs) / binMs)
  const before = median(speeds.slice(firstOut - 30, firstOut))
  return {
    beforeMbitPerSecond: before,
    recoveryMs: recovery(speeds, binMs, toMs - startedMs, before),
    outageMs: { from: rounded(fromMs - startedMs), to: rounded(toMs - startedMs) },
    binMs,
    speedsMbit: speeds
  }
}

/** @returns from the end of the outage to the beginning of the first stretch at speed; null: it did not come back in time */
function recovery(speeds, binMs, endedAtMs, before) {
  const over = BACK_OVER_MS / binMs
  for (let bin = Math.floor(endedAtMs / binMs); bin + over <= speeds.length; bin++) {
    const mean = sum(speeds.slice(bin, bin + over)) / over
    if (mean >= before * BACK_AT_SHARE) return Math.max(0, rounded(bin * binMs - endedAtMs))
  }
  return null
}

function sum(values) {
  return values.reduce((total, one) => total + one, 0)
}

function mbit(bytes, seconds) {
  return rounded((bytes * 8) / seconds / 1e6)
}

function rounded(value) {
  return Number.isFinite(value) ? Math.round(value * 100) / 100 : null
}
