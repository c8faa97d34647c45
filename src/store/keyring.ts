/**
 * The keys of an open store: one, or two during `store rekey --new-store-key`. A process loads the
 * second key from the store itself, which holds it wrapped under the master key.
 */
// SPDX-License-Identifier: Apache-2.0
import { createSecretKey, type KeyObject } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { factContext, PURPOSE_KEY } from './bindings.ts'
import { combineSealings } from './combined-sealing.ts'
import { type ExpectedQuery, isTampered, type Reader, StorageError } from './database.ts'
import { readFact } from './facts.ts'
import { createKeyLoader, type HeldKey } from './key-loader.ts'
import type { MasterKey } from './master-key.ts'
import { column, loadTable } from './sealed-rows.ts'
import { FACTS } from './sealed-tables.ts'
import { readState } from './sealed-state.ts'
import { createSealing, type KeySealing, type Sealing, type SealingKeys } from './sealing.ts'

/** Name of the sealed record of a store key replacement that is still in progress. */
export const REKEY = 'rekey'

/** The query of each refresh. */
export const KEY_RECORDS: ExpectedQuery = {
  sql: `SELECT name, value FROM facts WHERE name IN ('master_key', '${REKEY}') ORDER BY name`,
  parameters: [],
}

export interface Rekey {
  /**
   * `announced`: the old key seals, and every process that sees the announcement loads the next
   * key. `rewrapping`: the new key seals, and data sealed by the old key is still valid.
   */
  readonly phase: 'announced' | 'rewrapping'
  /** The next key, or the previous one while rewrapping, wrapped under the master key. */
  readonly other: string
  /** Wall time, in milliseconds since the Unix epoch. */
  readonly startedAt: number
  /** The first epoch sealed with the new key. */
  readonly switchedEpoch?: number
  /** The last event with a new MAC, and its previous MAC; absent until an event has a new MAC. */
  readonly events?: { readonly seq: number; readonly before: string }
}

/**
 * Returns undefined if the text is not JSON; this can happen only for a record that was never
 * sealed.
 */
export function parseRekey(text: string): Partial<Rekey> | undefined {
  try {
    return JSON.parse(text) as Partial<Rekey>
  } catch {
    return undefined
  }
}

/**
 * Thrown when the store's keys are not the ones that this process held when it began to read. The
 * error is no evidence of tampering: load the key, then read again (follow-keys.ts).
 */
export class KeyChange extends StorageError {
  /**
   * The wrapped key that this process lacks; undefined if it has loaded the keys in the meantime.
   */
  readonly record: string | undefined

  constructor(record?: string) {
    super('STORE_BUSY', 'another process replaced a key of the store in the meantime', {
      hint: 'run the command again',
    })
    this.record = record
  }
}

export interface Keyring {
  /** Seals with the current key, and verifies with all keys. */
  readonly sealing: Sealing
  /** Seals with the current key, and verifies with that key only. */
  readonly current: KeySealing
  /** Seals with the other key, and verifies with both. Undefined if there is no other key. */
  readonly turned: Sealing | undefined
  readonly purposeKey: KeyObject
  /** Verification keys: one, or two during a store key replacement. */
  readonly keys: readonly SealingKeys[]
  readonly rekey: Rekey | undefined
  /**
   * Incremented whenever the keys change. A failed verification proves nothing if the generation
   * has changed since its snapshot began.
   */
  readonly generation: number
  /**
   * The reason the store's current key could not be loaded; undefined once it has been loaded. The
   * next read tries again.
   */
  readonly missing: unknown
  /**
   * Whether there is an announced key that this process has not loaded. Only heartbeats are
   * authenticated with it.
   */
  readonly lacksNext: boolean
  /** Call when a snapshot or a transaction begins, before its first statement. */
  begin(reader: Reader): void
  /**
   * Loads keys that were announced or replaced since the last call. If there are none, the call
   * costs one query. The call unwraps no key, because it runs inside a transaction.
   * @returns whether the keys have changed
   * @throws KeyChange if a key must be loaded first, or if the reader's snapshot may be older than
   * the keys; StorageError STORE_TAMPERED
   */
  refresh(reader: Reader): Promise<boolean>
  /**
   * Loads the key that a refresh lacked.
   * @throws StorageError MASTER_KEY_WRONG, MASTER_KEY_UNREADABLE or an error of the key's token
   */
  load(change: KeyChange): Promise<void>
  /**
   * Unwraps the announced key, which the next refresh uses.
   * @throws the same errors as load
   */
  loadNext(): Promise<void>
}

export interface KeyringOptions {
  readonly masterKey: Pick<MasterKey, 'unwrap'>
  readonly clock: Pick<Clock, 'monotonic'>
  /** The wrapped store key, as stored in the record `master_key`. */
  readonly record: string
  /** The unwrapped key. It is not retained. */
  readonly storeKey: Buffer
  readonly storeId: string
  /** Whether `masterKey` is an escrow, which holds exactly one store key. */
  readonly isEscrow: boolean
}

