/**
 * Recognizes tokens' keys across restarts. The check value of each version is recorded in the store
 * when the version is first seen (trust on first use). Every instance holds the records in memory
 * and refuses a different key under the same name until the old key is back or `keys trust` accepts
 * the new one.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { ExternalKeyId, KeyStoreName } from '../../core/ids.ts'
import type { Logger } from '../../core/logger.ts'
import { periodic, type Periodic } from '../../core/periodic.ts'
import { forEachInSlices } from '../../core/slices.ts'
import type { TableChange } from '../../store/feed.ts'
import type { Store } from '../../store/store.ts'
import { BackendError } from '../errors.ts'
import {
  isSameKey,
  type KeyName,
  parseTokenKey,
  TokenKeyTable,
  type TokenKeyRow,
} from './token-key-table.ts'

/** One version, as reported by a token. */
export interface SeenVersion {
  readonly version: number
  /** Key check value in Base64; empty if the token cannot compute one. */
  readonly check: string
}

export interface TrustedKeysDeps {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  /**
   * Applies records made by other processes.
   * @throws StorageError
   */
  readonly reload: () => Promise<void>
}

/** Number of rows applied in one turn of the event loop. */
const SLICE = 100
/**
 * Number of rows per change. It is limited, because a change holds the store's lock, which a kill
 * also needs.
 */
const BATCH = 100
/** Random delay, so that processes that start together do not all record the same rows. */
const RECORD_EVERY_MS = 200 + Math.random() * 100

export class TrustedKeys {
  readonly #deps: TrustedKeysDeps
  /** Check values by key store and key id, then by version. */
  #recorded = new Map<string, Map<number, string>>()
  /** Versions that were first seen by this process and are not in the store yet. */
  readonly #pending = new Map<string, Map<number, TokenKeyRow>>()
  readonly #warned = new Set<string>()
  readonly #recording: Periodic
  #hasFailed = false

