/** Parses the raw request target into the key store, the operation and the key. */
// SPDX-License-Identifier: Apache-2.0
import { parseExternalKeyId, type ExternalKeyId } from '../core/ids.ts'
import type { Operation } from '../core/request.ts'

/** The fixed part of every version 1 URI path, between the key store's prefix and the operation. */
export const API_ROOT = '/kms/xks/v1'

export interface Target {
  /** Prefix and API root. If a key store has this path, it is that key store's XksProxyUriPath. */
  readonly uriPath: string
  readonly operation: Operation
  /** Absent for GetHealthStatus. */
  readonly keyId?: ExternalKeyId | undefined
}

const KEY_OPERATIONS: ReadonlyMap<string, Operation> = new Map([
  ['metadata', 'GetKeyMetadata'],
  ['encrypt', 'Encrypt'],
  ['decrypt', 'Decrypt'],
])

/**
 * Parses a target defined in XKS 1.0.3, API operations; returns undefined for any other target. A
 * query, a `%`, an absolute form, or an empty or dotted segment never reaches the comparison, so no
 * two targets mean the same resource.
 */
export function parseTarget(target: string): Target | undefined {
  const end = target.lastIndexOf('/')
  const last = target.slice(end + 1)
  if (last === 'health') {
    const uriPath = target.slice(0, end)
    return isUriPath(uriPath) ? { uriPath, operation: 'GetHealthStatus' } : undefined
  }
  const operation = KEY_OPERATIONS.get(last)
  if (operation === undefined) return undefined
  const keyStart = target.lastIndexOf('/', end - 1)
  const keyId = parseExternalKeyId(target.slice(keyStart + 1, end))
  const rest = target.slice(0, keyStart)
  if (keyId === undefined || !rest.endsWith('/keys')) return undefined
  const uriPath = rest.slice(0, -'/keys'.length)
  return isUriPath(uriPath) ? { uriPath, operation, keyId } : undefined
}

/**
 * Reports whether a path is a valid XksProxyUriPath: at most 128 characters of A-Z, a-z, 0-9,
 * slash, dash and underscore.
 */
export function isUriPath(path: string): boolean {
  return path.length <= 128 && /^(?:\/[A-Za-z0-9_-]+)*\/kms\/xks\/v1$/.test(path)
}
