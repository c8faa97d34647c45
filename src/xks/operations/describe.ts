/** GetHealthStatus and GetKeyMetadata, the two operations that use no key material. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyDescription, ManagerHealth } from '../../keys/key-backend.ts'
import type { components } from '../../openapi/types.gen.ts'

type HealthResponse = components['schemas']['GetHealthStatusResponse']

/** XKS 1.0.3, GetHealthStatus: at most ten entries. */
const MAX_MANAGERS = 10
const VENDOR = 'Latchkey'

export interface ProxyIdentity {
  readonly version: string
  /** Returns the current number of proxies behind the endpoint. */
  readonly fleetSize: () => number
}

export function toHealthStatus(
  identity: ProxyIdentity,
  ekmVendor: string,
  managers: readonly ManagerHealth[],
): HealthResponse {
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

type MetadataResponse = components['schemas']['GetKeyMetadataResponse']

/**
 * Builds the response defined in XKS 1.0.3, GetKeyMetadata. Every key of every backend is AES-256.
 */
export function toKeyMetadata(key: KeyDescription, enabled: boolean): MetadataResponse {
  const isUsable = enabled && key.dateState !== 'PRE_ACTIVE'
  const keyUsage: MetadataResponse['keyUsage'] = []
  // A deactivated key still decrypts, so it is not disabled.
  if (key.canEncrypt && key.dateState !== 'DEACTIVATED') keyUsage.push('ENCRYPT')
  if (key.canDecrypt) keyUsage.push('DECRYPT')
  return { keySpec: 'AES_256', keyUsage, keyStatus: isUsable ? 'ENABLED' : 'DISABLED' }
}
