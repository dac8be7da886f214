/**
 * What `ikestream lab` prints: lines for people, JSON lines, and the tables of docs/LAB.md.
 * @module
 */
import { checkExitCode } from '../../lab/comparison.ts'
import type { LabResult } from '../../lab/lab-test.ts'
import { type ExpectedConnect, LAB_NETWORKS, type LabNetwork } from '../../lab/networks.ts'
import { TRANSPORT_NAMES } from '../progress-report.ts'
import type { Reporter } from '../reporter.ts'

/** Lines for people: the network, what came of it, and what is not as expected. */
export function resultLines(result: LabResult, mark: string): string[] {
  const { network, differences, elapsedMs } = result
  const seconds = `${(elapsedMs / 1000).toFixed(1)} s`
  return [
    `${mark} ${network.name.padEnd(nameWidth())}  ${outcome(result)}  (${seconds})`,
    ...differences.map(({ what, expected, seen }) => `    ${what}: expected ${expected}, seen ${seen}`)
  ]
}

/** The same as a JSON line. */
export function resultEvent(result: LabResult): Readonly<Record<string, unknown>> {
  const { network, check, connect, client, differences, elapsedMs } = result
  const passed = differences.length === 0
  return { event: 'result', network: network.name, passed, differences, check, connect, client, elapsedMs }
}

export function listNetworks(reporter: Reporter): void {
  for (const { name, sentence, settings, families, expected } of LAB_NETWORKS) {
    reporter.event({
      ...{ event: 'network', name, sentence, expected },
      settings: settings ?? {},
      families: families ?? 'both'
    })
    reporter.result(`${name.padEnd(nameWidth())}  ${sentence}`)
  }
}

/** The networks and what is expected of a client there, as a Markdown table. */
export function expectationsTable(networks: readonly LabNetwork[] = LAB_NETWORKS): string {
  return markdownTable(
    ['network', 'what it does', '`check`: exit code, verdict', 'findings', '`connect`', 'within'],
    networks.map(({ name, sentence, expected: { check, connect } }) => [
      `\`${name}\``,
      sentence,
      `${checkExitCode(check)}, ${check.verdict}${check.over === null ? '' : ` (${TRANSPORT_NAMES[check.over]})`}`,
      check.findings.join(', '),
      connectText(connect),
      connect.within
    ])
  )
}

/** What was measured, as a Markdown table. */
export function resultsTable(results: readonly LabResult[]): string {
  return markdownTable(
    ['network', '`check` says', 'in', '`connect`', 'in', 'MTU', 'ping, download, upload'],
    results.map(({ network, check, connect }) => [
      `\`${network.name}\``,
      check?.sentence ?? '',
      secondsText(check?.elapsedMs),
      connect?.over == null ? (connect?.error ?? '') : TRANSPORT_NAMES[connect.over],
      secondsText(connect?.elapsedMs),
      connect?.mtu == null ? '' : String(connect.mtu),
      trafficText(connect?.traffic ?? null)
    ])
  )
}

function outcome({ check, connect, client }: LabResult): string {
  if (client !== null) {
    const seconds = (client.elapsedMs / 1000).toFixed(1)
    if (client.pings)
      return client.downloads ? `traffic after ${seconds} s` : 'pings pass, a download does not'
    const said = client.said.split('\n').at(-1) ?? ''
    return `no tunnel after ${seconds} s${client.exitCode === null ? '' : `, exit code ${client.exitCode}`}${said === '' ? '' : `: ${said}`}`
  }
  const parts = [`check: ${check?.verdict}`]
  if (connect?.over != null)
    parts.push(`connect: ${TRANSPORT_NAMES[connect.over]} in ${secondsText(connect.elapsedMs)}`)
  else parts.push(`connect: ${connect?.error} after ${secondsText(connect?.elapsedMs)}`)
  return parts.join('; ')
}

function connectText(connect: ExpectedConnect): string {
  return 'over' in connect ? TRANSPORT_NAMES[connect.over] : `${connect.exitCode}, ${connect.error}`
}

function trafficText(traffic: NonNullable<LabResult['connect']>['traffic']): string {
  if (traffic === null) return ''
  const { pings, downloads, uploads, survivesIdle } = traffic
  const words = [pings, downloads, uploads].map((passes) => (passes ? 'yes' : 'no')).join(', ')
  return survivesIdle === null ? words : `${words}; after a silence: ${survivesIdle ? 'yes' : 'no'}`
}

function secondsText(ms: number | undefined): string {
  return ms === undefined ? '' : `${(ms / 1000).toFixed(1)} s`
}

function nameWidth(): number {
  return Math.max(...LAB_NETWORKS.map(({ name }) => name.length))
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0))
  )
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  return [line(head), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rows.map(line)].join(
    '\n'
  )
}
