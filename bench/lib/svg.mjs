/**
 * Line and bar charts as SVG, without a library: readable in black and white (each series has its own dashes and marker, each
 * bar its own hatching), with units, ticks, a legend, and a line below that says where the numbers come from.
 *
 *     lineChart({
 *       title: 'Throughput against loss',
 *       note: 'npm run bench:loss, 2 cores, Linux 6.18',
 *       panels: [{ title: 'one flow', x: { label: 'loss, %' }, y: { label: 'Mbit/s', min: 0 }, series: [
 *         { name: 'UDP', points: [{ x: 0, y: 48 }, { x: 1, y: 30, low: 25, high: 33 }] } ] }]
 *     })
 *     barChart({ title, note, y: { label: 'Gbit/s' }, groups: ['1 flow', '4 flows'], series: [{ name: 'UDP', values: [6.1, 6.3] }] })
 *
 * Both return the text of the SVG. A series keeps its look in all panels: it goes by the order in which names first appear, or by
 * `style` (a number). Axes: `scale: 'log'`, `min`, `max`, `ticks` (values), `format` (value to text). A panel may have `marks`: lines
 * across it, `{ x | y, label }`. `markers: false` on a series draws the line alone, `'few'` about eight of them, `steps: true` draws it as steps.
 * @module
 */

export const FONT = 'system-ui, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif'
export const INK = '#1a1a1a'
const GRID = '#dcdcdc'
/** Keeps a word readable where a curve runs through it. */
const HALO = ' stroke="#ffffff" stroke-width="3" paint-order="stroke"'
const TEXT_SIZE = 12
const MARGIN = { left: 62, right: 16, top: 34, bottom: 50 }

/** Okabe and Ito's colours, which most colour-blind people can tell apart, ordered so that their greys differ too. */
const STYLES = [
  { color: '#000000', dash: '', marker: 'circle' },
  { color: '#0072b2', dash: '8 4', marker: 'square' },
  { color: '#d55e00', dash: '2 3', marker: 'triangle' },
  { color: '#009e73', dash: '10 3 2 3', marker: 'diamond' },
  { color: '#cc79a7', dash: '5 2', marker: 'cross' },
  { color: '#8a6d00', dash: '12 3 2 3 2 3', marker: 'open-circle' },
  { color: '#56b4e9', dash: '4 4', marker: 'open-square' },
  { color: '#777777', dash: '1 4', marker: 'open-triangle' }
]

/** @returns the text of an SVG picture */
export function lineChart({
  title,
  subtitle,
  note,
  panels,
  columns = Math.min(panels.length, 2),
  panelWidth = 430,
  panelHeight = 290
}) {
  const styles = seriesStyles(panels.flatMap((panel) => panel.series))
  const names = [...styles.keys()]
  const page = new Page({
    title,
    subtitle,
    note,
    columns,
    rows: Math.ceil(panels.length / columns),
    panelWidth,
    panelHeight
  })
  page.legend(names, (name, x, y) => lineSample(styles.get(name), x, y))
  panels.forEach((panel, index) => {
    page.add(drawPanel(panel, styles, page.box(index)))
  })
  return page.text()
}

/** @returns the text of an SVG picture */
export function barChart({
  title,
  subtitle,
  note,
  y,
  groups,
  series,
  width = 900,
  height = 320,
  valueFormat = format
}) {
  const page = new Page({
    title,
    subtitle,
    note,
    columns: 1,
    rows: 1,
    panelWidth: width,
    panelHeight: height
  })
  const styles = new Map(series.map(({ name, style }, index) => [name, style ?? index]))
  page.add(patterns([...styles.values()]))
  page.legend([...styles.keys()], (name, x, yy) =>
    rect(x, yy - 9, 26, 11, `fill="url(#hatch${styles.get(name)})" stroke="${INK}"`)
  )
  const box = page.box(0)
  const values = series.flatMap((one) => one.values).filter(Number.isFinite)
  const axis = makeAxis({ min: 0, ...y }, values, [box.bottom, box.top])
  const slot = (box.right - box.left) / groups.length
  const bar = (slot * 0.8) / series.length
  page.add(drawYAxis(axis, y, box))
  groups.forEach((group, at) => {
    const start = box.left + slot * at + slot * 0.1
    page.add(text(box.left + slot * (at + 0.5), box.bottom + 18, group, 'text-anchor="middle"'))
    series.forEach(({ name, values: own }, index) => {
      const value = own[at]
      const x = start + bar * index
      if (!Number.isFinite(value)) {
        page.add(text(x + bar / 2, box.bottom - 5, '–', 'text-anchor="middle" fill="#777777"'))
        return
      }
      const top = axis.at(value)
      page.add(
        rect(x, top, bar * 0.92, box.bottom - top, `fill="url(#hatch${styles.get(name)})" stroke="${INK}"`)
      )
      page.add(text(x + bar * 0.46, top - 4, valueFormat(value), 'text-anchor="middle" font-size="10"'))
    })
  })
  page.add(frame(box))
  return page.text()
}

