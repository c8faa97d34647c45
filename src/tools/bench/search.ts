/** Finds the highest rate that a proxy sustains: doubles the rate until it fails, then bisects. */
// SPDX-License-Identifier: Apache-2.0
import { KMS_TIMEOUT_MS } from '../doctor/timing.ts'
import type { LoadResult } from './open-loop.ts'

export interface SearchOptions {
  readonly startRate: number
  /** Highest rate to try. */
  readonly maxRate: number
  /** Precision as a fraction of the rate: 0.05 stops when the bounds are 5 % apart. */
  readonly precision: number
}

export interface Search {
  /** Requests per second; 0 when even the first rate failed. */
  readonly highest: number
  /** What ended the search: the proxy, the client, or the highest allowed rate. */
  readonly limitedBy: 'proxy' | 'client' | 'maximum'
  readonly results: readonly LoadResult[]
}

/** XKS 1.0.3: KMS gives up after 250 ms. An error does not count as an answer. */
export function holds(result: LoadResult): boolean {
  return (
    result.latencyMs.p99 < KMS_TIMEOUT_MS &&
    result.unsent === 0 &&
    Object.keys(result.errors).length === 0
  )
}

export async function findHighestRate(
  options: SearchOptions,
  run: (rate: number) => Promise<LoadResult>,
): Promise<Search> {
  const results: LoadResult[] = []
  let held = 0
  let failed: LoadResult | undefined
  const attempt = async (rate: number) => {
    const result = await run(rate)
    results.push(result)
    if (holds(result)) held = Math.max(held, rate)
    else failed = result
  }
  for (let rate = options.startRate; failed === undefined && rate <= options.maxRate; rate *= 2) {
    await attempt(rate)
  }
  while (failed !== undefined && (failed.rate - held) / failed.rate > options.precision) {
    const middle = Math.round((held + failed.rate) / 2)
    if (middle <= held || middle >= failed.rate) break
    await attempt(middle)
  }
  const limitedBy = failed === undefined ? 'maximum' : failed.isClientLimited ? 'client' : 'proxy'
  return { highest: held, limitedBy, results }
}
