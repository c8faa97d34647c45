/**
 * Draws the charts. `drawCharts` is sent to the browser as text, so it uses nothing else from this
 * module.
 */
// SPDX-License-Identifier: Apache-2.0

/**
 * Declares the browser objects that the script uses, since the program is compiled without the DOM
 * library.
 */
interface PageElement {
  readonly clientWidth: number
  readonly textContent: string | null
  replaceChildren(): void
}

interface Plot {
  readonly ctx: {
    save(): void
    restore(): void
    beginPath(): void
    moveTo(x: number, y: number): void
    lineTo(x: number, y: number): void
    stroke(): void
    setLineDash(dash: readonly number[]): void
    strokeStyle: string
    lineWidth: number
  }
  readonly bbox: { left: number; top: number; width: number; height: number }
  readonly scales: Readonly<Record<string, { min: number; max: number }>>
  valToPos(value: number, scale: string, canvas: boolean): number
  destroy(): void
}

interface Page {
  readonly document: {
    getElementById(id: string): PageElement | null
    readonly documentElement: PageElement
  }
  readonly uPlot: new (options: object, data: readonly unknown[], element: PageElement) => Plot
  matchMedia(query: string): { addEventListener(type: string, listener: () => void): void }
  getComputedStyle(element: PageElement): { getPropertyValue(name: string): string }
  addEventListener(type: string, listener: () => void): void
}

interface ChartData {
  readonly curves: readonly {
    readonly name: string
    readonly color: string
    readonly points: readonly { readonly percentile: number; readonly ms: number }[]
  }[]
  readonly rates: readonly { readonly rate: number; readonly p50: number; readonly p99: number }[]
  readonly limitMs: number
  readonly quota: number
}

export function drawCharts(page: Page): void {
  const element = (id: string): PageElement => {
    const found = page.document.getElementById(id)
    if (found === null) throw new Error(`no ${id}`)
    return found
  }
  const data = JSON.parse(element('chart-data').textContent ?? '') as ChartData
  const color = (name: string) =>
    page.getComputedStyle(page.document.documentElement).getPropertyValue(`--${name}`).trim()
  const inMs = (ms: number | null) => {
    if (ms === null) return '–'
    return `${ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3)} ms`
  }
  const axis = (
    label: string,
    values: (plot: Plot, splits: number[]) => (string | null)[],
    size: number,
  ) => ({
    label,
    labelSize: 24,
    size,
    stroke: color('soft'),
    font: '13px system-ui, sans-serif',
    labelFont: '13px system-ui, sans-serif',
    grid: { stroke: color('line'), width: 1 },
    ticks: { stroke: color('line'), width: 1 },
    values,
  })
  const isPowerOfTen = (value: number) =>
    Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9
  const yAxis = axis(
    'milliseconds',
    (_, splits) => splits.map((value) => (isPowerOfTen(value) ? String(value) : null)),
    62,
  )
  /**
   * Extends the axis to whole decades beyond the limit, so that the distance to the limit is
   * visible.
   */
  const decades = (_: Plot, min: number, max: number) => [
    10 ** Math.floor(Math.log10(min)),
    max > 1000 ? 10 ** Math.ceil(Math.log10(max)) : 1000,
  ]
  /** Draws a dashed line across the chart, at a y value or an x value. */
  const line = (plot: Plot, scale: 'x' | 'y', value: number) => {
    const { min, max } = plot.scales[scale] ?? { min: 0, max: 0 }
    if (value < min || value > max) return
    const at = plot.valToPos(value, scale, true)
    const { left, top, width, height } = plot.bbox
    plot.ctx.save()
    plot.ctx.strokeStyle = color('limit')
    plot.ctx.lineWidth = 2
    plot.ctx.setLineDash([8, 6])
    plot.ctx.beginPath()
    plot.ctx.moveTo(scale === 'x' ? at : left, scale === 'x' ? top : at)
    plot.ctx.lineTo(scale === 'x' ? at : left + width, scale === 'x' ? top + height : at)
    plot.ctx.stroke()
    plot.ctx.restore()
  }
  const series = (label: string, stroke: string, dash?: readonly number[]) => ({
    label,
    stroke,
    width: 2.5,
    points: { show: label.startsWith('p'), size: 7, fill: stroke },
    value: (_: Plot, ms: number | null) => inMs(ms),
    ...(dash === undefined ? {} : { dash }),
  })

  const drawCurves = () => {
    const target = element('chart-curves')
    // Spaces 0 %, 90 %, 99 % and 99.9 % equally, because the tail matters.
    const nines = (percentile: number) => -Math.log10(1 - percentile / 100)
    const all = [
      ...new Set(data.curves.flatMap(({ points }) => points.map((point) => point.percentile))),
    ]
    const xs = all.sort((a, b) => a - b)
    const columns = data.curves.map(({ points }) => {
      const byPercentile = new Map(points.map((point) => [point.percentile, point.ms]))
      return xs.map((percentile) => byPercentile.get(percentile) ?? null)
    })
    const percent = (nine: number) =>
      `${String(Number((100 * (1 - 10 ** -nine)).toPrecision(6)))} %`
    return new page.uPlot(
      {
        width: target.clientWidth,
        height: 360,
        scales: { x: { time: false }, y: { distr: 3, range: decades } },
        series: [
          {
            label: 'percentile',
            value: (_: Plot, nine: number | null) => (nine === null ? '–' : percent(nine)),
          },
          ...data.curves.map((curve) => series(curve.name, color(curve.color))),
        ],
        axes: [
          {
            ...axis('percentile of calls', (_, splits) => splits.map(percent), 36),
            splits: (plot: Plot) =>
              [0, 1, 2, 3, 4].filter((nine) => nine <= (plot.scales['x']?.max ?? 0) + 0.01),
          },
          yAxis,
        ],
        hooks: {
          draw: [
            (plot: Plot) => {
              line(plot, 'y', data.limitMs)
            },
          ],
        },
      },
      [xs.map(nines), ...columns],
      target,
    )
  }

  const drawRates = () => {
    const target = element('chart-rates')
    return new page.uPlot(
      {
        width: target.clientWidth,
        height: 360,
        scales: { x: { time: false }, y: { distr: 3, range: decades } },
        series: [
          { label: 'requests per second' },
          series('p50', color('backend')),
          series('p99', color('kept')),
        ],
        axes: [
          axis(
            'requests per second, at a constant rate',
            (_, splits) => splits.map((rate) => rate.toLocaleString('en')),
            36,
          ),
          yAxis,
        ],
        hooks: {
          draw: [
            (plot: Plot) => {
              line(plot, 'y', data.limitMs)
              line(plot, 'x', data.quota)
            },
          ],
        },
      },
      [
        data.rates.map(({ rate }) => rate),
        data.rates.map(({ p50 }) => p50),
        data.rates.map(({ p99 }) => p99),
      ],
      target,
    )
  }

  let plots: Plot[] = []
  const draw = () => {
    for (const plot of plots) plot.destroy()
    element('chart-curves').replaceChildren()
    element('chart-rates').replaceChildren()
    plots = [drawCurves(), drawRates()]
  }
  draw()
  page.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
  page.addEventListener('resize', draw)
}
