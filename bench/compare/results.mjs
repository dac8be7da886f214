/**
 * Rounds of all programs made into one figure each, and into ratios. A ratio of two programs is the median of the ratios in each
 * round: whatever else the machine did in a round, it did to both.
 * @module
 */
import { medianOf, quantileOf, ratio } from './statistics.mjs'

/**
 * @typedef {object} PeerResult
 * @property {string} name
 * @property {string} label
 * @property {boolean} own ikestream itself
 * @property {string} version
 * @property {readonly any[]} rounds what `measureRound` returned; holes where a round failed
 */

/**
 * A figure: how it is read from a round, and which direction is good.
 * @typedef {object} Metric
 * @property {(round: any) => number | undefined} of
 * @property {boolean} more whether more is better
 */

/** Figures of one round. Rates are per second, times in microseconds unless their name says more. */
export const METRICS = {
  up1: bulkRate('up1'),
  down1: bulkRate('down1'),
  up4: bulkRate('up4'),
  down4: bulkRate('down4'),
  /** Geometric mean of the four. */
  throughput: metric(
    (round) => geometricMean(Object.values(round.tcp).map((one) => one.bitsPerSecond)),
    true
  ),
  up64: packetRate('up64'),
  down64: packetRate('down64'),
  up1300: packetRate('up1300'),
  down1300: packetRate('down1300'),
  smallPackets: metric((round) => ratesOf(round, 'up64', 'down64'), true),
  largePackets: metric((round) => ratesOf(round, 'up1300', 'down1300'), true),
  clientCpu: metric((round) => cpuPerGigabyte(round, 'client'), false),
  gatewayCpu: metric((round) => cpuPerGigabyte(round, 'gateway'), false),
  idleMedian: metric((round) => quantileOf(round.idleUs, 0.5), false),
  idleP99: metric((round) => quantileOf(round.idleUs, 0.99), false),
  loadedMedian: metric((round) => worseOf(round, 0.5), false),
  loadedP99: metric((round) => worseOf(round, 0.99), false),
  clientMemory: metric((round) => round.memory.client || undefined, false),
  gatewayMemory: metric((round) => round.memory.gateway || undefined, false),
  firstPacketMs: metric((round) => medianOf(round.firstPacketMs), false)
}

/**
 * The median over rounds.
 * @param {PeerResult | undefined} result
 * @param {Metric} which
 */
export function figure(result, which) {
  return medianOf(valuesOf(result, which))
}

/**
 * How many times as much as the other one.
 * @param {PeerResult | undefined} result
 * @param {PeerResult | undefined} reference
 * @param {Metric} which
 */
export function ratioOf(result, reference, which) {
  const references = valuesOf(reference, which)
  return medianOf(valuesOf(result, which).map((value, index) => ratio(value, references[index])))
}

/**
 * The program of somebody else with the best median.
 * @param {readonly PeerResult[]} results
 * @param {Metric} which
 * @returns {PeerResult | undefined}
 */
export function bestPeer(results, which) {
  const others = results
    .filter(({ own, name }) => !own && name !== 'link')
    .map((result) => ({ result, value: figure(result, which) }))
    .filter(({ value }) => value !== undefined)
    .sort((a, b) => (which.more ? b.value - a.value : a.value - b.value))
  return others[0]?.result
}

/**
 * @param {readonly PeerResult[]} results
 * @param {string} name
 */
export function named(results, name) {
  return results.find((result) => result.name === name)
}

function metric(of, more) {
  return { of, more }
}

function bulkRate(key) {
  return metric((round) => round.tcp[key]?.bitsPerSecond, true)
}

function packetRate(key) {
  return metric((round) => round.udp[key]?.packetsPerSecond, true)
}

function valuesOf(result, which) {
  return (result?.rounds ?? []).map((round) => (round ? which.of(round) : undefined))
}

function ratesOf(round, ...keys) {
  return geometricMean(keys.map((key) => round.udp[key]?.packetsPerSecond))
}

/** Over all TCP runs of the round. */
function cpuPerGigabyte(round, end) {
  const runs = Object.values(round.tcp)
  const seconds = runs.reduce((total, run) => total + run.cpuSeconds[end], 0)
  const bytes = runs.reduce((total, run) => total + run.bytes, 0)
  return seconds > 0 ? seconds / (bytes / 1e9) : undefined
}

/** Round trips while flows run: the direction that is worse. */
function worseOf(round, share) {
  const values = [round.tcp.up4, round.tcp.down4].map((run) => quantileOf(run?.loadedUs ?? [], share))
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

function geometricMean(values) {
  const known = values.filter((value) => value > 0)
  if (known.length === 0) return undefined
  return Math.exp(known.reduce((total, value) => total + Math.log(value), 0) / known.length)
}
