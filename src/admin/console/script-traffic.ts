/** The part of the console's script that plots rates, refusals and latency by stage while the page is open. */
// SPDX-License-Identifier: Apache-2.0

export const TRAFFIC_SCRIPT = `
/** KMS gives up on a request after this many milliseconds. */
const LIMIT_MS = 250
/** Period over which rates and percentiles are computed. */
const SPAN_MS = 10000
/** Number of samples kept: a quarter of an hour. */
const KEPT = 450
const STAGES = ['read', 'auth', 'decode', 'gate', 'key', 'policy', 'backend', 'verify', 'encode']
const traffic = { samples: [], points: [], plots: [], library: undefined }

/** Adds up the cumulative buckets of a histogram over all key stores, for encryptions and decryptions. */
function sumBuckets(samples, keep) {
  const sums = new Map()
  for (const { labels, value } of samples) {
    if (!keep(labels) || !['Encrypt', 'Decrypt'].includes(labels.operation)) continue
    const le = labels.le === '+Inf' ? Infinity : Number(labels.le)
    sums.set(le, (sums.get(le) ?? 0) + value)
  }
  return sums
}

function toSample(text) {
  const refusals = new Map()
  let answered = 0
  let refused = 0
  for (const { labels, value } of samplesOf(text, 'latchkey_requests_total')) {
    if (labels.error_name === '') answered += value
    else {
      refused += value
      const name = labels.error_name + ', ' + labels.reason
      refusals.set(name, (refusals.get(name) ?? 0) + value)
    }
  }
  const shed = samplesOf(text, 'latchkey_requests_shed_total').reduce((sum, { value }) => sum + value, 0)
  const stages = samplesOf(text, 'latchkey_stage_duration_seconds_bucket')
  return {
    at: Date.now(), answered, refused, shed, refusals,
    total: sumBuckets(samplesOf(text, 'latchkey_request_duration_seconds_bucket'), () => true),
    stages: STAGES.map((stage) => sumBuckets(stages, (labels) => labels.stage === stage)),
  }
}

/**
 * Returns the upper bound in milliseconds of the bucket that holds a percentile, or null if nothing
 * was counted.
 */
function percentile(before, after, share) {
  const limits = [...after.keys()].sort((a, b) => a - b)
  const added = (le) => after.get(le) - (before.get(le) ?? 0)
  const all = added(Infinity)
  if (!(all > 0)) return null
  const found = limits.find((le) => added(le) >= all * share)
  return found === Infinity ? LIMIT_MS : found * 1000
}

function toPoint(before, after) {
  const seconds = (after.at - before.at) / 1000
  const rate = (name) => Math.max(0, after[name] - before[name]) / seconds
  return {
    at: after.at / 1000, answered: rate('answered'), refused: rate('refused'), shed: rate('shed'),
    p50: percentile(before.total, after.total, 0.5), p99: percentile(before.total, after.total, 0.99),
    stages: after.stages.map((one, i) => percentile(before.stages[i], one, 0.99)),
  }
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()
const inMs = (ms) => ms === null || ms === undefined ? '-' : (ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(1) : ms.toFixed(3)) + ' ms'
const inRate = (rate) => rate === null || rate === undefined ? '-' : rate.toFixed(rate < 10 ? 1 : 0) + '/s'

function drawLimit(plot) {
  const { left, width } = plot.bbox
  const y = plot.valToPos(LIMIT_MS, 'y', true)
  plot.ctx.save()
  plot.ctx.strokeStyle = color('limit')
  plot.ctx.lineWidth = 2
  plot.ctx.setLineDash([8, 6])
  plot.ctx.beginPath()
  plot.ctx.moveTo(left, y)
  plot.ctx.lineTo(left + width, y)
  plot.ctx.stroke()
  plot.ctx.restore()
}

/** Makes a plot below a heading. A screen reader reads its label; the tables have the same values. */
function makePlot(uPlot, target, { label, lines, isLatency }) {
  const axis = { stroke: color('soft'), grid: { stroke: color('line'), width: 1 }, ticks: { stroke: color('line'), width: 1 }, font: '13px system-ui, sans-serif' }
  const value = isLatency ? inMs : inRate
  const toClock = (at) => new Date(at * 1000).toISOString().slice(11, 19)
  target.replaceChildren()
  return new uPlot({
    width: Math.max(260, target.clientWidth), height: 240,
    scales: { y: isLatency ? { distr: 3, range: () => [0.01, 1000] } : { range: (plot, min, max) => [0, Math.max(1, max * 1.1)] } },
    series: [{ label: 'Time, UTC', value: (plot, at) => at === null ? '-' : toClock(at) },
      ...lines.map(([name, stroke]) => ({ label: name, stroke: color(stroke), width: 2, points: { show: false }, value: (plot, one) => value(one) }))],
    axes: [{ ...axis, space: 90, values: (plot, splits) => splits.map(toClock) },
      { ...axis, size: 72, ...(isLatency && { splits: () => [0.01, 0.1, 1, 10, 100, 1000], filter: (plot, splits) => splits, values: (plot, splits) => splits.map((one) => one + ' ms') }) }],
    hooks: isLatency ? { draw: [drawLimit] } : {},
  }, dataOf(label), target)
}

function dataOf(label) {
  const { points } = traffic
  const column = (get) => points.map(get)
  const time = column((one) => one.at)
  if (label === 'rates') return [time, column((one) => one.answered), column((one) => one.refused), column((one) => one.shed)]
  if (label === 'latency') return [time, column((one) => one.p50), column((one) => one.p99)]
  return [time, ...STAGES.map((stage, i) => column((one) => one.stages[i]))]
}

const PLOTS = [
  { label: 'rates', name: 'Requests per second', lines: [['Answered', 'plot-a'], ['Refused', 'plot-b'], ['Shed', 'plot-c']] },
  { label: 'latency', name: 'Latency of Encrypt and Decrypt, and the 250 ms after which KMS gives up', lines: [['Median', 'plot-a'], ['99th percentile', 'plot-c']], isLatency: true },
  { label: 'stages', name: '99th percentile of each stage, and the 250 ms after which KMS gives up', lines: STAGES.map((one) => [one, 'stage-' + one]), isLatency: true },
]

/** Loads uPlot, which no other page needs, from this listener. */
async function loadLibrary() {
  document.head.append(h('link', { rel: 'stylesheet', href: '/console/uplot.css' }))
  return (await import('/console/uplot.js')).default
}

function drawPlots(uPlot) {
  for (const plot of traffic.plots) plot.destroy()
  traffic.plots = PLOTS.map((one) => makePlot(uPlot, $('plot-' + one.label), one))
}

function figure({ label, name }) {
  return h('figure', { role: 'img', ariaLabel: name + ', as a plot; the table below has the most recent values', className: 'plot', id: 'plot-' + label })
}

/** Updates a table's cells in place, so that a screen reader keeps its position. */
function fill(id, rows) {
  const cells = $(id).querySelectorAll('tbody td')
  if (cells.length !== rows.flat().length) return false
  rows.flat().forEach((text, i) => { if (cells[i].textContent !== text) cells[i].textContent = text })
  return true
}

function showLatest({ answered, refused, shed, p50, p99, stages }) {
  const rates = [[inRate(answered), inRate(refused), inRate(shed), inMs(p50), inMs(p99)]]
  if (!fill('rates-table', rates)) $('rates-table').replaceChildren(table('The last ten seconds', ['Answered', 'Refused', 'Shed', 'Median', '99th percentile'], rates))
  const byStage = STAGES.map((stage, i) => [stage, inMs(stages[i])])
  if (!fill('stages-table', byStage)) $('stages-table').replaceChildren(table('99th percentile of the last ten seconds', ['Stage', 'At most'], byStage))
  const rows = [...traffic.samples.at(-1).refusals].sort((a, b) => b[1] - a[1]).slice(0, 20).map(([name, n]) => [name, String(n)])
  show('refusals', 'Refusals', rows.length === 0 ? soft('No request has been refused since the start.') : table('Since the start of this server', ['Error and reason', 'Requests'], rows))
}

async function showTraffic() {
  const text = await loadMetrics()
  if (text === undefined) {
    show('rates', 'Requests', soft('There is nothing to plot: metrics are disabled, or your role is limited to some key stores.'))
    return
  }
  if (traffic.library === undefined) {
    const [rates, latency, stages] = PLOTS.map(figure)
    show('rates', 'Requests', soft('All workers of this server together, since this page was opened.'), h('h3', {}, PLOTS[0].name), rates, h('h3', {}, PLOTS[1].name), latency, h('div', { id: 'rates-table' }))
    show('stages', 'Latency by stage', h('h3', {}, PLOTS[2].name), stages, h('div', { id: 'stages-table' }))
    traffic.library = loadLibrary()
    const redraw = () => { if (state.view === 'traffic') traffic.library.then(drawPlots, fail) }
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw)
    addEventListener('resize', redraw)
    await traffic.library.then(drawPlots)
  }
  const sample = toSample(text)
  traffic.samples = [...traffic.samples.filter((one) => one.at >= sample.at - SPAN_MS), sample]
  const [oldest] = traffic.samples
  const point = oldest === sample ? { at: sample.at / 1000, answered: null, refused: null, shed: null, p50: null, p99: null, stages: STAGES.map(() => null) } : toPoint(oldest, sample)
  traffic.points = [...traffic.points, point].slice(-KEPT)
  showLatest(point)
  for (const [i, plot] of traffic.plots.entries()) plot.setData(dataOf(PLOTS[i].label))
}
`