/** A title, a legend, panels in rows, and a note; lower parts move down as those above them grow. */
class Page {
  #parts = []
  #top
  #width
  #layout
  #rows
  #note
  #title

  constructor({ title, subtitle, note, columns, rows, panelWidth, panelHeight }) {
    this.#width = columns * panelWidth + 20
    this.#layout = { columns, panelWidth, panelHeight }
    let y = 28
    this.#title = title
    this.add(text(20, y, title, 'font-size="17" font-weight="600"'))
    for (const line of wrapped(subtitle ?? '', this.#width - 40)) {
      y += 17
      this.add(text(20, y, line, 'fill="#444444"'))
    }
    this.#top = y + 12
    this.#rows = rows
    this.#note = wrapped(note ?? '', this.#width - 40)
  }
  add(part) {
    this.#parts.push(part)
  }

  /** Rows of names with samples, under the title. */
  legend(names, sample) {
    let x = 20
    let y = this.#top + 8
    for (const name of names) {
      const width = 36 + textWidth(name) + 18
      if (x + width > this.#width - 10 && x > 20) {
        x = 20
        y += 20
      }
      this.add(sample(name, x, y))
      this.add(text(x + 34, y, name))
      x += width
    }
    this.#top = y + 10
  }

  /** Corners of the plotting area of a panel. */
  box(index) {
    const { columns, panelWidth, panelHeight } = this.#layout
    const left = 10 + (index % columns) * panelWidth
    const top = this.#top + Math.floor(index / columns) * panelHeight
    return {
      left: left + MARGIN.left,
      right: left + panelWidth - MARGIN.right,
      top: top + MARGIN.top,
      bottom: top + panelHeight - MARGIN.bottom
    }
  }

  text() {
    let y = this.#top + this.#rows * this.#layout.panelHeight + 8
    for (const line of this.#note) {
      y += 15
      this.add(text(20, y, line, 'font-size="11" fill="#555555"'))
    }
    const height = Math.ceil(y + 14)
    const size = `width="${this.#width}" height="${height}" viewBox="0 0 ${this.#width} ${height}"`
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family='${FONT}' font-size="${TEXT_SIZE}" fill="${INK}" role="img">`,
      `<title>${escaped(this.#title)}</title>`,
      rect(0, 0, this.#width, height, 'fill="#ffffff"'),
      ...this.#parts,
      '</svg>',
      ''
    ].join('\n')
  }
}

function drawPanel({ title, x, y, series, marks = [] }, styles, box) {
  const points = series.flatMap((one) => one.points)
  const xAxis = makeAxis(
    x,
    [...points.map((point) => point.x), ...marks.map((mark) => mark.x)],
    [box.left, box.right]
  )
  const spread = points.flatMap((point) => [point.y, point.low, point.high])
  const yAxis = makeAxis(y, [...spread, ...marks.map((mark) => mark.y)], [box.bottom, box.top])
  return [
    title === undefined ? '' : text(box.left, box.top - 12, title, 'font-weight="600"'),
    drawYAxis(yAxis, y, box),
    drawXAxis(xAxis, x, box),
    ...marks.map((mark) => drawMark(mark, xAxis, yAxis, box)),
    frame(box),
    ...series.map((one) => drawSeries(one, STYLES[styles.get(one.name) % STYLES.length], xAxis, yAxis))
  ].join('\n')
}

function drawSeries({ points, markers = true, steps = false }, style, xAxis, yAxis) {
  const seen = points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y))
  const places = seen.map((point) => ({ ...point, at: [xAxis.at(point.x), yAxis.at(point.y)] }))
  const path = places
    .map(({ at: [px, py] }, index) => {
      const previous = places[index - 1]
      if (previous === undefined) return `M${round(px)} ${round(py)}`
      return `${steps ? `H${round(px)}V${round(py)}` : `L${round(px)} ${round(py)}`}`
    })
    .join('')
  const dash = style.dash === '' ? '' : ` stroke-dasharray="${style.dash}"`
  const whiskers = places
    .filter(({ low, high }) => Number.isFinite(low) && Number.isFinite(high))
    .map(
      ({ at: [px], low, high }) =>
        `<path d="M${round(px)} ${round(yAxis.at(low))}V${round(yAxis.at(high))}" stroke="${style.color}" stroke-width="1" opacity="0.6"/>`
    )
  return [
    ...whiskers,
    `<path d="${path}" fill="none" stroke="${style.color}" stroke-width="1.8" stroke-linejoin="round"${dash}/>`,
    ...chosen(places, markers, style).map(({ at: [px, py] }) => marker(style, px, py))
  ].join('\n')
}

/** Those that get a marker. Of few, each series' own, so that curves that lie on each other can still be told apart. */
function chosen(places, markers, style) {
  if (markers !== 'few') return markers ? places : []
  const every = Math.max(1, Math.floor(places.length / 8))
  const first = STYLES.indexOf(style) % every
  return places.filter((_, index) => index % every === first)
}

function marker({ marker: shape, color }, x, y) {
  const open = shape.startsWith('open-')
  const paint = `fill="${open ? '#ffffff' : color}" stroke="${color}" stroke-width="1.4"`
  const at = (dx, dy) => `${round(x + dx)},${round(y + dy)}`
  switch (shape.replace('open-', '')) {
    case 'circle':
      return `<circle cx="${round(x)}" cy="${round(y)}" r="3.4" ${paint}/>`
    case 'square':
      return rect(x - 3.2, y - 3.2, 6.4, 6.4, paint)
    case 'triangle':
      return `<polygon points="${at(0, -4.2)} ${at(4, 3)} ${at(-4, 3)}" ${paint}/>`
    case 'diamond':
      return `<polygon points="${at(0, -4.6)} ${at(4.6, 0)} ${at(0, 4.6)} ${at(-4.6, 0)}" ${paint}/>`
    default:
      return `<path d="M${at(-3.5, -3.5)}L${at(3.5, 3.5)}M${at(-3.5, 3.5)}L${at(3.5, -3.5)}" fill="none" stroke="${color}" stroke-width="2"/>`
  }
}

function lineSample(index, x, y) {
  const style = STYLES[index % STYLES.length]
  const dash = style.dash === '' ? '' : ` stroke-dasharray="${style.dash}"`
  return `<path d="M${x} ${y - 4}h28" fill="none" stroke="${style.color}" stroke-width="1.8"${dash}/>${marker(style, x + 14, y - 4)}`
}

function drawYAxis(axis, { label, format: own = format }, box) {
  return [
    ...axis.ticks.map((value) => {
      const at = round(axis.at(value))
      return `<path d="M${box.left} ${at}H${box.right}" stroke="${GRID}"/>${text(box.left - 7, at + 4, own(value), 'text-anchor="end"')}`
    }),
    text(
      0,
      0,
      label,
      `text-anchor="middle" transform="translate(${box.left - 46} ${(box.top + box.bottom) / 2}) rotate(-90)"`
    )
  ].join('\n')
}

function drawXAxis(axis, { label, format: own = format }, box) {
  return [
    ...axis.ticks.map((value) => {
      const at = round(axis.at(value))
      return `<path d="M${at} ${box.top}V${box.bottom + 4}" stroke="${GRID}"/>${text(at, box.bottom + 17, own(value), 'text-anchor="middle"')}`
    }),
    text((box.left + box.right) / 2, box.bottom + 36, label, 'text-anchor="middle"')
  ].join('\n')
}

function drawMark({ x, y, label }, xAxis, yAxis, box) {
  const line = `stroke="#777777" stroke-dasharray="3 3"`
  if (y !== undefined) {
    const at = round(yAxis.at(y))
    return `<path d="M${box.left} ${at}H${box.right}" ${line}/>${text(box.right - 4, at - 4, label, `text-anchor="end" font-size="10" fill="#555555"${HALO}`)}`
  }
  const at = round(xAxis.at(x))
  return `<path d="M${at} ${box.top}V${box.bottom}" ${line}/>${text(at + 4, box.top + 12, label, `font-size="10" fill="#555555"${HALO}`)}`
}

function frame(box) {
  return `<path d="M${box.left} ${box.top}V${box.bottom}H${box.right}" fill="none" stroke="${INK}"/>`
}

/** Where values are: `at(value)` in pixels, between the two ends of `range`. */
function makeAxis({ scale = 'linear', min, max, ticks }, values, range) {
  const finite = values.filter((value) => Number.isFinite(value) && (scale === 'linear' || value > 0))
  let low = min ?? Math.min(...finite, ...(ticks ?? []))
  let high = max ?? Math.max(...finite, ...(ticks ?? []))
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = scale === 'log' ? [1, 10] : [0, 1]
  if (low === high) high = low === 0 ? 1 : low + Math.abs(low)
  if (scale === 'log') {
    if (ticks === undefined) {
      low = min ?? 10 ** Math.floor(Math.log10(low))
      high = max ?? 10 ** Math.ceil(Math.log10(high))
    }
    const [from, to] = [Math.log10(low), Math.log10(high)]
    const at = (value) =>
      range[0] + ((Math.log10(Math.max(value, low)) - from) / (to - from)) * (range[1] - range[0])
    return { at, ticks: ticks ?? logTicks(low, high) }
  }
  const chosen = ticks ?? linearTicks(low, high)
  if (ticks === undefined) {
    low = min ?? Math.min(low, chosen[0])
    high = max ?? Math.max(high, chosen.at(-1))
  }
  const at = (value) => range[0] + ((value - low) / (high - low)) * (range[1] - range[0])
  return { at, ticks: chosen.filter((value) => value >= low - 1e-9 && value <= high + 1e-9) }
}

/** Round steps of 1, 2 or 5, about six of them, that cover the range. */
function linearTicks(low, high) {
  const rough = (high - low) / 6
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power
  const ticks = []
  for (let index = Math.floor(low / step + 1e-9); index * step < high + step * (1 - 1e-9); index++)
    ticks.push(Number((index * step).toPrecision(12)))
  return ticks
}

function logTicks(low, high) {
  const decades = Math.log10(high / low)
  const ticks = []
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high * 1.0001; power *= 10)
    for (const factor of decades > 2.5 ? [1] : [1, 2, 5]) {
      const value = Number((power * factor).toPrecision(12))
      if (value >= low * 0.9999 && value <= high * 1.0001) ticks.push(value)
    }
  return ticks
}

