/** The data of a report. Figures are in milliseconds. The data contains no secrets. */
// SPDX-License-Identifier: Apache-2.0
import type { CurvePoint, LatencySummary } from '../bench/histogram.ts'

/** The measured paths, ordered from the cheapest to the most expensive. */
export const RUNGS = ['in-process', 'backend', 'kept', 'new'] as const
export type RungName = (typeof RUNGS)[number]

export interface Measured {
  readonly summary: LatencySummary
  readonly curve: readonly CurvePoint[]
}

/**
 * Measurements of one way to do the work: Encrypt of a 32-byte data key with a verified CDIV, and
 * Decrypt.
 */
export interface Rung {
  readonly name: RungName
  readonly encrypt: Measured
  readonly decrypt: Measured
}

/**
 * Server-side timings of a typical request: stages and total are means of the requests around the
 * median.
 */
export interface StageAccount {
  readonly operation: 'Encrypt' | 'Decrypt'
  readonly requests: number
  readonly totalMs: number
  readonly stagesMs: Readonly<Record<string, number>>
}

export interface RatePoint {
  readonly rate: number
  readonly achieved: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly errors: number
  readonly isClientLimited: boolean
}

export interface ReportData {
  readonly madeAt: string
  readonly subject: {
    readonly endpoint: string
    /** xksProxyModel and xksProxyVendor from GetHealthStatus. */
    readonly proxy: string
    readonly keyManager: string
    readonly tls: string
    readonly keyBackend?: string
  }
  readonly client: {
    readonly latchkey: string
    readonly node: string
    readonly processor: string
    readonly cores: number
  }
  readonly rungs: readonly Rung[]
  readonly connectMs: {
    readonly dns: LatencySummary
    readonly connect: LatencySummary
    readonly handshake: LatencySummary
  }
  readonly stages: readonly StageAccount[]
  readonly rates: readonly RatePoint[]
  /** Highest rate in requests per second with a p99 under 250 ms and no errors. */
  readonly highestRate: number
  readonly limitedBy: 'proxy' | 'client' | 'maximum'
  readonly links: readonly LinkEstimate[]
}

/** Estimated time that KMS would wait over a given link, according to the model in `measure.ts`. */
export interface LinkEstimate {
  readonly roundTripMs: number
  readonly kept: { readonly p50: number; readonly p99: number }
  readonly new: { readonly p50: number; readonly p99: number }
}

export function findRung(data: Pick<ReportData, 'rungs'>, name: RungName): Rung | undefined {
  return data.rungs.find((rung) => rung.name === name)
}

interface RequestLine {
  readonly msg?: unknown
  readonly status?: unknown
  readonly operation?: unknown
  readonly totalMs?: unknown
  readonly stagesMs?: Readonly<Record<string, number>>
}

interface Served {
  readonly totalMs: number
  readonly stagesMs: Readonly<Record<string, number>>
}

type Operation = StageAccount['operation']

/** Maximum number of requests to keep for each operation, to bound memory use. */
const MAX_REQUESTS = 100_000
/** Share of all requests to average, centered on the median. */
const TYPICAL = 0.1

/**
 * Collects log lines and returns the stages of a typical request: the mean of the requests around
 * the median, because medians of stages do not add up. Only successful Encrypt and Decrypt requests
 * count.
 */
export class StageReader {
  readonly #served = new Map<Operation, Served[]>()

  take(line: string): void {
    if (!line.includes('"stagesMs"')) return
    const { msg, status, operation, totalMs, stagesMs } = JSON.parse(line) as RequestLine
    if (msg !== 'request' || status !== 200 || stagesMs === undefined) return
    if (operation !== 'Encrypt' && operation !== 'Decrypt') return
    const served = this.#served.get(operation) ?? []
    this.#served.set(operation, served)
    if (served.length < MAX_REQUESTS) served.push({ totalMs: Number(totalMs), stagesMs })
  }

  accounts(): readonly StageAccount[] {
    return [...this.#served].map(([operation, served]) => {
      const typical = aroundMedian(served)
      const mean = (pick: (one: Served) => number) =>
        round(typical.reduce((sum, one) => sum + pick(one), 0) / typical.length)
      const stages = [...new Set(typical.flatMap(({ stagesMs }) => Object.keys(stagesMs)))]
      return {
        operation,
        requests: served.length,
        totalMs: mean(({ totalMs }) => totalMs),
        stagesMs: Object.fromEntries(
          stages.map((stage) => [stage, mean(({ stagesMs }) => stagesMs[stage] ?? 0)]),
        ),
      }
    })
  }
}

function aroundMedian(served: readonly Served[]): readonly Served[] {
  const sorted = [...served].sort((a, b) => a.totalMs - b.totalMs)
  const count = Math.max(1, Math.round(sorted.length * TYPICAL))
  const first = Math.floor((sorted.length - count) / 2)
  return sorted.slice(first, first + count)
}

const round = (ms: number) => Math.round(ms * 1000) / 1000
