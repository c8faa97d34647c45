/** A configuration on its way to a worker process, over a line that only the two of them hold. */
// SPDX-License-Identifier: Apache-2.0
import { Secret } from '../core/secret.ts'
import type { Config } from './config.ts'

/** Stands for a Secret, which no serialisation would let through. */
interface PackedSecret {
  readonly $secret: string | Buffer
}

/** What structured cloning keeps whole. The result holds secrets in the clear: hand it on, and forget it. */
export function packConfig(config: Config): unknown {
  return map(config, (value) =>
    value instanceof Secret ? { $secret: (value as Secret<string | Buffer>).reveal() } : undefined,
  )
}

/** @param packed of `packConfig`, cloned or not */
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

/** A deep, frozen copy in which `replace` may put something else for any value. */
function map(value: unknown, replace: (value: unknown) => unknown): unknown {
  const replaced = replace(value)
  if (replaced !== undefined) return replaced
  if (Array.isArray(value)) return Object.freeze(value.map((one) => map(one, replace)))
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  return Object.freeze(
    Object.fromEntries(Object.entries(value).map(([name, one]) => [name, map(one, replace)])),
  )
}
