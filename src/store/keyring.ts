/**
 * The keys of an open store: one, or two while `store rekey --new-store-key` replaces it. A process
 * takes the second key from the store itself, which has it wrapped under the master key.
 */
// SPDX-License-Identifier: Apache-2.0
import { createSecretKey, type KeyObject } from 'node:crypto'
import { factContext, PURPOSE_KEY } from './bindings.ts'
import { type Database, type Reader, StorageError } from './database.ts'
import { readFact } from './facts.ts'
import type { MasterKey } from './master-key.ts'
import { column, loadTable } from './sealed-rows.ts'
import { FACTS } from './sealed-tables.ts'
import { readState } from './sealed-state.ts'
import {
  createSealing,
  createSealingOf,
  derive,
  type KeySealing,
  type Sealing,
  type SealingKeys,
} from './sealing.ts'

/** Sealed fact: the replacement of the store key that has not been completed. */
export const REKEY = 'rekey'

export interface Rekey {
  /**
   * `announced`: the old key seals, and every process that notices loads the next one.
   * `rewrapping`: the new key seals, and what the old one has sealed is valid as well.
   */
  readonly phase: 'announced' | 'rewrapping'
  /** The next key, or while rewrapping the previous one, wrapped under the master key. */
  readonly other: string
  /** Wall time, milliseconds since the Unix epoch. */
  readonly startedAt: number
  /** The first epoch that the new key has sealed. */
  readonly switchedEpoch?: number
  /** Last event that has its new code, and the code that it had before. Absent before the first. */
  readonly events?: { readonly seq: number; readonly before: string }
}

interface HeldKey {
  /** Wrapped under the master key, as the store has it. */
  readonly record: string
  readonly sealing: KeySealing
}

export interface Keyring {
  /** Seals with the current key, and verifies with all. */
  readonly sealing: Sealing
  /** Seals with the current key, and verifies only with it. */
  readonly current: KeySealing
  /** Seals with the other key, and verifies with both. Undefined when there is no other key. */
  readonly turned: Sealing | undefined
  readonly purposeKey: KeyObject
  /** The keys that verify: one, or two while the store key is replaced. */
  readonly keys: readonly SealingKeys[]
  readonly rekey: Rekey | undefined
  /**
   * Loads keys that were announced or replaced since the last call. Costs one query if there are
   * none.
   * @returns whether the store's record of its keys has changed
   * @throws StorageError STORE_TAMPERED, MASTER_KEY_WRONG, MASTER_KEY_UNREADABLE
   */
  refresh(reader: Reader): Promise<boolean>
}

export interface KeyringOptions {
  readonly masterKey: MasterKey
  /** The store key, wrapped as in the fact `master_key`. */
  readonly record: string
  /** Unwrapped. Not kept. */
  readonly storeKey: Buffer
  readonly storeId: string
  /** Whether `masterKey` is an escrow, which has one store key and no other. */
  readonly isEscrow: boolean
}

