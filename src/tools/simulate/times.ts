/** Times of the emulator's calls to the proxy, by operation. */
// SPDX-License-Identifier: Apache-2.0
import type { CallReport } from '../../kms/emulator/proxy-connection.ts'

export interface Times {
  readonly operation: string
  readonly count: number
  /** Milliseconds; like the field below, over successful calls only. */
  readonly median: number
  readonly max: number
  /** Number of calls that were retried after a network timeout. */
  readonly repeated: number
}

const OPERATIONS = [
  ['GetHealthStatus', /\/health$/],
  ['GetKeyMetadata', /\/metadata$/],
  ['Encrypt', /\/encrypt$/],
  ['Decrypt', /\/decrypt$/],
] as const

export function summarize(reports: readonly CallReport[]): readonly Times[] {
  return OPERATIONS.flatMap(([operation, pattern]) => {
    const own = reports.filter(({ path }) => pattern.test(path))
    const ms = own
      .filter(({ failure }) => failure === undefined)
      .map(({ totalMs }) => totalMs)
      .sort((a, b) => a - b)
    const median = ms[Math.floor(ms.length / 2)]
    if (median === undefined) return []
    const repeated = own.filter(({ attempts }) => attempts > 1).length
    return [{ operation, count: ms.length, median, max: ms.at(-1) ?? median, repeated }]
  })
}

export function describeTimes(times: readonly Times[], timeoutMs: number): readonly string[] {
  return [
    `The proxy's answers, of the ${String(timeoutMs)} ms that KMS waits:`,
    ...times.map(
      ({ operation, count, median, max, repeated }) =>
        `  ${operation.padEnd(16)} ${String(count).padStart(3)} calls, median ${median.toFixed(1).padStart(6)} ms, slowest ${max.toFixed(1).padStart(6)} ms${repeated === 0 ? '' : `, ${String(repeated)} repeated`}`,
    ),
    '',
  ]
}
