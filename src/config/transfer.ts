/**
 * Packs a configuration, including its secrets, for a worker process. Only the primary and the
 * worker have access to the channel between them.
 */
// SPDX-License-Identifier: Apache-2.0
import { Secret } from '../core/secret.ts'
import type { Config } from './config.ts'

/** Placeholder for a Secret, which refuses to be serialized. */
interface PackedSecret {
  readonly $secret: string | Buffer
}

/**
 * Returns a value that structured cloning preserves. The value contains secrets in plain text, so
 * pass it on and then discard it.
 */
export function packConfig(config: Config): unknown {
  return map(config, (value) =>
    value instanceof Secret ? { $secret: (value as Secret<string | Buffer>).reveal() } : undefined,
  )
}

/** @param packed the result of `packConfig`, cloned or not */
export function unpackConfig(packed: unknown): Config {
  return map(packed, (value) =>
    typeof value === 'object' && value !== null && '$secret' in value
      ? new Secret(toSecret((value as PackedSecret).$secret))
      : undefined,
  ) as Config
}

function toSecret(value: string | Uint8Array): string | Buffer {
  return typeof value === 'string' ? value : Buffer.from(value)
}

/** Returns a deep, frozen copy, in which `replace` may substitute any value. */
function map(value: unknown, replace: (value: unknown) => unknown): unknown {
  const replaced = replace(value)
  if (replaced !== undefined) return replaced
  if (Array.isArray(value)) return Object.freeze(value.map((one) => map(one, replace)))
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  return Object.freeze(
    Object.fromEntries(Object.entries(value).map(([name, one]) => [name, map(one, replace)])),
  )
}
