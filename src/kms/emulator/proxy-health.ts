/** GetHealthStatus as KMS sends it, and what it makes of the answer. */
// SPDX-License-Identifier: Apache-2.0
import type { ProxyConnection } from './proxy-connection.ts'
import { ProxyFailure } from './proxy-failure.ts'
import { getHealthStatusBody } from '../client/requests.ts'

const HEALTH = new Set<unknown>(['ACTIVE', 'DEGRADED', 'UNAVAILABLE'])

/** @param kmsOperation on whose behalf. @throws ProxyFailure */
export async function checkHealth(
  connection: ProxyConnection,
  kmsOperation: string,
): Promise<void> {
  const answer = (await connection.call('/health', getHealthStatusBody(kmsOperation))) as Record<
    string,
    unknown
  >
  const details = answer['ekmFleetDetails']
  const size = answer['xksProxyFleetSize']
  // XKS 1.0.3, GetHealthStatus: at least one and no more than ten, a fleet of at least one.
  if (!Array.isArray(details) || details.length < 1 || details.length > 10) malformed()
  const states = details.map(
    (one: unknown) => (one as Record<string, unknown> | null)?.['healthStatus'],
  )
  if (!states.every((state) => HEALTH.has(state))) malformed()
  if (!Number.isInteger(size) || Number(size) < 1) malformed()
  for (const field of ['xksProxyVendor', 'xksProxyModel', 'ekmVendor']) {
    if (typeof answer[field] !== 'string') malformed()
  }
  if (states.every((state) => state === 'UNAVAILABLE')) {
    throw new ProxyFailure('ALL_UNAVAILABLE', 'all external key managers are unavailable')
  }
}

function malformed(): never {
  throw new ProxyFailure('MALFORMED', 'the health status lacks what the specification requires')
}
