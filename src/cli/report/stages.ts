/** Where a request spends its time in the server, by the stages of its request log. */
// SPDX-License-Identifier: Apache-2.0
import { createLatencies, type Latencies } from '../load/histogram.ts'
import type { StageAccount } from './findings.ts'

interface RequestLine {
  readonly msg?: unknown
  readonly status?: unknown
  readonly operation?: unknown
  readonly totalMs?: unknown
  readonly stagesMs?: Readonly<Record<string, number>>
}

/** Takes lines of a log and gives medians; lines that are no served Encrypt or Decrypt are left out. */
export class StageReader {
  readonly #accounts = new Map<'Encrypt' | 'Decrypt', Map<string, Latencies>>()

  take(line: string): void {
    if (!line.includes('"stagesMs"')) return
    const { msg, status, operation, totalMs, stagesMs } = JSON.parse(line) as RequestLine
    if (msg !== 'request' || status !== 200 || stagesMs === undefined) return
    if (operation !== 'Encrypt' && operation !== 'Decrypt') return
    const account = this.#accounts.get(operation) ?? new Map<string, Latencies>()
    this.#accounts.set(operation, account)
    for (const [stage, ms] of Object.entries({ ...stagesMs, [TOTAL]: Number(totalMs) })) {
      const latencies = account.get(stage) ?? createLatencies()
      account.set(stage, latencies)
      latencies.record(ms)
    }
  }

  accounts(): readonly StageAccount[] {
    return [...this.#accounts].map(([operation, account]) => {
      const medians = [...account].map(([stage, latencies]) => [stage, latencies.at(50)] as const)
      return {
        operation,
        requests: account.get(TOTAL)?.count ?? 0,
        totalMs: account.get(TOTAL)?.at(50) ?? 0,
        stagesMs: Object.fromEntries(medians.filter(([stage]) => stage !== TOTAL)),
      }
    })
  }
}

/** No stage is called so. */
const TOTAL = '*'
