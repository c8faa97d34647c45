/**
 * Unwraps store keys with the master key, outside of any transaction: a token can take longer than
 * a database allows a transaction to stay idle.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import { StorageError } from './database.ts'
import type { MasterKey } from './master-key.ts'
import { createSealing, type KeySealing } from './sealing.ts'

export interface HeldKey {
  /** The key as stored, wrapped under the master key. */
  readonly record: string
  readonly sealing: KeySealing
}

export interface KeyLoader {
  /** Returns a key that was loaded earlier. */
  find(record: string): HeldKey | undefined
  /**
   * Unwraps a key. A failed attempt is repeated only after a pause, so that a poller does not keep
   * a token or the processor busy; until then, calls fail with the same error.
   * @throws StorageError MASTER_KEY_WRONG, MASTER_KEY_UNREADABLE or an error of the key's token
   */
  load(record: string): Promise<void>
}

/** Maximum number of keys kept. A store has at most two at a time. */
const MAX_KEYS = 4
/** After a wrong or missing key, the pause is this many times as long as the attempt took. */
const PAUSE_PER_ATTEMPT = 10
/**
 * Initial pause after a failed attempt with a token, in milliseconds. It doubles with each failure,
 * because the cause may be a wrong PIN.
 */
const TOKEN_PAUSE_MS = 1000
const MAX_PAUSE_MS = 30_000

interface Failure {
  readonly error: unknown
  readonly count: number
  /** Monotonic time, in milliseconds, before which no new attempt is made. */
  readonly notBefore: number
}

export function createKeyLoader(
  masterKey: Pick<MasterKey, 'unwrap'>,
  clock: Pick<Clock, 'monotonic'>,
): KeyLoader {
  const keys = new Map<string, HeldKey>()
  const loading = new Map<string, Promise<void>>()
  const failures = new Map<string, Failure>()

  async function load(record: string): Promise<void> {
    const failure = failures.get(record)
    if (failure !== undefined && clock.monotonic() < failure.notBefore) throw failure.error
    const startedAt = clock.monotonic()
    try {
      const storeKey = await masterKey.unwrap(record)
      remember(keys, record, { record, sealing: createSealing(storeKey) })
      storeKey.fill(0)
      failures.delete(record)
    } catch (error) {
      const count = (failure?.count ?? 0) + 1
      const now = clock.monotonic()
      const pauseMs =
        error instanceof StorageError
          ? (now - startedAt) * PAUSE_PER_ATTEMPT
          : TOKEN_PAUSE_MS * 2 ** (count - 1)
      const notBefore = now + Math.min(pauseMs, MAX_PAUSE_MS)
      remember(failures, record, { error, count, notBefore })
      throw error
    }
  }

  return {
    find: (record) => keys.get(record),
    async load(record) {
      if (keys.has(record)) return
      const running = loading.get(record) ?? load(record)
      loading.set(record, running)
      await running.finally(() => loading.delete(record))
    },
  }
}

function remember<T>(map: Map<string, T>, record: string, value: T): void {
  map.delete(record)
  map.set(record, value)
  const [oldest] = map.keys()
  if (map.size > MAX_KEYS && oldest !== undefined) map.delete(oldest)
}
