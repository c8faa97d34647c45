/** Computes where a request spends its time in the server, from the stages in the request log. */
// SPDX-License-Identifier: Apache-2.0
import type { StageAccount } from './findings.ts'

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

/** Largest number of lines to keep, which bounds the memory. */
const MAX_REQUESTS = 100_000
/** Share of requests around the median to average. */
const TYPICAL = 0.1

/**
 * Collects log lines and returns the stages of a typical request: the mean of the requests around the median,
 * since medians of stages do not add up. Only successful Encrypt and Decrypt requests count.
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
