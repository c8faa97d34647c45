/**
 * Stored use counts of key versions. Uses are reserved for many versions at once, and waiting
 * reservations share one statement. A row depends on no other row, and is not part of any table's
 * sum.
 */
// SPDX-License-Identifier: Apache-2.0
import { turn } from '../../core/slices.ts'
import { usesFields } from '../../store/bindings.ts'
import {
  StorageError,
  type Database,
  type Reader,
  type Row,
  type SqlValue,
} from '../../store/database.ts'
import { column } from '../../store/sealed-rows.ts'
import type { Sealing } from '../../store/sealing.ts'

export interface VersionUses {
  readonly keyStore: string
  readonly keyId: string
  readonly version: number
  /** Count in the version's own row; the reserved total is never lower than this. */
  readonly floor: number
}

export interface Reservation {
  readonly granted: number
  /** Total reserved so far, including this reservation. */
  readonly total: number
}

export interface UseReservations {
  /**
   * Durably reserves up to `count` uses.
   * @param isUrgent called when the next statement is assembled: reports whether a request is
   * waiting for these uses
   * @throws StorageError
   */
  reserve(at: VersionUses, count: number, isUrgent: () => boolean): Promise<Reservation>
}

interface Wish {
  readonly id: string
  readonly at: VersionUses
  readonly count: number
  readonly isUrgent: () => boolean
  readonly resolve: (reservation: Reservation) => void
  readonly reject: (error: unknown) => void
  tries: number
  /**
   * True if the stored count must be read first, because a write based on a guess had no effect.
   */
  isGuessWrong: boolean
}

/** Rows per statement. All of them share the disk sync of one commit. */
const BATCH = 100
/**
 * Maximum number of tries. Each fails only if another process reserves a block of the same version
 * at the same moment.
 */
const MAX_TRIES = 50

