/**
 * The results as one picture: a panel for each kind of figure, a bar or two for each program. ikestream's bars are dark, everybody
 * else's are light, so that it needs no colours.
 * @module
 */
import { FONT, INK, rect, text, wrapped } from '../lib/svg.mjs'
import { figure, METRICS } from './results.mjs'

const TITLE = 'User-space VPNs side by side'
const LABEL_WIDTH = 164
const PANEL = { width: 262, gap: 16, head: 46, foot: 14 }
const ROW_HEIGHT = 24
const BAR_HEIGHT = 9
/** Room for a bar's figure behind it. */
const VALUE_WIDTH = 44
const MARGIN = 16
const COLUMNS = 3
const FILLS = {
  own: ['#1a1a1a', '#8c8c8c'],
  other: ['#cfcfcf', '#ffffff']
}

const gigabits = (value) => (value / 1e9).toFixed(2)
const thousands = (value) => (value / 1e3).toFixed(value < 1e4 ? 1 : 0)
const milliseconds = (value) => (value / 1e3).toFixed(1)
const whole = (value) => Math.round(value).toLocaleString('en-US')

/** What is drawn: a heading, the two bars (the second may be missing), and how figures are written. */
const PANELS = [
  {
    title: 'TCP, one flow: Gbit/s',
    bars: ['up1', 'down1'],
    legend: ['up', 'down'],
    shown: gigabits,
    more: true
  },
  {
    title: 'TCP, four flows: Gbit/s',
    bars: ['up4', 'down4'],
    legend: ['up', 'down'],
    shown: gigabits,
    more: true
  },
  {
    title: 'CPU-seconds per gigabyte',
    bars: ['clientCpu', 'gatewayCpu'],
    legend: ['client', 'gateway'],
    shown: (value) => value.toFixed(2)
  },
  {
    title: '64-byte packets: thousands/s',
    bars: ['up64', 'down64'],
    legend: ['up', 'down'],
    shown: thousands,
    more: true
  },
  {
    title: '1,300-byte packets: thousands/s',
    bars: ['up1300', 'down1300'],
    legend: ['up', 'down'],
    shown: thousands,
    more: true
  },
  {
    title: 'Peak memory: MB',
    bars: ['clientMemory', 'gatewayMemory'],
    legend: ['client', 'gateway'],
    shown: (value) => (value / 1e6).toFixed(0)
  },
  {
    title: 'Idle round trip: µs (log)',
    bars: ['idleMedian', 'idleP99'],
    legend: ['median', 'p99'],
    shown: whole,
    log: true,
    unit: 10
  },
  {
    title: 'Round trip during four flows: ms (log)',
    bars: ['loadedMedian', 'loadedP99'],
    legend: ['median', 'p99'],
    shown: milliseconds,
    log: true,
    unit: 10
  },
  {
    title: 'Command to first packet: ms (log)',
    bars: ['firstPacketMs'],
    legend: [],
    shown: whole,
    log: true,
    unit: 1
  }
]

/**
 * @param {{ readonly results: readonly import('./results.mjs').PeerResult[], readonly machine: any, readonly seconds: number }} report
 * @returns {string} the text of an SVG
 */
