/**
 * Does the client's memory stay flat? Moves a lot of data over UDP, half in each direction, and looks at the resident set all the
 * time.
 * @module
 */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { startIperfServer } from '../lib/iperf.mjs'
import { allPeers } from '../peers/all.mjs'
import { timedStart } from './measure.mjs'
import { summary } from './memory-summary.mjs'
import { memoryBytes } from './process-tree.mjs'

const LOOK_EVERY_MS = 250

/**
 * @param {import('./site.mjs').Site} site
 * @param {{ readonly gigabytes: number, readonly say: (text: string) => void }} options
 */
export async function watchMemory(site, { gigabytes, say }) {
  const peer = allPeers([]).find(({ name }) => name === 'ikestream-udp')
  const server = await peer.startServer(site)
  const stopIperf = await startIperfServer(site.gateway, '0.0.0.0')
  const { client } = await timedStart(site, peer)
  try {
    const samples = [sample(site, client)]
    for (const reverse of [false, true]) {
      say(`moving ${gigabytes / 2} GB ${reverse ? 'down' : 'up'}`)
      await transfer(site, peer.innerAddress, (gigabytes * 1e9) / 2, reverse, () =>
        samples.push(sample(site, client))
      )
    }
    const start = samples[0].moved
    const moved = samples.map(({ moved: bytes, rss }) => ({ moved: bytes - start, rss }))
    const peak = memoryBytes(client.pids, 'VmHWM')
    return { samples: moved, peakBytes: peak, ...summary(moved, peak) }
  } finally {
    await client.stop()
    await stopIperf()
    await server.stop()
  }
}

async function transfer(site, address, bytes, reverse, look) {
  const argv = ['iperf3', '-c', address, '-n', String(Math.round(bytes)), ...(reverse ? ['-R'] : [])]
  const program = site.start('client', argv)
  while (!program.ended) {
    site.signal.throwIfAborted()
    await delay(LOOK_EVERY_MS)
    look()
  }
  if (program.child.exitCode !== 0) throw program.failure('failed')
}

function sample(site, client) {
  return { moved: bytesOnTheWire(site.client.pid), rss: memoryBytes(client.pids, 'VmRSS') }
}

/** Both directions of the veth pair, by the client's end. */
function bytesOnTheWire(pid) {
  const match = /outer0:\s*(.*)/.exec(readFileSync(`/proc/${pid}/net/dev`, 'utf8'))
  const fields = (match?.[1] ?? '').trim().split(/\s+/).map(Number)
  return (fields[0] ?? 0) + (fields[8] ?? 0)
}
