/**
 * The soak: checked traffic through ikestream on real sockets, with a fault every few seconds. Two clients, a gateway, a relay and a
 * server in namespaces of their own; needs root or user namespaces, and nft for losses and for a NAT that forgets.
 *
 *     npm run soak [-- --minutes 30] [--seed 1] [--transport auto|udp|tcp|tls] [--only <fault>,...|none] [--json <file>]
 *
 * Ends with a table (and JSON), and with 1 if anything was lost: a TCP connection inside that broke, a byte that was wrong, a datagram
 * that came twice, a client that did not come back or got another address, memory or descriptors that grow, anything left behind.
 * The sequence of faults follows from the seed; when exactly each comes depends on how long the one before took to get over.
 * @module
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { describeMachine, loadNow } from './lib/machine.mjs'
import { forgetNodeSettings } from './lib/site.mjs'
import { FAULTS, RouterFaults } from './soak/faults.mjs'
import { asMarkdown, Ledger } from './soak/ledger.mjs'
import { SoakSite } from './soak/site.mjs'

const SCHEMA_VERSION = 1
const PAUSE_MS = [500, 3500]
/** This share of the faults comes before the one before has been got over. */
const OVERLAP_SHARE = 0.2
/** A client that is not back by then has not come back. */
const RECOVERY_LIMIT_MS = 90_000
/** Back is who hears so many answers, the last of them just now. */
const SIGNS = 10
const FRESH_MS = 250
const LOOK_MS = 50
const SIZE_EVERY_MS = 5000
const EARLY_SHARE = 1 / 3
/** When each of the long faults comes, as a share of the run; runs shorter than this have none. */
const LONG_FAULTS = { 'client-stopped-for-long': 0.45, 'gateway-stopped-for-long': 0.7 }
const LEAST_FOR_LONG_MINUTES = 10

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    seed: { type: 'string', default: '1' },
    transport: { type: 'string', default: 'auto' },
    only: { type: 'string' },
    json: { type: 'string' }
  }
})
const minutes = Number(options.minutes)
const seed = Number(options.seed)
const only = options.only === 'none' ? [] : options.only?.split(',')
if (!(minutes > 0) || !Number.isInteger(seed) || only?.some((name) => !(name in FAULTS))) {
  process.stderr.write(`usage: --minutes <n> --seed <n> --only ${Object.keys(FAULTS).join(',')}\n`)
  process.exit(64)
}
forgetNodeSettings()
process.exitCode = (await soak()) ? 0 : 1

async function soak() {
  const ledger = new Ledger()
  const site = await SoakSite.open({
    transport: options.transport,
    onLine: (name, line) => ledger.take(name, line)
  })
  const startedAt = now()
  const sizes = setInterval(() => measure(site, ledger), SIZE_EVERY_MS)
  const interrupted = { now: false }
  process.once('SIGINT', () => {
    interrupted.now = true
  })
  try {
    await imposeFaults(site, ledger, startedAt, interrupted)
    for (const what of await site.endClients()) ledger.fail(what)
  } catch (error) {
    ledger.fail(error.message)
  } finally {
    clearInterval(sizes)
    const namespaces = await site.close()
    if (namespaces > 0) ledger.fail(`${namespaces} namespaces are still there`)
  }
  return report(ledger, (now() - startedAt) / 60_000)
}