export function drawPicture({ results, machine }) {
  const width = MARGIN * 2 + LABEL_WIDTH + COLUMNS * (PANEL.width + PANEL.gap)
  const subjects = results.filter(({ name }) => name !== 'link')
  const link = results.find(({ name }) => name === 'link')
  const note =
    `Medians over interleaved rounds, ${machine.time.slice(0, 10)}: both ends, iperf3 and the kernel share ${machine.cpus} cores ` +
    `(${machine.cpu}), Linux ${machine.kernel}. AES-128-GCM, but for WireGuard's ChaCha20-Poly1305. UDP packets are sent flat out; ` +
    'what arrived is counted. Made by: npm run bench'
  const noteLines = wrapped(note, width - MARGIN * 2)
  const panelHeight = PANEL.head + subjects.length * ROW_HEIGHT + PANEL.foot
  const rows = Math.ceil(PANELS.length / COLUMNS)
  const top = 56
  const height = top + rows * panelHeight + noteLines.length * 15 + 16
  const parts = [
    text(MARGIN, 26, TITLE, 'font-size="17" font-weight="600"'),
    text(
      MARGIN,
      44,
      'Dark: ikestream. Light: everybody else. ▸ longer is better, ◂ shorter is better.',
      'fill="#444444"'
    )
  ]
  PANELS.forEach((panel, index) => {
    const x = MARGIN + LABEL_WIDTH + (index % COLUMNS) * (PANEL.width + PANEL.gap)
    const y = top + Math.floor(index / COLUMNS) * panelHeight
    if (index % COLUMNS === 0) parts.push(...subjects.map((subject, row) => drawLabel(subject, y, row)))
    parts.push(drawPanel(panel, subjects, link, x, y))
  })
  noteLines.forEach((line, index) => {
    const y = top + rows * panelHeight + 12 + index * 15
    parts.push(text(MARGIN, y, line, 'font-size="11" fill="#555555"'))
  })
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family='${FONT}' font-size="12" fill="${INK}" role="img">`,
    `<title>${TITLE}: throughput, CPU time, packet rates, memory, round trips, start-up</title>`,
    rect(0, 0, width, height, 'fill="#ffffff"'),
    ...parts,
    '</svg>',
    ''
  ].join('\n')
}

function drawLabel({ label, own }, y, row) {
  const baseline = y + PANEL.head + row * ROW_HEIGHT + ROW_HEIGHT / 2 + 4
  const weight = own ? ' font-weight="600"' : ''
  return text(MARGIN + LABEL_WIDTH - 8, baseline, label, `text-anchor="end"${weight}`)
}

function drawPanel(panel, subjects, link, x, y) {
  const { title, bars, legend, shown, more, log, unit } = panel
  const metrics = bars.map((name) => METRICS[name])
  const values = subjects.map((subject) => metrics.map((which) => figure(subject, which)))
  const greatest = Math.max(...values.flat().filter((value) => value !== undefined), 0)
  const length = barLength(greatest, PANEL.width - VALUE_WIDTH, log === true ? unit : undefined)
  const bottom = y + PANEL.head + subjects.length * ROW_HEIGHT
  const parts = [
    text(x, y + 14, `${title} ${more === true ? '▸' : '◂'}`, 'font-weight="600"'),
    ...drawLegend(legend, x, y + 24),
    drawLinkNote(link, metrics, shown, x, y + 31, legend.length),
    `<path d="M${x} ${y + PANEL.head - 2}V${bottom}" stroke="${INK}"/>`
  ]
  subjects.forEach(({ own }, row) => {
    const rowTop = y + PANEL.head + row * ROW_HEIGHT
    const start = rowTop + (ROW_HEIGHT - bars.length * (BAR_HEIGHT + 1)) / 2
    values[row].forEach((value, index) => {
      const barTop = start + index * (BAR_HEIGHT + 1)
      if (value === undefined) {
        parts.push(text(x + 4, barTop + BAR_HEIGHT - 1, '–', 'font-size="9.5" fill="#777777"'))
        return
      }
      const fill = FILLS[own ? 'own' : 'other'][index]
      parts.push(
        rect(
          x,
          barTop,
          Math.max(1, length(value)),
          BAR_HEIGHT,
          `fill="${fill}" stroke="${INK}" stroke-width="0.7"`
        ),
        text(x + length(value) + 4, barTop + BAR_HEIGHT - 1, shown(value), 'font-size="9.5"')
      )
    })
  })
  return parts.join('\n')
}

/** Two small samples in both shades, with what they stand for. */
function drawLegend(names, x, y) {
  return names.flatMap((name, index) => {
    const left = x + index * 74
    return [
      rect(left, y, 9, 8, `fill="${FILLS.own[index]}" stroke="${INK}" stroke-width="0.7"`),
      rect(left + 10, y, 9, 8, `fill="${FILLS.other[index]}" stroke="${INK}" stroke-width="0.7"`),
      text(left + 23, y + 8, name, 'font-size="10"')
    ]
  })
}

/** The bare link is far off the scale: its figures stand in the heading. */
function drawLinkNote(link, metrics, shown, x, y, legendEntries) {
  const figures = metrics.map((which) => figure(link, which)).filter((value) => value > 0)
  if (figures.length === 0) return ''
  const left = legendEntries === 0 ? x : x + 148
  return text(left, y + 1, `bare link ${figures.map(shown).join(' / ')}`, 'font-size="10" fill="#444444"')
}

/** @param unit where a logarithmic scale begins; undefined: linear from 0 */
function barLength(greatest, width, unit) {
  if (!(greatest > 0)) return () => 0
  if (unit === undefined) return (value) => (value / greatest) * width
  const decades = Math.log10(Math.max(greatest, unit * 10) / unit)
  return (value) => (Math.log10(Math.max(value, unit) / unit) / decades) * width
}
