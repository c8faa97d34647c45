/** GetKeyMetadata: what kind of key this is, and whether it can be used. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyDescription } from '../../keys/key-backend.ts'
import type { components } from '../../openapi/types.gen.ts'

type Response = components['schemas']['GetKeyMetadataResponse']

/** XKS 1.0.3, GetKeyMetadata. Every key that a backend describes is AES-256. */
export function toKeyMetadata(key: KeyDescription): Response {
  const keyUsage: Response['keyUsage'] = []
  if (key.canEncrypt) keyUsage.push('ENCRYPT')
  if (key.canDecrypt) keyUsage.push('DECRYPT')
  return { keySpec: 'AES_256', keyUsage, keyStatus: key.enabled ? 'ENABLED' : 'DISABLED' }
}
