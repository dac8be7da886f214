/**
 * iperf3 in namespaces of a lab: `apt-get install iperf3`.
 * @module
 */
import { spawnSync } from 'node:child_process'
import { terminate } from '../../dist/host/netlab.js'

/** How long a server may take until it listens, and what a test may take beyond its own length. */
const START_MS = 10_000
const GRACE_MS = 30_000

export function hasIperf() {
  return spawnSync('iperf3', ['--version'], { stdio: 'ignore' }).status === 0
}

/** A server that does one test after the other. @returns a function that ends it */
export async function startIperfServer(namespace, address, port = 5201) {
  const args = ['-s', '-B', address, '-p', String(port), '--forceflush']
  const child = namespace.spawn(['iperf3', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the iperf3 server did not start')), START_MS)
    let said = ''
    const look = (chunk) => {
      said += chunk
      if (!said.includes('listening')) return
      clearTimeout(timer)
      resolve()
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    child.once('exit', () => reject(new Error(`the iperf3 server ended: ${said}`)))
  })
  return () => terminate(child)
}

/**
 * One test to its end.
 *
 * @param options `address`, `port`, `seconds`; `omitSeconds` at the start do not count; `flows`; `reverse`: the server sends; `udp` with
 * `bitsPerSecond` and `lengthBytes`; `congestionControl` of the flows; `intervalSeconds` of `intervals`
 * @returns `bitsPerSecond` that arrived, of each of the `intervals` too ({ startS, endS, bitsPerSecond, omitted }), `retransmits` of the flows, and iperf3's own `report`
 */
export async function runIperf(namespace, options) {
  const {
    address,
    port = 5201,
    seconds,
    omitSeconds = 0,
    flows = 1,
    reverse = false,
    intervalSeconds = 1
  } = options
  const args = ['-c', address, '-p', String(port), '-J', '-t', String(seconds), '-i', String(intervalSeconds)]
  if (omitSeconds > 0) args.push('-O', String(omitSeconds))
  if (flows > 1) args.push('-P', String(flows))
  if (reverse) args.push('-R')
  if (options.congestionControl !== undefined) args.push('-C', options.congestionControl)
  if (options.udp === true) args.push('-u', '-b', String(options.bitsPerSecond ?? 0))
  if (options.lengthBytes !== undefined) args.push('-l', String(options.lengthBytes))
  const report = await jsonOf(namespace, args, (seconds + omitSeconds) * 1000 + GRACE_MS)
  const { end } = report
  return {
    bitsPerSecond: (end.sum_received ?? end.sum).bits_per_second,
    retransmits: end.sum_sent?.retransmits ?? 0,
    intervals: report.intervals.map(({ sum }) => ({
      startS: sum.start,
      endS: sum.end,
      bitsPerSecond: sum.bits_per_second,
      omitted: sum.omitted
    })),
    report
  }
}

async function jsonOf(namespace, args, limitMs) {
  const child = namespace.spawn(['iperf3', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  clearTimeout(timer)
  let report
  try {
    report = JSON.parse(stdout)
  } catch {
    throw new Error(`iperf3 printed no report: ${stderr.trim() || stdout.slice(0, 200)}`)
  }
  if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`)
  return report
}
