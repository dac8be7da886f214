/**
 * The pictures of `bench:loss`, from its `results.json`.
 * @module
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { TUNNELS } from './lane.mjs'
import { lineChart } from './svg.mjs'

const LOSS_AXIS = { label: 'random loss in each direction, %', min: 0 }
const SPEED_AXIS = { label: 'inside the tunnel, Mbit/s', min: 0, max: 50 }
const LOG_SPEED_AXIS = {
  label: 'inside the tunnel, Mbit/s',
  scale: 'log',
  min: 0.1,
  max: 100,
  ticks: [0.1, 0.3, 1, 3, 10, 30, 100]
}
const STYLE = new Map(TUNNELS.map(({ name }, index) => [name, index]))

/** Writes what the results suffice for. @returns the names of the files */
export function drawCharts(results, folder) {
  const charts = {
    'throughput-loss.svg': againstLoss(results),
    'throughput-delay.svg': againstDelay(results),
    'inner-bbr.svg': innerBbr(results),
    'head-of-line.svg': headOfLine(results),
    'outage.svg': outages(results)
  }
  const drawn = Object.entries(charts).filter(([, svg]) => svg !== undefined)
  for (const [name, svg] of drawn) writeFileSync(join(folder, name), svg)
  return drawn.map(([name]) => name)
}

function againstLoss(results) {
  const cells = results.cells.filter(({ kind, inner }) => kind === 'throughput' && inner === 'cubic')
  const panels = [50, 200].flatMap((roundTripMs) =>
    [1, 4].map((flows) => ({
      title: `${flowsText(flows)}, round trip ${roundTripMs} ms`,
      x: LOSS_AXIS,
      y: SPEED_AXIS,
      series: series(
        cells.filter((cell) => cell.roundTripMs === roundTripMs && cell.flows === flows),
        'lossPercent'
      )
    }))
  )
  return chart(
    results,
    panels,
    'Throughput against loss',
    'Flows inside use CUBIC, as most systems do. The name says what carries ESP, and the congestion control of that connection.'
  )
}

function againstDelay(results) {
  const cells = results.cells.filter(({ kind, inner }) => kind === 'throughput' && inner === 'cubic')
  const delays = [...new Set(cells.map(({ roundTripMs }) => roundTripMs))].sort((a, b) => a - b)
  const panels = [
    [0, 1],
    [1, 1],
    [3, 1],
    [3, 4]
  ].map(([lossPercent, flows]) => ({
    title: `${flowsText(flows)}, loss ${lossPercent} %`,
    x: { label: 'round trip of the link, ms', scale: 'log', ticks: delays },
    y: LOG_SPEED_AXIS,
    series: series(
      cells.filter((cell) => cell.lossPercent === lossPercent && cell.flows === flows),
      'roundTripMs'
    )
  }))
  return chart(
    results,
    panels,
    'Throughput against delay',
    'Flows inside use CUBIC. Both axes are logarithmic.'
  )
}

function innerBbr(results) {
  const cells = results.cells.filter(({ kind, inner }) => kind === 'throughput' && inner === 'bbr')
  const panels = [50, 200].map((roundTripMs) => ({
    title: `one flow inside, round trip ${roundTripMs} ms`,
    x: LOSS_AXIS,
    y: SPEED_AXIS,
    series: series(
      cells.filter((cell) => cell.roundTripMs === roundTripMs),
      'lossPercent'
    )
  }))
  return chart(
    results,
    panels,
    'Throughput against loss, when the flow inside uses BBR',
    'A flow that does not take loss for congestion: what the tunnel itself costs.'
  )
}