async function imposeFaults(site, ledger, startedAt, interrupted) {
  const random = makeRandom(seed)
  const router = new RouterFaults(site.hotel)
  const tools = {
    site,
    random,
    async net(name, faults) {
      await router.set(name, faults)
      return () => router.set(name, undefined)
    }
  }
  const lengthMs = minutes * 60_000
  const long = minutes >= LEAST_FOR_LONG_MINUTES && only === undefined ? { ...LONG_FAULTS } : {}
  const running = new Map()
  const settled = () => Promise.all(running.values())
  while (now() - startedAt < lengthMs && !interrupted.now) {
    await sleep(random.between(PAUSE_MS))
    const share = (now() - startedAt) / lengthMs
    const due = Object.keys(long).find((kind) => share >= long[kind])
    delete long[due]
    const kind = due ?? choose(random, site, share)
    if (kind === undefined) continue
    const mayOverlap = FAULTS[kind].blocks !== true && random.share() < OVERLAP_SHARE
    // What stops or ends programs waits for what came before: nothing can be told of two such faults at once.
    if (!mayOverlap) await settled()
    say(`${((now() - startedAt) / 1000).toFixed(0).padStart(5)} s  ${kind}`)
    const fault = { kind, startedAt: now(), imposedMs: 0, overlaps: running.size > 0 }
    for (const other of running.keys()) other.overlaps = true
    running.set(
      fault,
      impose(fault, tools, ledger)
        .catch((error) => {
          ledger.fail(`${kind}: ${error.message}`)
          interrupted.now = true
        })
        .finally(() => running.delete(fault))
    )
    if (FAULTS[kind].blocks) await settled()
  }
  await settled()
}

async function impose(fault, tools, ledger) {
  const { kind } = fault
  const { holdMs, impose: begin, blocks = false } = FAULTS[kind]
  const end = await begin(tools)
  await sleep(tools.random.between(holdMs))
  if (typeof end === 'function') await end()
  const endedAt = now()
  fault.heldMs = endedAt - fault.startedAt
  if (blocks) fault.imposedMs = fault.heldMs
  try {
    await Promise.all(tools.site.clients.map(({ name }) => isBack(`traffic of ${name}`, ledger, endedAt)))
  } catch (error) {
    for (const { name, program } of tools.site.clients)
      say(`${name} ${program.running ? 'runs' : 'has ended'}: ${program.stderr}`)
    throw error
  } finally {
    fault.recoveredAt = now()
    ledger.fault(fault)
  }
}

async function isBack(name, ledger, since) {
  let first
  while (now() - since < RECOVERY_LIMIT_MS) {
    const { lastAt, received } = ledger.lastSign(name)
    if (lastAt > since) first ??= received
    if (first !== undefined && received - first >= SIGNS && now() - lastAt < FRESH_MS) return
    await sleep(LOOK_MS)
  }
  throw new Error(`${name} did not come back within ${RECOVERY_LIMIT_MS / 1000} s`)
}

function choose(random, site, share) {
  const usable = Object.entries(FAULTS).filter(
    ([kind, { needs, early }]) =>
      (only === undefined ? true : only.includes(kind)) &&
      (needs !== 'nft' || site.hasNft) &&
      (only !== undefined || early !== true || share < EARLY_SHARE)
  )
  const weights = usable.map(([, { weight }]) => (only === undefined ? weight : 1))
  let at = random.share() * weights.reduce((sum, weight) => sum + weight, 0)
  const index = weights.findIndex((weight) => {
    at -= weight
    return at < 0
  })
  return usable[Math.max(0, index)]?.[0]
}

function measure(site, ledger) {
  const programs = [site.gateway, site.relay, ...site.clients.map(({ program }) => program)]
  for (const program of programs) ledger.size(program, now())
}

function report(ledger, lasted) {
  const result = {
    schemaVersion: SCHEMA_VERSION,
    command: `npm run soak -- --minutes ${minutes} --seed ${seed} --transport ${options.transport}`,
    machine: describeMachine(),
    loadAverageAtEnd: loadNow(),
    minutes: Number(lasted.toFixed(1)),
    seed,
    ...ledger.close()
  }
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`)
  say(`\n${asMarkdown(result)}`)
  return result.failures.length === 0
}

function now() {
  return Number(process.hrtime.bigint()) / 1e6
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** mulberry32: small, and good enough to choose faults. */
function makeRandom(start) {
  let state = start >>> 0
  const share = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit) => Math.floor(share() * limit)
  return {
    share,
    below,
    of: (list) => list[below(list.length)],
    between: ([low, high]) => low + share() * (high - low)
  }
}

function say(text) {
  process.stdout.write(`${text}\n`)
}
