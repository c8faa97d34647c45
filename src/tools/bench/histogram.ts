/** Records latencies in an HdrHistogram with three significant digits. No sample is left out. */
// SPDX-License-Identifier: Apache-2.0
import { build, type Histogram } from 'hdr-histogram-js'

/** Maximum latency in microseconds (one minute). Longer latencies are recorded as this value. */
const HIGHEST_US = 60_000_000

export interface Latencies {
  /** @param ms latency in milliseconds, kept to the microsecond */
  record(ms: number): void
  readonly count: number
  /**
   * Returns the latency in milliseconds at a percentile from 0 to 100; 0 if nothing was recorded.
   */
  at(percentile: number): number
  summary(): LatencySummary
  /** Returns points of the percentile curve, denser towards 100 as in HdrHistogram's own curve. */
  curve(): readonly CurvePoint[]
}

/** Summary of the samples, in milliseconds. */
export interface LatencySummary {
  readonly count: number
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export interface CurvePoint {
  readonly percentile: number
  readonly ms: number
}

export function createLatencies(): Latencies {
  const histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: HIGHEST_US,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 32,
    useWebAssembly: false,
  })
  const at = (percentile: number) =>
    histogram.totalCount === 0 ? 0 : round(histogram.getValueAtPercentile(percentile))
  return {
    record(ms) {
      histogram.recordValue(Math.min(HIGHEST_US, Math.max(1, Math.round(ms * 1000))))
    },
    get count() {
      return histogram.totalCount
    },
    at,
    summary: () => ({
      count: histogram.totalCount,
      mean: histogram.totalCount === 0 ? 0 : round(histogram.mean),
      p50: at(50),
      p90: at(90),
      p99: at(99),
      p999: at(99.9),
      max: histogram.totalCount === 0 ? 0 : round(histogram.maxValue),
    }),
    curve: () =>
      CURVE.filter((p) => isResolved(p, histogram.totalCount)).map((percentile) => ({
        percentile,
        ms: at(percentile),
      })),
  }
}

/** Percentiles in four equal steps for each halving of the distance to 100. */
const CURVE: readonly number[] = Array.from({ length: 64 }, (_, i) => {
  const halvings = Math.floor(i / 4)
  const distance = 100 / 2 ** halvings
  return 100 - distance + ((distance / 2) * (i % 4)) / 4
})

/**
 * Reports whether at least one sample lies above the percentile. Otherwise, the percentile equals
 * the maximum.
 */
function isResolved(percentile: number, count: number): boolean {
  return count > 0 && (1 - percentile / 100) * count >= 1
}

const round = (us: number) => Math.round(us) / 1000