export function createKeyring(options: KeyringOptions): Keyring {
  const { masterKey, storeId, isEscrow } = options
  const loader = createKeyLoader(masterKey, options.clock)
  let current: HeldKey = {
    record: options.record,
    sealing: createSealing(options.storeKey),
  }
  let other: HeldKey | undefined
  let purposeKey = current.sealing.keys.purpose
  let rekey: Rekey | undefined
  let seen = ''
  let generation = 0
  let missing: unknown
  /** The keyring's generation at the start of each snapshot. */
  const begun = new WeakMap<Reader, number>()

  const findHeld = (record: string) =>
    [current, other].find((one) => one?.record === record) ?? loader.find(record)

  /**
   * Returns the key that opens the state. If only the master key changed, that key is returned with
   * its new record.
   */
  async function findCurrent(reader: Reader, record: string): Promise<HeldKey> {
    for (const held of other === undefined ? [current] : [current, other]) {
      if (await opensState(reader, held.sealing)) return { ...held, record }
    }
    if (isEscrow) {
      throw new StorageError(
        'MASTER_KEY_WRONG',
        'the escrow contains an earlier key of this store',
        {
          hint: 'use an escrow that was made after the last latchkey store rekey --new-store-key',
        },
      )
    }
    const found = findHeld(record)
    if (found === undefined) throw new KeyChange(record)
    return found
  }

  function findOther({ phase, other: record }: Rekey): HeldKey | undefined {
    const found = findHeld(record)
    if (found !== undefined) return found
    if (isEscrow) {
      throw new StorageError(
        'MASTER_KEY_WRONG',
        'the store key is being replaced, and only the master key opens both keys',
      )
    }
    // Only heartbeats are authenticated with an announced key. A server whose master key no longer
    // matches the store keeps using its current store key, and `store rekey` reports the server.
    if (phase === 'announced') return undefined
    throw new KeyChange(record)
  }

  const lacksNext = () => rekey?.phase === 'announced' && other === undefined
  const purposes = () => purposeKey
  const none = () => undefined

  return {
    sealing: combineSealings({
      writing: () => current.sealing,
      other: () => other?.sealing,
      newer: () => (rekey?.phase === 'announced' ? other?.sealing : undefined),
      purposeKey: purposes,
    }),
    get current() {
      return current.sealing
    },
    get turned() {
      const next = other?.sealing
      if (next === undefined) return undefined
      const old = () => current.sealing
      return combineSealings({ writing: () => next, other: old, newer: none, purposeKey: purposes })
    },
    get purposeKey() {
      return purposeKey
    },
    get keys() {
      return [current, ...(other === undefined ? [] : [other])].map(({ sealing }) => sealing.keys)
    },
    get rekey() {
      return rekey
    },
    get generation() {
      return generation
    },
    get missing() {
      return missing
    },
    get lacksNext() {
      return lacksNext()
    },
    begin(reader) {
      begun.set(reader, generation)
    },
    async refresh(reader) {
      const began = begun.get(reader) ?? generation
      const found = await reader.query(KEY_RECORDS.sql)
      const text = JSON.stringify(found.map((row) => [row['name'], row['value']]))
      const isNextLoaded = lacksNext() && loader.find(rekey?.other ?? '') !== undefined
      if (text === seen && !isNextLoaded) {
        if (began === generation) missing = undefined
        return false
      }
      // Another reader has loaded keys since this snapshot began, so the snapshot may be older than
      // the keys. A process must never go back to earlier keys: other processes could not verify
      // what it then seals.
      if (began !== generation) throw new KeyChange()
      const now = await findCurrent(reader, await readFact(reader, 'master_key'))
      // Only the current key may authenticate these records, so that an attacker who knows an
      // earlier key cannot make that key valid again.
      const state = await readState(reader, now.sealing)
      const facts = await loadTable(reader, now.sealing, FACTS, state)
      const valueOf = (name: string) => {
        const row = facts.find((one) => one['name'] === name)
        return row === undefined ? undefined : String(column(row, 'value'))
      }
      const rekeyText = valueOf(REKEY)
      const next = rekeyText === undefined ? undefined : (JSON.parse(rekeyText) as Rekey)
      const second = next === undefined ? undefined : findOther(next)
      const wrapped = valueOf(PURPOSE_KEY)
      const purpose =
        wrapped === undefined
          ? now.sealing.keys.purpose
          : createSecretKey(now.sealing.unwrap(factContext(PURPOSE_KEY, storeId), wrapped))
      if (began !== generation) throw new KeyChange()
      current = now
      other = second
      rekey = next
      purposeKey = purpose
      seen = text
      missing = undefined
      generation += 1
      begun.set(reader, generation)
      return true
    },
    async load({ record }) {
      if (record === undefined) return
      try {
        await loader.load(record)
      } catch (error) {
        if (missing === undefined) generation += 1
        missing = error
        throw error
      }
    },
    async loadNext() {
      if (lacksNext()) await loader.load(rekey?.other ?? '')
    },
  }
}

async function opensState(reader: Reader, sealing: Sealing): Promise<boolean> {
  try {
    await readState(reader, sealing)
    return true
  } catch (error) {
    if (isTampered(error)) return false
    throw error
  }
}
