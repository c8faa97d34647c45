/**
 * Hashes caller ARNs for logs that must not name people. The hash is keyed, so names cannot be
 * guessed without the store key. A caller has the same hash in all of a store's logs.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHmac } from 'node:crypto'

/** Returns the HMAC-SHA-256 of an ARN, in hex. */
export type HashPrincipal = (arn: string) => string

/**
 * Maximum number of cached hashes. With more callers, some are hashed again, which takes
 * microseconds.
 */
const MAX_CACHED = 10_000

/** Purpose for which the store derives the key. */
export const PRINCIPALS = 'audit principals'

/** @param key 32 bytes */
export function createPrincipalHash(key: Buffer): HashPrincipal {
  const cache = new Map<string, string>()
  return (arn) => {
    const known = cache.get(arn)
    if (known !== undefined) return known
    const made = createHmac('sha256', key).update(arn).digest('hex')
    if (cache.size >= MAX_CACHED) cache.clear()
    cache.set(arn, made)
    return made
  }
}
