/** GetHealthStatus: renders what the probe found in the background. */
// SPDX-License-Identifier: Apache-2.0
import type { ManagerHealth } from '../../keys/key-backend.ts'
import type { components } from '../../openapi/types.gen.ts'

type Response = components['schemas']['GetHealthStatusResponse']

/** XKS 1.0.3, GetHealthStatus: at most ten entries. */
const MAX_MANAGERS = 10
const VENDOR = 'Latchkey'

export interface ProxyIdentity {
  readonly version: string
  /** Proxies behind the endpoint, at this moment. */
  readonly fleetSize: () => number
}

export function toHealthStatus(
  identity: ProxyIdentity,
  ekmVendor: string,
  managers: readonly ManagerHealth[],
): Response {
  return {
    xksProxyFleetSize: identity.fleetSize(),
    xksProxyVendor: VENDOR,
    xksProxyModel: `Latchkey XKS Proxy ${identity.version}`,
    ekmVendor,
    ekmFleetDetails: managers.slice(0, MAX_MANAGERS).map((manager) => ({
      id: manager.id,
      model: manager.model,
      healthStatus: manager.status,
    })),
  }
}
