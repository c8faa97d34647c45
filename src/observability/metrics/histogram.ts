/** Counts by bucket in typed arrays: an observation allocates nothing and looks up no label. */
// SPDX-License-Identifier: Apache-2.0

/** Seconds; 10 microseconds for a stage, 250 ms for what KMS waits. */
export const BUCKETS_SECONDS = [
  0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
  0.05, 0.1, 0.15, 0.2, 0.25,
] as const

const BOUNDS_MS = Float64Array.from(BUCKETS_SECONDS, (seconds) => seconds * 1000)
const SIZE = BOUNDS_MS.length

export type Labels = Readonly<Record<string, string>>

/** A value in the form that prom-client's registry prints. */
export interface MetricValue {
  readonly labels: Record<string, string | number>
  readonly value: number
  readonly metricName?: string
}

export class Histogram {
  readonly #counts = new Float64Array(SIZE + 1)
  #sumMs = 0

  /** @param ms below zero counts as zero */
  observe(ms: number): void {
    let bucket = 0
    while (bucket < SIZE && ms > (BOUNDS_MS[bucket] ?? Infinity)) bucket += 1
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
    if (ms > 0) this.#sumMs += ms
  }

  /** Cumulative, as Prometheus wants them; nothing while nothing was observed. */
  values(name: string, labels: Labels): readonly MetricValue[] {
    const values: MetricValue[] = []
    let count = 0
    this.#counts.forEach((one, i) => {
      count += one
      const le = BUCKETS_SECONDS[i] ?? '+Inf'
      values.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: count })
    })
    if (count === 0) return []
    values.push({ metricName: `${name}_sum`, labels: { ...labels }, value: this.#sumMs / 1000 })
    values.push({ metricName: `${name}_count`, labels: { ...labels }, value: count })
    return values
  }
}
