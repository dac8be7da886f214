/**
 * Results as tables: Markdown that is also readable on a terminal.
 * @module
 */
import { bestPeer, figure, METRICS, named, ratioOf } from './results.mjs'

/**
 * @typedef {import('./results.mjs').PeerResult} PeerResult
 * @typedef {{ readonly title: string, readonly head: readonly string[], readonly rows: readonly (readonly string[])[] }} Table
 */

const MISSING = '-'

const gigabits = (value) => (value / 1e9).toFixed(2)
const thousands = (value) => (value / 1e3).toFixed(0)
const megabytes = (value) => (value / 1e6).toFixed(0)
const milliseconds = (value) => (value / 1e3).toFixed(1)
const whole = (value) => Math.round(value).toLocaleString('en-US')
const two = (value) => value.toFixed(2)

/**
 * @param {readonly PeerResult[]} results
 * @returns {Table[]}
 */
export function resultTables(results) {
  return [
    table('TCP through the tunnel, Gbit/s', results, [
      ['1 flow up', 'up1', gigabits],
      ['1 flow down', 'down1', gigabits],
      ['4 flows up', 'up4', gigabits],
      ['4 flows down', 'down4', gigabits],
      ...references(results, 'throughput', ['link', 'best'])
    ]),
    table(
      'CPU-seconds per gigabyte and peak memory of the programs (soft interrupts of the kernel not included)',
      results,
      [
        ['client, s/GB', 'clientCpu', two],
        ['gateway, s/GB', 'gatewayCpu', two],
        ...references(results, 'clientCpu', ['best']),
        ['client, MB', 'clientMemory', megabytes],
        ['gateway, MB', 'gatewayMemory', megabytes]
      ]
    ),
    table('UDP packets received, thousands a second, sent flat out', results, [
      ['64 bytes up', 'up64', thousands],
      ['64 bytes down', 'down64', thousands],
      ...references(results, 'smallPackets', ['link', 'best']),
      ['1,300 bytes up', 'up1300', thousands],
      ['1,300 bytes down', 'down1300', thousands],
      ...references(results, 'largePackets', ['link', 'best'])
    ]),
    table(
      'Round trips (loaded: during four flows, the worse direction), and time from command to first packet',
      results,
      [
        ['idle median, µs', 'idleMedian', whole],
        ['idle p99, µs', 'idleP99', whole],
        ...references(results, 'idleMedian', ['link', 'best']),
        ['loaded median, ms', 'loadedMedian', milliseconds],
        ['loaded p99, ms', 'loadedP99', milliseconds],
        ['first packet, ms', 'firstPacketMs', whole],
        ...references(results, 'firstPacketMs', ['best'])
      ]
    )
  ]
}

/**
 * @param {readonly import('./targets.mjs').TargetResult[]} targets
 * @returns {Table}
 */
export function targetTable(targets) {
  const verdict = (reached) => (reached === undefined ? MISSING : reached ? 'yes' : 'no')
  return {
    title: 'Targets',
    head: ['what', 'wanted', 'measured', 'reached'],
    rows: targets.map(({ what, wanted, measured, reached }) => [what, wanted, measured, verdict(reached)])
  }
}

/**
 * @param {Table} table
 * @returns {string} a Markdown table whose columns are aligned
 */
export function formatTable({ head, rows }) {
  const widths = head.map((_, column) => Math.max(3, ...[head, ...rows].map((row) => row[column].length)))
  const isText = (column) => column === 0 || head[column] === 'wanted'
  const line = (row) =>
    `| ${row.map((cell, column) => (isText(column) ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join(' | ')} |`
  const rule = widths.map(
    (width, column) => `${'-'.repeat(width - (isText(column) ? 0 : 1))}${isText(column) ? '' : ':'}`
  )
  return [line(head), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n')
}

function table(title, results, columns) {
  return {
    title,
    head: ['', ...columns.map(([heading]) => heading)],
    rows: results.map((result) => [
      result.label,
      ...columns.map(([, what, shown]) => {
        const value = typeof what === 'function' ? what(result) : figure(result, METRICS[what])
        return value === undefined ? MISSING : shown(value)
      })
    ])
  }
}

/** Columns that compare a figure with the bare link's and with the best peer's. */
function references(results, name, which) {
  const compared = METRICS[name]
  const columns = {
    link: ['× link', (result) => ratioOf(result, named(results, 'link'), compared), two],
    best: ['× best peer', (result) => ratioOf(result, bestPeer(results, compared), compared), two]
  }
  return which.map((key) => columns[key])
}
