/**
 * What the soak has seen: faults and outages by kind, bytes, losses, sizes; and whether that is as it must be.
 * @module
 */

import { sharedNowMs } from '../lib/traffic.mjs'

/** What a datagram may need to come back; those that left so long before a fault may be its victims. */
const IN_FLIGHT_MS = 500
/** Sizes settle first: code is compiled, pools are filled. */
const WARM_UP_SHARE = 0.25
/** A slope needs some length. */
const LEAST_JUDGED_MS = 300_000
/** Growth over a run that is no leak: of what is in use, and of what the collector is free to be lazy with. */
const TOLERATED_LIVE_KIB = 4096
const TOLERATED_RESIDENT_KIB = 32_768
const TOLERATED_DESCRIPTORS = 6
/** What takes longer to get over is told of with what was said meanwhile. */
const SLOW_MS = 5000
const KEPT_EVENTS = 500

export class Ledger {
  #faults = []
  #gaps = []
  #lost = []
  #late = 0
  #ends = new Map()
  #broken = []
  #traffic = new Map()
  #sizes = new Map()
  #events = new Map()
  #recent = []
  failures = []

  /** A line of one of the programs. */
  take(name, line) {
    switch (line.event) {
      case 'traffic':
      case 'stopped':
        this.#traffic.set(name, line)
        break
      case 'gap':
        this.#gaps.push({ name, ...line })
        break
      case 'lost':
        this.#lost.push(...line.sentAt)
        break
      case 'late':
        this.#late++
        break
      case 'broken':
        this.#broken.push(`${name}: connection ${line.id} broke at the ${line.side}: ${line.code}`)
        break
      case 'closed':
        this.#ends.set(line.id, { ...this.#ends.get(line.id), [line.side]: line })
        break
      default:
        this.#count(name, line.event)
        this.#remember(name, line)
    }
  }

