/**
 * Hashes the ARNs of callers for logs that must not name people. The hash is keyed, so guessing
 * names requires the store's key. It is the same for a caller in every log of a store.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHmac } from 'node:crypto'

/** Returns HMAC-SHA-256 of an ARN, in hexadecimal. */
export type HashPrincipal = (arn: string) => string

/**
 * Maximum number of cached hashes. Beyond it, some callers are hashed again, which takes
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