function headOfLine(results) {
  const cells = results.cells.filter(({ kind }) => kind === 'latency')
  const panels = [
    [0, 1],
    [0, 3],
    [4, 0],
    [4, 3]
  ].map(([flows, lossPercent]) => ({
    title: `${flows === 0 ? 'a call alone' : 'a call beside 4 bulk flows'}, loss ${lossPercent} %`,
    x: {
      label: 'one-way delay, ms',
      scale: 'log',
      min: 20,
      max: 1000,
      ticks: [20, 30, 50, 100, 200, 500, 1000]
    },
    y: { label: 'datagrams that have arrived, %', min: 80, max: 100, ticks: [80, 85, 90, 95, 100] },
    series: cells
      .filter((cell) => cell.flows === flows && cell.lossPercent === lossPercent)
      .sort(byTunnel)
      .map(({ tunnel, delayQuantilesMs, sent, arrived }) => ({
        name: tunnel,
        style: STYLE.get(tunnel),
        markers: 'few',
        points: delayQuantilesMs
          .map((delayMs, percent) => ({ x: delayMs, y: (percent * arrived) / sent }))
          .filter(({ y }) => y >= 80)
      }))
  }))
  const { perSecond, lengthBytes } = results.smallFlow
  return chart(
    results,
    panels,
    'Head-of-line blocking: how late the packets of a call are',
    `${perSecond} datagrams of ${lengthBytes} bytes a second, downwards; round trip of the link 50 ms. UDP never delivers what was lost, streams deliver it late, and what was behind it too.`
  )
}

function outages(results) {
  const cells = results.cells.filter(({ kind }) => kind === 'outage')
  const lengths = [...new Set(cells.map(({ secondsOut }) => secondsOut))].sort((a, b) => a - b)
  const over = lengths.map((secondsOut) => ({
    title: `after ${secondsOut} s without a path`,
    x: { label: 'time since the path is back, s', min: -1, max: Math.max(5, Math.min(18, secondsOut * 2)) },
    y: SPEED_AXIS,
    marks: [{ x: 0, label: 'back' }],
    series: cells
      .filter((cell) => cell.secondsOut === secondsOut)
      .sort(byTunnel)
      .map(({ tunnel, speedsMbit, binMs, outageMs }) => ({
        name: tunnel,
        style: STYLE.get(tunnel),
        markers: false,
        points: smooth(speedsMbit)
          .map((y, bin) => ({ x: ((bin + 0.5) * binMs - outageMs.to) / 1000, y: Math.min(y, 50) }))
          .filter(({ x }) => x >= -1 && x <= Math.max(5, Math.min(18, secondsOut * 2)))
      }))
  }))
  const recovery = {
    title: 'until the flow is back at 80 % of its speed',
    x: { label: 'length of the outage, s', scale: 'log', ticks: lengths },
    y: { label: 's', min: 0 },
    series: TUNNELS.map(({ name }) => ({
      name,
      style: STYLE.get(name),
      points: cells
        .filter(({ tunnel, recoveryMs }) => tunnel === name && recoveryMs !== null)
        .sort((a, b) => a.secondsOut - b.secondsOut)
        .map(({ secondsOut, recoveryMs }) => ({ x: secondsOut, y: recoveryMs / 1000 }))
    })).filter(({ points }) => points.length > 0)
  }
  return chart(
    results,
    [...over, recovery],
    'Recovery after an outage',
    'One CUBIC flow inside, round trip 50 ms, no loss; then nothing passes for a while, and nobody is told.'
  )
}

function series(cells, xField) {
  return TUNNELS.map(({ name }) => ({
    name,
    style: STYLE.get(name),
    points: cells
      .filter(({ tunnel }) => tunnel === name)
      .map((cell) => ({ x: cell[xField], y: cell.mbitPerSecond }))
      .sort((a, b) => a.x - b.x)
  })).filter(({ points }) => points.length > 0)
}

function chart(results, panels, title, subtitle) {
  const full = panels.filter((panel) => panel.series.length > 0)
  if (full.length === 0) return undefined
  const [run] = results.runs
  const { link } = results
  const note = `${results.command}, ${run.time.slice(0, 10)}; link of ${link.rateBitsPerSecond / 1e6} Mbit/s with a queue of ${link.queueMs} ms, emulated; ikestream ${run.commit}${run.before ? `, before: ${run.before}` : ''}, Linux ${run.kernel}, Node ${run.node}, ${run.cpus} CPUs, load ${run.loadAverage[0]} at the start.`
  return lineChart({ title, subtitle, note, panels: full })
}

function byTunnel(a, b) {
  return STYLE.get(a.tunnel) - STYLE.get(b.tunnel)
}

function smooth(values) {
  return values.map((_, index) => {
    const near = values.slice(Math.max(0, index - 1), index + 2)
    return near.reduce((sum, one) => sum + one, 0) / near.length
  })
}

function flowsText(flows) {
  return flows === 1 ? 'one flow inside' : `${flows} flows inside`
}
