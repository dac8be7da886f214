/**
 * What is measured of one program in one round.
 * @module
 */
import { fileURLToPath } from 'node:url'
import { runIperf, startIperfServer } from '../lib/iperf.mjs'
import { loadNow } from '../lib/machine.mjs'
import { cpuSeconds, memoryBytes } from './process-tree.mjs'
import { ECHO_PORT } from './site.mjs'
import { parsePingTimes, udpRates } from './tool-output.mjs'

const PROBE_TOOL = fileURLToPath(new URL('./probe-tool.mjs', import.meta.url))
/** IPv4 and UDP: sizes are those of whole inner packets. */
const HEADER_BYTES = 28
/** At 10 ms and below, `ping` does not sleep in between: it would take one of the cores for itself. */
export const PING_IDLE_MS = 20
/** Longer, since it does not sleep either when an answer comes within the last 10 ms before the next question. */
export const PING_LOADED_MS = 25
/** After this long an echo counts as lost. */
const PING_WAIT_US = 1_000_000

/** TCP: how many flows at a time, and whether the gateway sends. */
export const FLOWS = [
  { key: 'up1', flows: 1, reverse: false },
  { key: 'down1', flows: 1, reverse: true },
  { key: 'up4', flows: 4, reverse: false },
  { key: 'down4', flows: 4, reverse: true }
]

/** UDP, sent flat out: bytes of an inner packet, and whether the gateway sends. */
export const PACKETS = [
  { key: 'up64', lengthBytes: 64, reverse: false },
  { key: 'down64', lengthBytes: 64, reverse: true },
  { key: 'up1300', lengthBytes: 1300, reverse: false },
  { key: 'down1300', lengthBytes: 1300, reverse: true }
]

/**
 * Starts both ends, measures everything, and stops them.
 * @param {import('./site.mjs').Site} site
 * @param {import('../peers/types.mjs').Peer} peer
 * @param {{ readonly seconds: number, readonly starts: number, readonly idlePings: number }} options whole `seconds` of each TCP
 *   run, half of that for UDP; `starts`: how often the
 *   client's command is timed
 */
export async function measureRound(site, peer, { seconds, starts, idlePings }) {
  const server = await peer.startServer(site)
  // A fresh one each time: a test that failed would leave it busy.
  const stopIperf = await startIperfServer(site.gateway, '0.0.0.0')
  let client
  try {
    const firstPacketMs = []
    for (let left = starts; left > 0; left--) {
      const started = await timedStart(site, peer)
      client = started.client
      firstPacketMs.push(started.firstPacketMs)
      if (left > 1) await client.stop()
    }
    const ends = { client: client.pids, gateway: server.pids }
    const tcp = {}
    for (const { key, flows, reverse } of FLOWS)
      tcp[key] = await measureFlows(site, peer, ends, { flows, reverse, seconds, withPing: flows > 1 })
    const udp = {}
    const udpSeconds = Math.max(1, Math.floor(seconds / 2))
    for (const { key, lengthBytes, reverse } of PACKETS)
      udp[key] = await measurePackets(site, peer, ends, { lengthBytes, reverse, seconds: udpSeconds })
    // Last, so that every program has done its work before, as one that runs all day has.
    const idleUs = await ping(site, peer, { count: idlePings, everyMs: PING_IDLE_MS })
    const memory = {
      client: memoryBytes(ends.client, 'VmHWM'),
      gateway: memoryBytes(ends.gateway, 'VmHWM')
    }
    return { firstPacketMs, idleUs, tcp, udp, memory, loadAverage: loadNow()[0] }
  } finally {
    await client?.stop()
    await stopIperf()
    await server.stop()
  }
}

/**
 * Runs the client's command, and says how long it took until the first packet came back through the tunnel. It ends with an
 * error if the client ends before.
 * @returns {Promise<{ client: import('../peers/types.mjs').RunningClient, firstPacketMs: number | undefined }>}
 */
export async function timedStart(site, peer) {
  const probe = site.start('client', [process.execPath, PROBE_TOOL, peer.innerAddress, String(ECHO_PORT)])
  let client
  try {
    await probe.printed(/asking/)
    const startedAt = process.hrtime.bigint()
    client = await peer.startClient(site)
    await probe.until('get an answer', () => {
      if (client.program?.ended === true) throw client.program.failure('ended')
      return /answered/.test(probe.output())
    })
    const answeredAt = BigInt(/answered (\d+)/.exec(probe.output())[1])
    // The bare link answered before anything was started.
    const firstPacketMs = client.program === undefined ? undefined : Number(answeredAt - startedAt) / 1e6
    return { client, firstPacketMs }
  } catch (error) {
    await client?.stop()
    throw error
  } finally {
    await probe.stop()
  }
}

async function measureFlows(site, peer, ends, { flows, reverse, seconds, withPing }) {
  const options = { address: peer.innerAddress, seconds, flows, reverse }
  const count = Math.floor((seconds * 1000) / PING_LOADED_MS)
  const pings = withPing ? ping(site, peer, { count, everyMs: PING_LOADED_MS }) : undefined
  const { cpu, result } = await withCpu(ends, () => runIperf(site.client, options))
  return {
    bitsPerSecond: result.bitsPerSecond,
    bytes: result.report.end.sum_received.bytes,
    retransmits: result.retransmits,
    cpuSeconds: cpu,
    ...(withPing ? { loadedUs: await pings } : {})
  }
}

async function measurePackets(site, peer, ends, { lengthBytes, reverse, seconds }) {
  const payloadBytes = lengthBytes - HEADER_BYTES
  const options = { address: peer.innerAddress, seconds, reverse, udp: true, lengthBytes: payloadBytes }
  const { cpu, result } = await withCpu(ends, () => runIperf(site.client, options))
  return { ...udpRates(result.report, payloadBytes), cpuSeconds: cpu }
}

async function withCpu({ client, gateway }, work) {
  const before = { client: cpuSeconds(client), gateway: cpuSeconds(gateway) }
  const result = await work()
  const cpu = {
    client: cpuSeconds(client) - before.client,
    gateway: cpuSeconds(gateway) - before.gateway
  }
  return { cpu, result }
}

/** @returns {Promise<number[]>} microseconds of each; one that was not answered counts as the longest wait */
export async function ping(site, peer, { count, everyMs }) {
  const argv = ['ping', '-n', '-c', String(count), '-i', String(everyMs / 1000), '-W', '1', peer.innerAddress]
  const { stdout } = await site.client.runner.run(argv)
  const times = parsePingTimes(stdout)
  const lost = Math.max(0, count - times.length)
  return [...times, ...Array.from({ length: lost }, () => PING_WAIT_US)]
}