  constructor(deps: TrustedKeysDeps) {
    this.#deps = deps
    this.#recording = periodic({
      intervalMs: RECORD_EVERY_MS,
      work: () => this.#record(),
      onError: (err) => {
        if (!this.#hasFailed)
          deps.logger.warn('could not record key check values; retrying', { err })
        this.#hasFailed = true
      },
    })
  }

  /**
   * Until a reset has been applied completely, the earlier records stay in force. Calls must not
   * overlap.
   * @returns the keys whose records changed
   */
  async apply({ put, removed, isReset }: TableChange): Promise<readonly KeyName[]> {
    const changed = new Map<string, KeyName>()
    const recorded = isReset ? new Map<string, Map<number, string>>() : this.#recorded
    for (const [keyStore, keyId, version] of removed as readonly [
      KeyStoreName,
      ExternalKeyId,
      number,
    ][]) {
      const name = nameOf(keyStore, keyId)
      recorded.get(name)?.delete(version)
      changed.set(name, { keyStore, keyId })
    }
    await forEachInSlices(put, SLICE, (row) => {
      const { keyStore, keyId, version, check } = parseTokenKey(row)
      const name = nameOf(keyStore, keyId)
      const versions = recorded.get(name) ?? new Map<number, string>()
      recorded.set(name, versions.set(version, check))
      this.#warned.delete(`${name}@${String(version)}`)
      changed.set(name, { keyStore, keyId })
    })
    this.#recorded = recorded
    await forEachInSlices(put, SLICE, (row) => {
      const { keyStore, keyId, version } = parseTokenKey(row)
      this.#forgetPending(nameOf(keyStore, keyId), version)
    })
    return [...changed.values()]
  }

  versions({ keyStore, keyId }: KeyName): readonly number[] {
    return [...(this.#recorded.get(nameOf(keyStore, keyId))?.keys() ?? [])]
  }

  /** Reports whether these are exactly the recorded versions. */
  isAsRecorded({ keyStore, keyId }: KeyName, versions: readonly SeenVersion[]): boolean {
    const recorded = this.#recorded.get(nameOf(keyStore, keyId))
    return (
      recorded?.size === versions.length &&
      versions.every(({ version, check }) => {
        const trusted = recorded.get(version)
        return trusted !== undefined && isSameKey(trusted, check)
      })
    )
  }

  /** Must be called for each version that a token reports. Never throws. */
  see(keyStore: KeyStoreName, keyId: ExternalKeyId, versions: readonly SeenVersion[]): void {
    const name = nameOf(keyStore, keyId)
    for (const { version, check } of versions) {
      const trusted = this.#trusted(name, version)
      if (trusted !== undefined && !(trusted === '' && check !== '')) {
        if (!isSameKey(trusted, check)) this.#warn(keyStore, keyId, version, 'another key')
        continue
      }
      const row = { keyStore, keyId, version, check, seenAt: this.#deps.clock.now() }
      const pending = this.#pending.get(name) ?? new Map<number, TokenKeyRow>()
      this.#pending.set(name, pending.set(version, { ...row, reason: null, operator: null }))
    }
  }

  /** @throws BackendError KEY_REPLACED if the version has a record that it does not match */
  check(keyStore: KeyStoreName, keyId: ExternalKeyId, { version, check }: SeenVersion): void {
    const trusted = this.#trusted(nameOf(keyStore, keyId), version)
    if (trusted === undefined || isSameKey(trusted, check)) return
    this.#warn(keyStore, keyId, version, 'another key')
    throw replaced(
      `version ${String(version)} is a different key from the one recorded in the store`,
    )
  }

  /**
   * @throws BackendError KEY_REPLACED if the store has recorded a newer version than the token has
   */
  checkNewest(keyStore: KeyStoreName, keyId: ExternalKeyId, current: number): void {
    let newest = 0
    for (const version of this.#recorded.get(nameOf(keyStore, keyId))?.keys() ?? [])
      newest = Math.max(newest, version)
    if (newest <= current) return
    this.#warn(keyStore, keyId, newest, 'no key')
    throw replaced(
      `version ${String(newest)} is recorded in the store, but is no longer on the token`,
    )
  }

  /** Writes pending records and stops. */
  async close(): Promise<void> {
    await this.#recording.runNow()
    await this.#recording.stop()
  }

  #trusted(name: string, version: number): string | undefined {
    return this.#recorded.get(name)?.get(version) ?? this.#pending.get(name)?.get(version)?.check
  }

  #forgetPending(name: string, version: number): void {
    const pending = this.#pending.get(name)
    pending?.delete(version)
    if (pending?.size === 0) this.#pending.delete(name)
  }

  #warn(
    keyStore: KeyStoreName,
    keyId: ExternalKeyId,
    keyVersion: number,
    found: 'another key' | 'no key',
  ): void {
    const name = `${nameOf(keyStore, keyId)}@${String(keyVersion)}`
    if (this.#warned.has(name)) return
    this.#warned.add(name)
    this.#deps.logger.warn(
      'a token does not have the recorded key; refusing requests for the key until it is restored or latchkey keys trust accepts the change',
      { keyStore, keyId, keyVersion, found, hint: HINT },
    )
  }

  /**
   * Returns the next rows to record. They stay pending until a reload shows that they are stored.
   */
  #takeBatch(): readonly TokenKeyRow[] {
    const batch: TokenKeyRow[] = []
    for (const rows of this.#pending.values()) {
      if (batch.length >= BATCH) break
      batch.push(...rows.values())
    }
    return batch.slice(0, BATCH)
  }

  async #record(): Promise<void> {
    const { store, reload } = this.#deps
    while (this.#pending.size > 0) {
      // Reload first, because rows that another process has recorded in the meantime need not be
      // recorded again.
      await reload()
      const batch = this.#takeBatch()
      if (batch.length === 0) break
      await store.change(async (transaction) => {
        const table = new TokenKeyTable(transaction, store.sealing)
        for (const row of batch) await table.recordFirst(row)
      })
      await reload()
    }
    this.#hasFailed = false
  }
}

const HINT =
  'restore the old key: a different key cannot decrypt the existing data; if the change is intended, run latchkey keys trust KEY_ID --reason TEXT --yes'

function replaced(message: string): BackendError {
  return new BackendError('KEY_REPLACED', message, { hint: HINT })
}

function nameOf(keyStore: KeyStoreName, keyId: ExternalKeyId): string {
  return `${keyStore}/${keyId}`
}
