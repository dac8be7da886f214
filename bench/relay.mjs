/**
 * What the relay costs: a client reaches a gateway's UDP port through it, over TCP and TLS, with four flows in each direction and a
 * ping beside them. Relays take turns in one run: this one, this one with its streams left to Node, and other builds.
 *
 *     npm run bench:relay [-- --rounds 3 --seconds 3 --relay NAME=PATH/bin/ikestream.js --json FILE --document]
 *
 * `--relay` adds another build of ikestream as the relay; client and gateway are always this one. `--document` writes the table into
 * docs/PERFORMANCE.md. Two namespaces and a veth pair; relay and gateway share one of them. Needs root or user namespaces, iperf3 and
 * ping. Exits with 1 when something could not be measured; never because of a figure.
 * @module
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { PING_IDLE_MS, PING_LOADED_MS, ping } from './compare/measure.mjs'
import { cpuSeconds, memoryBytes } from './compare/process-tree.mjs'
import { GATEWAY_ADDRESS, Site } from './compare/site.mjs'
import { quantileOf } from './compare/statistics.mjs'
import { formatTable } from './compare/tables.mjs'
import { replaceInDocument } from './lib/document.mjs'
import { interruption } from './lib/interrupt.mjs'
import { hasIperf, runIperf, startIperfServer } from './lib/iperf.mjs'
import { describeMachine, loadNow } from './lib/machine.mjs'
import { forgetNodeSettings, GATEWAY_NAME, IKESTREAM, INNER_ADDRESS } from './lib/site.mjs'

const TRANSPORTS = ['tcp', 'tls']
const FLOWS = 4
const IDLE_PINGS = 100
/** Of the relay's TLS listener; it does no harm that the gateway's certificate is the relay's, too. */
const LISTEN = { tcp: `${GATEWAY_ADDRESS}:4500`, tls: `${GATEWAY_ADDRESS}:443` }

const interrupted = interruption()

forgetNodeSettings()
try {
  const options = readOptions()
  if (!hasIperf()) throw new Error('iperf3 is missing: apt-get install iperf3')
  const site = await Site.open(interrupted)
  try {
    await site.unlessInterrupted(compare(site, options))
  } finally {
    await site.close()
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode ??= 1
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '3' },
      relay: { type: 'string', multiple: true, default: [] },
      json: { type: 'string' },
      document: { type: 'boolean', default: false }
    }
  })
  const others = values.relay.map((text) => {
    const at = text.indexOf('=')
    if (at < 1) throw new Error(`--relay ${text} is not NAME=PATH`)
    return { name: text.slice(0, at), program: text.slice(at + 1), env: {} }
  })
  return {
    ...values,
    rounds: positive('--rounds', values.rounds),
    seconds: positive('--seconds', values.seconds),
    relays: [
      ...others,
      { name: 'left to Node', program: IKESTREAM, env: { IKESTREAM_NO_DIRECT_STREAMS: '1' } },
      { name: 'direct', program: IKESTREAM, env: {} }
    ]
  }
}

function positive(name, text) {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} needs a whole number, at least 1`)
  return value
}

async function compare(site, options) {
  const machine = describeMachine()
  const gateway = await startGateway(site)
  const stopIperf = await startIperfServer(site.gateway, '0.0.0.0')
  const cases = TRANSPORTS.flatMap((transport) =>
    options.relays.map((relay) => ({ transport, relay, rounds: [] }))
  )
  for (let round = 0; round < options.rounds; round++) {
    say(`round ${round + 1} of ${options.rounds}, load ${loadNow().join(' ')}`)
    // Each round begins with another one.
    for (const index of cases.keys()) {
      const one = cases[(index + round) % cases.length]
      const result = await measure(site, one, options)
      one.rounds.push(result)
      const { up, down } = result
      const rates = [up, down].map(({ bitsPerSecond }) => (bitsPerSecond / 1e9).toFixed(2)).join(' and ')
      say(`  ${one.transport} ${one.relay.name}: ${rates} Gbit/s`)
    }
  }
  await stopIperf()
  await gateway.stop()
  const text = `${formatTable(tableOf(cases))}\n\n${provenance(machine, options)}`
  say(`\n${text}`)
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ machine, cases }, null, 1)}\n`)
  if (options.document) replaceInDocument('relay', text)
}

async function startGateway(site) {
  const { ca, server, serverKey } = site.credentials
  const gateway = site.start(
    'gateway',
    [
      ...[process.execPath, IKESTREAM, 'gateway', '--json', '--listen', GATEWAY_ADDRESS],
      ...['--no-tcp', '--no-tls', '--identity', GATEWAY_NAME, '--certificate', server],
      ...['--sslkey', serverKey, '--client-cafile', ca]
    ],
    { IKESTREAM_STATE_DIR: site.path('gateway-state') }
  )
  await gateway.printed(/"event":"listening"/)
  return gateway
}

