/** The highest rate that a proxy holds: doubled until it does not, then halved in between. */
// SPDX-License-Identifier: Apache-2.0
import { KMS_TIMEOUT_MS } from '../doctor/timing.ts'
import type { LoadResult } from './open-loop.ts'

export interface SearchOptions {
  readonly startRate: number
  /** Nobody can ask for more of one client. */
  readonly maxRate: number
  /** As a fraction of the rate: 0.05 ends when the two sides are 5 % apart. */
  readonly precision: number
}

export interface Search {
  /** Requests a second; 0 when not even the first rate was held. */
  readonly highest: number
  /** What ended it: the proxy, this client, or the highest rate that may be asked for. */
  readonly limitedBy: 'proxy' | 'client' | 'maximum'
  readonly results: readonly LoadResult[]
}

/** XKS 1.0.3: after 250 ms, KMS has given up. An error is an answer that KMS has no use for. */
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