  #count(name, event) {
    const key = `${name.replace(/-[ab]$/, '')} ${event}`
    this.#events.set(key, (this.#events.get(key) ?? 0) + 1)
  }

  #remember(name, { event, transport, outcome, reason, from, to }) {
    this.#recent.push({ at: Math.round(sharedNowMs()), name, event, transport, outcome, reason, from, to })
    if (this.#recent.length > KEPT_EVENTS) this.#recent.shift()
  }

  /** When an answer last came back to this client's traffic, and how many have come. */
  lastSign(name) {
    const { lastAt = 0, received = 0 } = this.#traffic.get(name) ?? {}
    return { lastAt, received }
  }

  /** @param fault `kind`, `startedAt`, `heldMs`, `imposedMs`, `recoveredAt`, `overlaps` */
  fault(fault) {
    const { startedAt, heldMs, recoveredAt } = fault
    const isSlow = recoveredAt - startedAt - heldMs > SLOW_MS
    const events = isSlow ? this.#recent.filter(({ at }) => at >= startedAt) : undefined
    this.#faults.push({ ...fault, events })
  }

  fail(what) {
    this.failures.push(what)
  }

  /** Notes how large a program is. */
  size(program, at) {
    const key = `${program.name} (${program.pid})`
    const residentKib = program.residentKib()
    const descriptors = program.descriptors()
    if (residentKib === undefined || descriptors === undefined) return
    if (!this.#sizes.has(key)) this.#sizes.set(key, [])
    this.#sizes.get(key).push({ at, residentKib, descriptors, liveKib: program.liveKib })
  }

  /** Everything together; failures are complete now. */
  close() {
    const streams = this.#closeStreams()
    const datagrams = this.#closeDatagrams()
    const sizes = [...this.#sizes].map(([program, samples]) => this.#closeSizes(program, samples))
    return {
      faults: this.#closeFaults(),
      slow: this.#faults.filter(({ events }) => events !== undefined),
      streams,
      datagrams,
      sizes,
      events: Object.fromEntries([...this.#events].sort()),
      failures: this.failures
    }
  }

  #closeStreams() {
    let bytes = 0
    for (const what of this.#broken) this.fail(what)
    for (const [id, { client, server }] of this.#ends) {
      if (client === undefined || server === undefined) {
        this.fail(`connection ${id} was closed at one end only`)
        continue
      }
      bytes += client.received + server.received
      if (client.wrong + server.wrong > 0) this.fail(`connection ${id} brought wrong bytes`)
      if (client.sent !== server.received || server.sent !== client.received)
        this.fail(
          `connection ${id}: ${client.sent} bytes became ${server.received}, ${server.sent} became ${client.received}`
        )
      if (!client.inGoodOrder) this.fail(`connection ${id} did not end in good order`)
    }
    return { connections: this.#ends.size, bytesChecked: bytes, broken: this.#broken.length }
  }

  #closeDatagrams() {
    const totals = { sent: 0, received: 0, duplicates: 0, wrong: 0 }
    for (const line of this.#traffic.values())
      for (const name of Object.keys(totals)) totals[name] += line[name]
    const inFault = (at) =>
      this.#faults.some(({ startedAt, recoveredAt }) => at > startedAt - IN_FLIGHT_MS && at < recoveredAt)
    const strays = this.#lost.filter((at) => !inFault(at))
    const outside = strays.length
    if (totals.duplicates > 0) this.fail(`${totals.duplicates} datagrams came twice`)
    if (totals.wrong > 0) this.fail(`${totals.wrong} datagrams were not as they were sent`)
    return {
      ...totals,
      lostInFaults: this.#lost.length - outside,
      lostOutsideFaults: outside,
      late: this.#late,
      strays: this.#explain(strays)
    }
  }

  /** Behind which fault datagrams got lost, and how long after all was well again. */
  #explain(times) {
    const groups = new Map()
    for (const at of times) {
      const fault = this.#faults.findLast(({ recoveredAt }) => recoveredAt <= at)
      const group = groups.get(fault) ?? { behind: fault?.kind ?? null, count: 0, afterMs: [] }
      group.count++
      group.afterMs = [group.afterMs[0] ?? at - (fault?.recoveredAt ?? 0), at - (fault?.recoveredAt ?? 0)]
      groups.set(fault, group)
    }
    return [...groups.values()].map((group) => ({ ...group, afterMs: group.afterMs.map(Math.round) }))
  }

  #closeFaults() {
    const kinds = new Map()
    const outages = this.#outages()
    for (const fault of this.#faults) {
      const { kind, imposedMs, overlaps } = fault
      const outageMs = outages.get(fault) ?? 0
      const row = kinds.get(kind) ?? {
        kind,
        times: 0,
        worstOutageMs: 0,
        worstBeyondMs: 0,
        longestImposedMs: 0
      }
      row.times++
      // Where faults overlap, no one of them is to blame for the outage.
      if (!overlaps) {
        row.worstOutageMs = Math.max(row.worstOutageMs, outageMs)
        row.worstBeyondMs = Math.max(row.worstBeyondMs, Math.round(outageMs - imposedMs))
      }
      row.longestImposedMs = Math.max(row.longestImposedMs, Math.round(imposedMs))
      kinds.set(kind, row)
    }
    return [...kinds.values()].sort((a, b) => a.kind.localeCompare(b.kind))
  }

  /** The longest outage of each fault: one belongs to the fault that it shares most of its time with. */
  #outages() {
    const longest = new Map()
    for (const { from, to } of this.#gaps) {
      const shared = ({ startedAt, recoveredAt }) => Math.min(to, recoveredAt) - Math.max(from, startedAt)
      const [fault] = [...this.#faults].sort((a, b) => shared(b) - shared(a))
      if (fault !== undefined && shared(fault) > 0)
        longest.set(fault, Math.max(longest.get(fault) ?? 0, Math.round(to - from)))
    }
    return longest
  }

  #closeSizes(program, samples) {
    const from = samples[0]?.at ?? 0
    const length = (samples.at(-1)?.at ?? 0) - from
    const warm = samples.filter(({ at }) => at - from >= length * WARM_UP_SHARE)
    const [first, last] = [warm[0], warm.at(-1)]
    const growth = (key) => {
      const known = warm.filter((sample) => sample[key] !== undefined)
      return slope(known, key) * ((last?.at ?? 0) - (first?.at ?? 0))
    }
    const [residentKib, liveKib] = [growth('residentKib'), growth('liveKib')]
    const judged = length >= LEAST_JUDGED_MS
    const flat = liveKib <= TOLERATED_LIVE_KIB && residentKib <= TOLERATED_RESIDENT_KIB
    const moreDescriptors = (last?.descriptors ?? 0) - (first?.descriptors ?? 0)
    if (judged && !flat)
      this.fail(`${program} grew by ${Math.round(residentKib)} KiB, ${Math.round(liveKib)} of them in use`)
    if (judged && moreDescriptors > TOLERATED_DESCRIPTORS)
      this.fail(`${program} has ${moreDescriptors} descriptors more than before`)
    const mib = (kib) => Number((kib / 1024).toFixed(1))
    return {
      program,
      minutes: Number((length / 60_000).toFixed(1)),
      residentMib: [first, last].map((sample) => Math.round((sample?.residentKib ?? 0) / 1024)),
      peakMib: Math.round(Math.max(...samples.map((sample) => sample.residentKib)) / 1024),
      liveMib: [first, last].map((sample) => mib(sample?.liveKib ?? 0)),
      residentGrowthMib: mib(residentKib),
      liveGrowthMib: mib(liveKib),
      descriptors: [first, last].map((sample) => sample?.descriptors ?? 0),
      flat: judged ? flat : null
    }
  }
}

/** KiB per millisecond, by least squares. */
function slope(samples, key) {
  if (samples.length < 2) return 0
  const mean = (of) => samples.reduce((sum, one) => sum + one[of], 0) / samples.length
  const [at, kib] = [mean('at'), mean(key)]
  const over = samples.reduce((sum, one) => sum + (one.at - at) * (one[key] - kib), 0)
  const under = samples.reduce((sum, one) => sum + (one.at - at) ** 2, 0)
  return under === 0 ? 0 : over / under
}

/** The report as a few lines of Markdown. */
export function asMarkdown({ command, minutes, seed, faults, streams, datagrams, sizes, failures }) {
  const total = faults.reduce((sum, { times }) => sum + times, 0)
  return [
    `\`${command}\`: ${minutes} minutes, seed ${seed}, ${total} faults; ${streams.bytesChecked} bytes of TCP checked on ` +
      `${streams.connections} connections, ${streams.broken} broken; ${datagrams.received} of ${datagrams.sent} datagrams came back, ` +
      `${datagrams.duplicates} twice, ${datagrams.lostOutsideFaults} of the rest lost outside of faults.`,
    '',
    '| fault | times | longest imposed, ms | worst outage, ms | of it beyond the fault, ms |',
    '| --- | ---: | ---: | ---: | ---: |',
    ...faults.map(
      (row) =>
        `| ${row.kind} | ${row.times} | ${row.longestImposedMs} | ${row.worstOutageMs} | ${row.worstBeyondMs} |`
    ),
    '',
    '| process | minutes | RSS, MiB (growth by slope) | in use, MiB (growth by slope) | descriptors | flat |',
    '| --- | ---: | ---: | ---: | ---: | --- |',
    ...sizes
      .filter(({ minutes: age }) => age >= 1)
      .map(
        (row) =>
          `| ${row.program.replace(/ \(.*/, '')} | ${row.minutes} | ${row.residentMib.join(' to ')} (${row.residentGrowthMib}) | ` +
          `${row.liveMib.join(' to ')} (${row.liveGrowthMib}) | ${row.descriptors.join(' to ')} | ` +
          `${row.flat === null ? 'too short to tell' : row.flat ? 'yes' : 'no'} |`
      ),
    '',
    ...(failures.length === 0 ? ['Nothing failed.'] : failures.map((what) => `- FAILED: ${what}`))
  ].join('\n')
}