async function measure(site, { transport, relay: { program, env } }, { seconds }) {
  const { ca, server, serverKey, client: certificate, clientKey } = site.credentials
  const tls = transport === 'tls' ? ['--tls', '--certificate', server, '--sslkey', serverKey] : []
  const relay = site.start(
    'gateway',
    [
      ...[process.execPath, program, 'relay', '--json', '--target', `${GATEWAY_ADDRESS}:4500`],
      ...['--listen', LISTEN[transport], ...tls]
    ],
    env
  )
  let client
  try {
    await relay.printed(/"event":"listening"/)
    client = site.start(
      'client',
      [
        ...[process.execPath, IKESTREAM, 'connect', GATEWAY_ADDRESS, '--transport', transport, '--json'],
        ...['--non-inter', '--no-dns', '--no-proxy', '--esp-proposal', 'aes128gcm16'],
        ...['--remote-identity', GATEWAY_NAME, '--cafile', ca, '--no-system-trust'],
        ...['--certificate', certificate, '--sslkey', clientKey, '--remote-ts', '10.99.0.0/24']
      ],
      { IKESTREAM_STATE_DIR: site.path('client-state') }
    )
    await client.printed(/"event":"connected"/)
    const peer = { innerAddress: INNER_ADDRESS }
    const idleUs = await ping(site, peer, { count: IDLE_PINGS, everyMs: PING_IDLE_MS })
    const up = await flows(site, peer, relay, { seconds, reverse: false })
    const down = await flows(site, peer, relay, { seconds, reverse: true })
    return { idleUs, up, down, memory: memoryBytes([relay.pid], 'VmHWM') }
  } finally {
    await client?.stop()
    await relay.stop()
  }
}

async function flows(site, peer, relay, { seconds, reverse }) {
  const before = cpuSeconds([relay.pid])
  const count = Math.floor((seconds * 1000) / PING_LOADED_MS)
  const [{ bitsPerSecond, report }, loadedUs] = await Promise.all([
    runIperf(site.client, { address: peer.innerAddress, seconds, flows: FLOWS, reverse }),
    ping(site, peer, { count, everyMs: PING_LOADED_MS })
  ])
  const gigabytes = report.end.sum_received.bytes / 1e9
  return { bitsPerSecond, cpuPerGigabyte: (cpuSeconds([relay.pid]) - before) / gigabytes, loadedUs }
}

/** Medians over the rounds; of pings, over all of them. */
function tableOf(cases) {
  return {
    head: [
      'relay',
      'up, Gbit/s',
      'down, Gbit/s',
      'up, s/GB',
      'down, s/GB',
      'idle ping, µs',
      'loaded ping, ms',
      'p99, ms',
      'peak memory, MB'
    ],
    rows: cases.map(({ transport, relay, rounds }) => {
      const of = (pick) => quantileOf(rounds.map(pick), 0.5)
      const loaded = rounds.flatMap(({ up, down }) => [...up.loadedUs, ...down.loadedUs])
      return [
        `${transport.toUpperCase()}, ${relay.name}`,
        (of(({ up }) => up.bitsPerSecond) / 1e9).toFixed(2),
        (of(({ down }) => down.bitsPerSecond) / 1e9).toFixed(2),
        of(({ up }) => up.cpuPerGigabyte).toFixed(2),
        of(({ down }) => down.cpuPerGigabyte).toFixed(2),
        quantileOf(
          rounds.flatMap(({ idleUs }) => idleUs),
          0.5
        ).toFixed(0),
        (quantileOf(loaded, 0.5) / 1000).toFixed(1),
        (quantileOf(loaded, 0.99) / 1000).toFixed(1),
        (of(({ memory }) => memory) / 1e6).toFixed(0)
      ]
    })
  }
}

function provenance(machine, { rounds, seconds }) {
  return (
    `${machine.time.slice(0, 10)}, commit ${machine.commit}, ${machine.cpus} × ${machine.cpu}, Linux ${machine.kernel}, ` +
    `Node ${machine.node}; ${rounds} rounds of ${seconds} s in each direction, four flows; load average ` +
    `${machine.loadAverage[0]} before, ${loadNow()[0]} after. s/GB: CPU-seconds of the relay for each gigabyte of inner TCP.`
  )
}

function say(text) {
  process.stdout.write(`${text}\n`)
}
