/**
 * What KMS would wait for over a link with a given round trip, from what was measured here. A model, not a
 * measurement: it adds whole round trips and knows of no loss, no jitter and no slow start.
 */
// SPDX-License-Identifier: Apache-2.0
import { findRung, type LinkEstimate, type ReportData } from './findings.ts'

/** 35 ms is the most that AWS advises (XKS 1.0.3, KMS Considerations). */
export const ROUND_TRIPS_MS = [0, 10, 35, 100] as const

/** A request and its answer. */
const HTTP_ROUND_TRIPS = 1
const TCP_ROUND_TRIPS = 1

/** RFC 8446: one round trip before the request; RFC 5246: two. */
export function tlsRoundTrips(protocol: string): number {
  return protocol.startsWith('TLSv1.3') ? 1 : 2
}

/** For Encrypt, the dearer of the two. DNS is left out: KMS resolves rarely. */
export function estimateLinks(
  data: Pick<ReportData, 'rungs'>,
  protocol: string,
): readonly LinkEstimate[] {
  const kept = findRung(data, 'kept')?.encrypt.summary
  const fresh = findRung(data, 'new')?.encrypt.summary
  if (kept === undefined || fresh === undefined) return []
  const connecting = TCP_ROUND_TRIPS + tlsRoundTrips(protocol) + HTTP_ROUND_TRIPS
  const over = (
    { p50, p99 }: { p50: number; p99: number },
    trips: number,
    roundTripMs: number,
  ) => ({
    p50: p50 + trips * roundTripMs,
    p99: p99 + trips * roundTripMs,
  })
  return ROUND_TRIPS_MS.map((roundTripMs) => ({
    roundTripMs,
    kept: over(kept, HTTP_ROUND_TRIPS, roundTripMs),
    new: over(fresh, connecting, roundTripMs),
  }))
}