export function createUseReservations(
  { database, sealing }: { readonly database: Database; readonly sealing: Sealing },
  maxUses: number,
): UseReservations {
  let wishes: Wish[] = []
  let isRunning = false
  /**
   * Highest total that this process has seen. A row with a lower total was restored from an older
   * copy.
   */
  const seen = new Map<string, number>()

  /**
   * Takes urgent requests first, and each version only once: a statement cannot write a row twice.
   */
  function takeBatch(): readonly Wish[] {
    const batch = new Map<string, Wish>()
    for (const urgent of [true, false]) {
      for (const wish of wishes) {
        if (batch.size === BATCH) break
        if (!batch.has(wish.id) && wish.isUrgent() === urgent) batch.set(wish.id, wish)
      }
    }
    const taken = new Set(batch.values())
    wishes = wishes.filter((wish) => !taken.has(wish))
    return [...taken].sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  async function run(): Promise<void> {
    isRunning = true
    while (wishes.length > 0) {
      const batch = takeBatch()
      try {
        await fulfil(batch)
      } catch (error) {
        for (const wish of batch) wish.reject(error)
      }
    }
    isRunning = false
  }

  /**
   * If a request is waiting and this process has not seen a version's count, guesses that the
   * version was never used. A wrong guess writes nothing.
   */
  async function fulfil(batch: readonly Wish[]): Promise<void> {
    const isGuessed = (wish: Wish) => !wish.isGuessWrong && !seen.has(wish.id) && wish.isUrgent()
    const guessed = new Set(batch.filter(isGuessed))
    const unknown = batch.filter((wish) => !guessed.has(wish))
    const before = unknown.length === 0 ? NONE : await readUses(database, sealing, unknown)
    const groups = new Map<number, { readonly wish: Wish; readonly total: number }[]>()
    for (const wish of batch) {
      const reserved = Math.max(before.get(wish.id) ?? 0, wish.at.floor)
      if (reserved < (seen.get(wish.id) ?? 0)) {
        wish.reject(wentDown(wish.at))
        continue
      }
      if (!guessed.has(wish)) seen.set(wish.id, reserved)
      const granted = Math.max(0, Math.min(wish.count, maxUses - reserved))
      const total = reserved + granted
      if (granted === 0) wish.resolve({ granted, total })
      else groups.set(granted, [...(groups.get(granted) ?? []), { wish, total }])
    }
    for (const [granted, group] of groups) await write(group, granted)
  }

  async function write(
    group: readonly { readonly wish: Wish; readonly total: number }[],
    granted: number,
  ): Promise<void> {
    // `toValues` is called when the statement is sent, because a MAC made with an earlier store key
    // must not be written after `store rekey` has dropped that key.
    const toValues = () => {
      const rows = group.map(({ wish, total }) => toRow(sealing, wish.at, total))
      return [...rows.flatMap((row) => NAMES.map((name) => column(row, name))), granted]
    }
    const written = await database.write(
      `INSERT INTO key_uses (key_store, key_id, version, reserved_uses, mac)
       VALUES ${group.map(() => '(?, ?, ?, ?, ?)').join(', ')}
       ON CONFLICT (key_store, key_id, version)
       DO UPDATE SET reserved_uses = excluded.reserved_uses, mac = excluded.mac
       WHERE key_uses.reserved_uses = excluded.reserved_uses - ?
       RETURNING key_store, key_id, version, reserved_uses, mac`,
      toValues,
    )
    const totals = new Map(written.map((row) => [toId(fromRow(row)), parse(sealing, row)]))
    for (const { wish, total } of group) {
      if (totals.get(wish.id) === total) {
        seen.set(wish.id, total)
        wish.resolve({ granted, total })
      } else if (++wish.tries < MAX_TRIES) {
        wish.isGuessWrong = true
        wishes.push(wish)
      } else
        wish.reject(new StorageError('STORE_BUSY', 'uses of a key version could not be reserved'))
    }
  }

  return {
    reserve: (at, count, isUrgent) =>
      new Promise((resolve, reject) => {
        const order = { id: toId(at), at, count, isUrgent, resolve, reject }
        wishes.push({ ...order, tries: 0, isGuessWrong: false })
        // Runs in the next tick, so that all requests of this tick share a statement.
        if (!isRunning) {
          isRunning = true
          setImmediate(() => void run())
        }
      }),
  }
}

const KEY = ['key_store', 'key_id', 'version'] as const
const NAMES = [...KEY, 'reserved_uses', 'mac'] as const
/** Number of rows verified in one turn of the event loop. */
const PAGE = 200

/**
 * Returns the number of reserved uses of each version, keyed by `toId`; versions that have never
 * encrypted are absent.
 * @throws StorageError STORE_TAMPERED
 */
export async function loadUses(
  reader: Reader,
  sealing: Sealing,
  keyStore: string,
  keyId?: string,
): Promise<ReadonlyMap<string, number>> {
  const uses = new Map<string, number>()
  const ofKey = keyId === undefined ? '' : ' AND key_id = ?'
  const where = keyId === undefined ? [keyStore] : [keyStore, keyId]
  let after: readonly SqlValue[] = []
  for (;;) {
    const rows = await reader.query(
      `SELECT ${NAMES.join(', ')} FROM key_uses WHERE key_store = ?${ofKey}
       ${after.length === 0 ? '' : 'AND (key_id, version) > (?, ?)'}
       ORDER BY key_id, version LIMIT ?`,
      [...where, ...after, PAGE],
    )
    for (const row of rows) uses.set(toId(fromRow(row)), parse(sealing, row))
    const last = rows.at(-1)
    if (last === undefined || rows.length < PAGE) return uses
    after = [column(last, 'key_id'), column(last, 'version')]
    await turn()
  }
}

/**
 * Returns keys with reserved uses, in no particular order. Nothing critical depends on the result,
 * so the rows' MACs are not verified.
 */
export async function loadUsedKeys(
  reader: Reader,
  limit: number,
): Promise<readonly Pick<VersionUses, 'keyStore' | 'keyId'>[]> {
  const rows = await reader.query('SELECT DISTINCT key_store, key_id FROM key_uses LIMIT ?', [
    limit,
  ])
  return rows.map((row) => ({
    keyStore: String(column(row, 'key_store')),
    keyId: String(column(row, 'key_id')),
  }))
}

/**
 * Returns, for each key store, the highest number of reserved uses; for each key, only the newest
 * used version counts. The result feeds a metric, so the rows' MACs are not verified.
 */
export async function loadHighestUses(reader: Reader): Promise<ReadonlyMap<string, number>> {
  const rows = await reader.query(
    `SELECT key_store, MAX(reserved_uses) AS uses FROM key_uses AS one
     WHERE version = (SELECT MAX(version) FROM key_uses AS other
                      WHERE other.key_store = one.key_store AND other.key_id = one.key_id)
     GROUP BY key_store`,
  )
  return new Map(rows.map((row) => [String(column(row, 'key_store')), Number(column(row, 'uses'))]))
}

const NONE: ReadonlyMap<string, number> = new Map()

/** Reads outside of a snapshot, so that a long snapshot of this process does not delay the read. */
async function readUses(
  database: Database,
  sealing: Sealing,
  wishes: readonly { readonly at: VersionUses }[],
): Promise<ReadonlyMap<string, number>> {
  const rows = await database.read(
    `SELECT ${NAMES.join(', ')} FROM key_uses
     WHERE (key_store, key_id, version) IN (VALUES ${wishes.map(() => '(?, ?, ?)').join(', ')})`,
    wishes.flatMap(({ at }) => [at.keyStore, at.keyId, at.version]),
  )
  return new Map(rows.map((row) => [toId(fromRow(row)), parse(sealing, row)]))
}

/** A space is a safe separator: neither key store names nor key ids contain one. */
export function toId(at: Pick<VersionUses, 'keyStore' | 'keyId' | 'version'>): string {
  return `${at.keyStore} ${at.keyId} ${String(at.version)}`
}

function toRow(sealing: Sealing, at: VersionUses, total: number): Row {
  const row = {
    key_store: at.keyStore,
    key_id: at.keyId,
    version: at.version,
    reserved_uses: total,
  }
  return { ...row, mac: sealing.authenticate(usesFields(row)) }
}

function fromRow(row: Row): Pick<VersionUses, 'keyStore' | 'keyId' | 'version'> {
  return {
    keyStore: String(column(row, 'key_store')),
    keyId: String(column(row, 'key_id')),
    version: Number(column(row, 'version')),
  }
}

function parse(sealing: Sealing, row: Row): number {
  if (!sealing.isAuthentic(usesFields(row), column(row, 'mac'))) {
    throw new StorageError(
      'STORE_TAMPERED',
      `changed outside of Latchkey: key_uses ${toId(fromRow(row))}`,
    )
  }
  return Number(column(row, 'reserved_uses'))
}

function wentDown(at: VersionUses): StorageError {
  return new StorageError(
    'STORE_TAMPERED',
    `the count of uses went down outside of Latchkey: key_uses ${toId(at)}`,
  )
}
