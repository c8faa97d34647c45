/**
 * Counts the encryptions of one key version. Uses are reserved on disk in advance, so that a crash
 * never undercounts.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Deadline } from '../../core/deadline.ts'
import type { Logger } from '../../core/logger.ts'
import { BackendError, toBackendError } from '../errors.ts'
import type { VersionUses } from './use-table.ts'

/** With random 96-bit IVs, one key may perform at most 2^32 encryptions (NIST SP 800-38D, 8.3). */
export const MAX_USES = 2 ** 32
/** Number of uses reserved at a time. Reserved uses that remain when the process ends are lost. */
export const BLOCK_USES = 65_536
/**
 * Number of uses reserved at startup for each version. It is much smaller than a block, because a
 * version may never be used.
 */
const WARM_USES = 1024

/**
 * Durably reserves up to `count` uses; resolves to the number granted and the total so far. When
 * the uses are about to be reserved, `isUrgent` reports whether a request is waiting for them.
 */
export type Reserve = (
  count: number,
  isUrgent: () => boolean,
) => Promise<{ readonly granted: number; readonly total: number }>

export interface UseCounterOptions {
  readonly reserve: Reserve
  readonly blockUses: number
  readonly maxUses: number
  /** Called once each at 75 % and 90 % of `maxUses`. */
  readonly onNearLimit: (total: number) => void
}

const WARN_AT = [0.75, 0.9]

/**
 * Takes one use. The first encryption in a process has to wait for the disk.
 * @throws BackendError
 */
export async function takeUse(uses: UseCounter, deadline: Deadline): Promise<void> {
  try {
    await deadline.race(uses.take())
  } catch (error) {
    throw toBackendError(error)
  }
}

/** Logs that a key version is approaching its limit. */
export function warnNearLimit(
  logger: Logger,
  { keyStore, keyId, version }: Pick<VersionUses, 'keyStore' | 'keyId' | 'version'>,
  limit: number,
): (encryptions: number) => void {
  return (encryptions) => {
    logger.warn('a key version is approaching its encryption limit; rotate the key', {
      ...{ keyStore, keyId, keyVersion: version, encryptions, limit },
    })
  }
}

export class UseCounter {
  readonly #options: UseCounterOptions
  #left = 0
  /** Number of remaining uses at which more are reserved: half of the last reservation. */
  #refillAt = 0
  #waiting = 0
  #refill: Promise<void> | undefined
  #exhausted = false
  #warned = 0

  constructor(options: UseCounterOptions) {
    this.#options = options
  }

  /**
   * Takes one use if one is available without waiting, as it is for all but the first use in a
   * process. Returns false if none is available.
   */
  tryTake(): boolean {
    if (this.#left <= this.#refillAt) void this.#startRefill().catch(() => undefined)
    if (this.#left === 0) return false
    this.#left -= 1
    return true
  }

  /**
   * Takes one use, and waits for the disk if none is left.
   * @throws BackendError KEY_EXHAUSTED, or the error that `reserve` rejects with
   */
  async take(): Promise<void> {
    this.#waiting += 1
    try {
      while (!this.tryTake()) {
        if (this.#exhausted) {
          throw new BackendError(
            'KEY_EXHAUSTED',
            'this key version has reached its encryption limit',
            {
              hint: 'rotate the key',
            },
          )
        }
        await this.#startRefill()
      }
    } finally {
      this.#waiting -= 1
    }
  }

  /** Reserves a few uses in advance; does nothing once the version is in use. */
  async warm(): Promise<void> {
    if (this.#left === 0) await this.#startRefill(Math.min(WARM_USES, this.#options.blockUses))
  }

  #startRefill(count = this.#options.blockUses): Promise<void> {
    if (this.#exhausted) return Promise.resolve()
    this.#refill ??= this.#fill(count).finally(() => {
      this.#refill = undefined
    })
    return this.#refill
  }

  async #fill(count: number): Promise<void> {
    const { granted, total } = await this.#options.reserve(count, () => this.#waiting > 0)
    this.#left += granted
    this.#refillAt = granted / 2
    this.#exhausted = granted === 0
    const passed = WARN_AT.filter((share) => total >= share * this.#options.maxUses).length
    if (passed > this.#warned) this.#options.onNearLimit(total)
    this.#warned = passed
  }
}
