/**
 * What ikestream wants to reach, against what a run has measured.
 * @module
 */
import { bestPeer, figure, METRICS, named, ratioOf } from './results.mjs'

/**
 * @typedef {object} TargetResult
 * @property {string} what
 * @property {string} wanted
 * @property {string} measured
 * @property {boolean | undefined} reached undefined: nothing to compare with on this machine
 */

/**
 * @param {readonly import('./results.mjs').PeerResult[]} results
 * @returns {TargetResult[]}
 */
export function judgeTargets(results) {
  const [udp, tcp, tls] = ['udp', 'tcp', 'tls'].map((name) => named(results, `ikestream-${name}`))
  const [openvpn, openconnect] = ['openvpn-tcp', 'openconnect-tls'].map((name) => named(results, name))
  const wireguard = bestPeer(
    results.filter(({ name }) => name.startsWith('wireguard-go')),
    METRICS.clientCpu
  )
  const best = bestPeer(results, METRICS.throughput)
  const { throughput, clientCpu, loadedP99, idleMedian, clientMemory, firstPacketMs } = METRICS
  const atLeast = (what, least, result, reference) =>
    target(
      what,
      `at least ${least} ×`,
      ratioOf(result, reference, throughput),
      (value) => value >= least,
      times
    )
  return [
    atLeast(`UDP throughput against the best peer${inBrackets(best)}`, 1.3, udp, best),
    atLeast('TCP encapsulation against OpenVPN over TCP', 3, tcp, openvpn),
    atLeast('TCP encapsulation against openconnect over TLS', 3, tcp, openconnect),
    atLeast('TCP encapsulation against our own UDP', 0.8, tcp, udp),
    atLeast('TLS encapsulation against openconnect over TLS', 2, tls, openconnect),
    target(
      `CPU-seconds per gigabyte at the client, UDP, against the best wireguard-go${inBrackets(wireguard)}`,
      'at most 0.7 ×',
      ratioOf(udp, wireguard, clientCpu),
      (value) => value <= 0.7,
      times
    ),
    target(
      'idle round trip added over the bare link, UDP, median',
      'at most 150 µs',
      difference(udp, named(results, 'link'), idleMedian),
      (value) => value <= 150,
      (value) => `${Math.round(value)} µs`
    ),
    target(
      'round trip during four bulk flows, p99, over TCP',
      'at most 20 ms',
      figure(tcp, loadedP99),
      (value) => value <= 20_000,
      (value) => `${(value / 1000).toFixed(1)} ms`
    ),
    target(
      'peak memory of the client (worst transport)',
      'at most 150 MB',
      worst([udp, tcp, tls].map((result) => figure(result, clientMemory))),
      (value) => value <= 150e6,
      (value) => `${Math.round(value / 1e6)} MB`
    ),
    target(
      'command to first packet through the tunnel (UDP, certificate)',
      'at most 300 ms',
      figure(udp, firstPacketMs),
      (value) => value <= 300,
      (value) => `${Math.round(value)} ms`
    ),
    target(
      "command to first packet, against charon-cmd's",
      'below 1 ×',
      ratioOf(udp, named(results, 'strongswan'), firstPacketMs),
      (value) => value < 1,
      times
    )
  ]
}

function target(what, wanted, value, isReached, shown) {
  if (value === undefined) return { what, wanted, measured: 'not measured', reached: undefined }
  return { what, wanted, measured: shown(value), reached: isReached(value) }
}

function inBrackets(result) {
  return result === undefined ? '' : ` (${result.label})`
}

function worst(values) {
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

function difference(result, reference, which) {
  const [value, base] = [figure(result, which), figure(reference, which)]
  return value === undefined || base === undefined ? undefined : value - base
}

function times(value) {
  return `${value.toFixed(2)} ×`
}