/** Style numbers by name. */
function seriesStyles(series) {
  const styles = new Map()
  for (const { name, style } of series) if (!styles.has(name)) styles.set(name, style ?? styles.size)
  return styles
}

/** One hatching for each style: direction and density differ, and the strength of the colour behind it. */
function patterns(indexes) {
  const hatches = [
    '',
    'M0 8L8 0',
    'M0 0L8 8',
    'M0 4H8',
    'M4 0V8',
    'M0 8L8 0M0 0L8 8',
    'M4 4h1',
    'M0 4H8M4 0V8'
  ]
  const drawn = indexes.map((index) => {
    const { color } = STYLES[index % STYLES.length]
    const fill = index === 0 ? '#4a4a4a' : '#ffffff'
    const lines = hatches[index % hatches.length]
    return `<pattern id="hatch${index}" width="8" height="8" patternUnits="userSpaceOnUse"><rect width="8" height="8" fill="${fill}"/><rect width="8" height="8" fill="${color}" opacity="0.18"/><path d="${lines}" stroke="${color}" stroke-width="1.6"/></pattern>`
  })
  return `<defs>${drawn.join('')}</defs>`
}

/** A number as a tick shows it. */
export function format(value) {
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 10_000) return `${Number((value / 1000).toPrecision(3))}k`
  return String(Number(value.toPrecision(3)))
}

/** About: fonts differ. */
function textWidth(content) {
  return content.length * TEXT_SIZE * 0.56
}

export function wrapped(content, width) {
  const lines = []
  let line = ''
  for (const word of content.split(' ').filter((one) => one !== '')) {
    if (line !== '' && textWidth(`${line} ${word}`) > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return line === '' ? lines : [...lines, line]
}

export function text(x, y, content, attributes = '') {
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${escaped(content)}</text>`
}

function escaped(content) {
  return String(content).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

export function rect(x, y, width, height, attributes) {
  return `<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ${attributes}/>`
}

function round(value) {
  return Math.round(value * 10) / 10
}