export function createKeyring(options: KeyringOptions): Keyring {
  const { masterKey, storeId, isEscrow } = options
  let current: HeldKey = {
    record: options.record,
    sealing: createSealing(options.storeKey),
  }
  let other: HeldKey | undefined
  let purposeKey = current.sealing.keys.purpose
  let rekey: Rekey | undefined
  let seen = ''

  async function unwrap(record: string): Promise<HeldKey> {
    const storeKey = await masterKey.unwrap(record)
    const sealing = createSealing(storeKey)
    storeKey.fill(0)
    return { record, sealing }
  }

  /** The key that opens the state; its record may be new when only the master key was replaced. */
  async function findCurrent(reader: Reader, record: string): Promise<HeldKey> {
    for (const held of other === undefined ? [current] : [current, other]) {
      if (await opensState(reader, held.sealing)) return { ...held, record }
    }
    const found = isEscrow ? current : await unwrap(record)
    if (isEscrow && !(await opensState(reader, found.sealing))) {
      throw new StorageError('MASTER_KEY_WRONG', 'the escrow holds an earlier key of this store', {
        hint: 'use an escrow that was made after the last latchkey store rekey --new-store-key',
      })
    }
    return found
  }

  async function findOther(now: HeldKey, { phase, other: record }: Rekey) {
    const held = [current, other].find((one) => one?.record === record && one !== now)
    if (held !== undefined) return held
    if (isEscrow) {
      throw new StorageError(
        'MASTER_KEY_WRONG',
        'the store key is being replaced, and only the master key opens both keys',
      )
    }
    try {
      return await unwrap(record)
    } catch (error) {
      // A server whose master key is no longer that of the store continues with the key that it
      // has, and `store rekey` reports it.
      if (error instanceof StorageError && phase === 'announced') return undefined
      throw error
    }
  }

  const keyring: Keyring = {
    sealing: combine(
      () => current.sealing,
      () => other?.sealing,
      () => (rekey?.phase === 'announced' ? other?.sealing : undefined),
      () => purposeKey,
    ),
    get current() {
      return current.sealing
    },
    get turned() {
      const next = other?.sealing
      if (next === undefined) return undefined
      return combine(
        () => next,
        () => current.sealing,
        () => undefined,
        () => purposeKey,
      )
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
    async refresh(reader) {
      const found = await reader.query(
        `SELECT name, value FROM facts WHERE name IN ('master_key', '${REKEY}') ORDER BY name`,
      )
      const text = JSON.stringify(found.map((row) => [row['name'], row['value']]))
      if (text === seen) return false
      const now = await findCurrent(reader, await readFact(reader, 'master_key'))
      // Only the current key vouches for the facts, so that an attacker who knows an earlier key
      // cannot make it valid again.
      const state = await readState(reader, now.sealing)
      const facts = await loadTable(reader, now.sealing, FACTS, state)
      const valueOf = (name: string) => {
        const row = facts.find((one) => one['name'] === name)
        return row === undefined ? undefined : String(column(row, 'value'))
      }
      const rekeyText = valueOf(REKEY)
      const next = rekeyText === undefined ? undefined : (JSON.parse(rekeyText) as Rekey)
      const second = next === undefined ? undefined : await findOther(now, next)
      const purposes = valueOf(PURPOSE_KEY)
      purposeKey =
        purposes === undefined
          ? now.sealing.keys.purpose
          : createSecretKey(now.sealing.unwrap(factContext(PURPOSE_KEY, storeId), purposes))
      current = now
      other = second
      rekey = next
      seen = text
      return true
    },
  }
  return keyring
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

function isTampered(error: unknown): boolean {
  return error instanceof StorageError && error.code === 'STORE_TAMPERED'
}

/**
 * Verifies with all keys of a keyring.
 * @param keys one or two
 */
export function createVerifyingSealing([first, second]: readonly SealingKeys[]): Sealing {
  if (first === undefined) throw new TypeError('a store has a key')
  const one = createSealingOf(first)
  const other = second === undefined ? undefined : createSealingOf(second)
  return combine(
    () => one,
    () => other,
    () => undefined,
    () => first.purpose,
  )
}

type FindSealing = () => KeySealing | undefined

function combine(
  writing: () => KeySealing,
  other: FindSealing,
  newer: FindSealing,
  purposeKey: () => KeyObject,
): Sealing {
  const newest = () => newer() ?? writing()
  return {
    wrap: (context, secret) => writing().wrap(context, secret),
    unwrap(context, wrapped) {
      const second = other()
      if (second === undefined) return writing().unwrap(context, wrapped)
      try {
        return writing().unwrap(context, wrapped)
      } catch {
        return second.unwrap(context, wrapped)
      }
    },
    authenticate: (fields) => writing().authenticate(fields),
    code: (fields) => writing().code(fields),
    codeWith: (fields, mac) => writing().codeWith(fields, mac) ?? other()?.codeWith(fields, mac),
    isAuthentic: (fields, mac) =>
      writing().isAuthentic(fields, mac) || other()?.isAuthentic(fields, mac) === true,
    prove: (fields) => newest().authenticate(fields),
    isProven: (fields, mac) => newest().isAuthentic(fields, mac),
    derive: (purpose) => derive(purposeKey(), purpose),
  }
}

/**
 * Repeats a snapshot that failed because the store key was replaced in the meantime, once the keyring
 * has loaded the new key.
 */
export function followKeys(database: Database, keyring: Keyring): Database {
  async function snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T> {
    try {
      return await database.snapshot(work)
    } catch (error) {
      if (!isTampered(error)) throw error
      const isNew = await database
        .snapshot((reader) => keyring.refresh(reader))
        .catch((failed: unknown) => {
          throw isTampered(failed) ? error : failed
        })
      if (!isNew) throw error
      return database.snapshot(work)
    }
  }
  return {
    snapshot,
    nowSql: database.nowSql,
    transaction: (work) => database.transaction(work),
    epoch: () => database.epoch(),
    heartbeat: (sql, parameters) => database.heartbeat(sql, parameters),
    write: (sql, parameters) => database.write(sql, parameters),
    read: (sql, parameters) => database.read(sql, parameters),
    warnings: (processes) => database.warnings(processes),
    checkSchema: (reader) => database.checkSchema(reader),
    erase: () => database.erase(),
    close: () => database.close(),
  }
}
