/**
 * Reserves uses of key versions. Uses are reserved for many versions at once, and waiting
 * reservations share one statement.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Database } from '../../store/database.ts'
import { column } from '../../store/sealed-rows.ts'
import type { Sealing } from '../../store/sealing.ts'
import {
  NAMES,
  type VersionUses,
  fromRow,
  type Known,
  isAuthentic,
  judge,
  parseKnown,
  readAll,
  readUses,
  toId,
  toRow,
} from './use-table.ts'

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
  /**
   * Reads the counts of up to `limit` versions in advance, page by page, so that their first
   * reservation takes one statement. Returns the keys of these versions, in the order of their ids.
   */
  readAhead(limit: number): Promise<readonly Pick<VersionUses, 'keyStore' | 'keyId'>[]>
}

/** Reservations that share a statement. */
interface Group {
  readonly granted: number
  /** Whether the versions have a row. If a row was removed or changed, nothing is written. */
  readonly hasRow: boolean
  readonly wishes: { readonly wish: Wish; readonly total: number; readonly code: string }[]
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

/** Number of rows per statement. All rows of a statement share the disk sync of one commit. */
const BATCH = 200
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
  const seen = new Map<string, Known>()
  /** True during `readAhead`, when most versions have a count that is not in `seen` yet. */
  let isReadingAhead = false

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
   * Guesses that a version has the count that this process has seen last. If it has seen none and a
   * request is waiting, guesses that the version was never used. A wrong guess writes nothing; a row
   * counts as seen only with the code that it had then.
   */
  async function fulfil(batch: readonly Wish[]): Promise<void> {
    const isGuessed = (wish: Wish) =>
      !wish.isGuessWrong && (seen.has(wish.id) || (wish.isUrgent() && !isReadingAhead))
    const guessed = new Set(batch.filter(isGuessed))
    const unknown = batch.filter((wish) => !guessed.has(wish))
    const before = unknown.length === 0 ? NONE : await readUses(database, sealing, unknown)
    const groups = new Map<string, Group>()
    for (const wish of batch) {
      const last = seen.get(wish.id)
      const found = guessed.has(wish) ? last : before.get(wish.id)
      if (found instanceof StorageError) {
        wish.reject(found)
        continue
      }
      const reserved = Math.max(found?.total ?? 0, wish.at.floor)
      if (reserved < (last?.total ?? 0)) {
        wish.reject(wentDown(wish.at))
        continue
      }
      if (!guessed.has(wish)) seen.set(wish.id, { ...found, total: reserved })
      const granted = Math.max(0, Math.min(wish.count, maxUses - reserved))
      const total = reserved + granted
      if (granted === 0) wish.resolve({ granted, total })
      else {
        const hasRow = found?.code !== undefined
        const name = `${String(granted)} ${String(hasRow)}`
        const group = groups.get(name) ?? { granted, hasRow, wishes: [] }
        group.wishes.push({ wish, total, code: found?.code ?? '' })
        groups.set(name, group)
      }
    }
    for (const group of groups.values()) await write(group)
  }

  async function write({ granted, hasRow, wishes: group }: Group): Promise<void> {
    // `toValues` is called when the statement is sent, because a MAC made with an earlier store key
    // must not be written after `store rekey` has dropped that key.
    const toValues = () => {
      const rows = group.flatMap(({ wish, total, code }) => {
        const row = toRow(sealing, wish.at, total)
        return [...NAMES.map((name) => column(row, name)), ...(hasRow ? [code] : [])]
      })
      return hasRow ? [...rows, granted] : rows
    }
    const written = await database.write(
      `INSERT INTO key_uses (${NAMES.join(', ')})
       ${hasRow ? replaceRows(group.length) : insertRows(group.length)}
       RETURNING ${NAMES.join(', ')}`,
      toValues,
    )
    const found = new Map(written.map((row) => [toId(fromRow(row)), judge(sealing, row)]))
    for (const { wish, total } of group) {
      const known = found.get(wish.id)
      if (known instanceof StorageError) wish.reject(known)
      else if (known?.total === total) {
        seen.set(wish.id, known)
        wish.resolve({ granted, total })
      } else if (++wish.tries < MAX_TRIES) {
        wish.isGuessWrong = true
        wishes.push(wish)
      } else
        wish.reject(new StorageError('STORE_BUSY', 'could not reserve uses of the key version'))
    }
  }

  return {
    async readAhead(limit) {
      const used = new Map<string, Pick<VersionUses, 'keyStore' | 'keyId'>>()
      isReadingAhead = true
      try {
        await database.snapshot((reader) =>
          readAll(reader, limit, (row) => {
            const { keyStore, keyId } = fromRow(row)
            used.set(`${keyStore} ${keyId}`, { keyStore, keyId })
            // A row that does not verify is refused by the first reservation, which reads it again.
            if (!isAuthentic(sealing, row)) return
            const id = toId(fromRow(row))
            const known = parseKnown(sealing, row)
            if (known.total >= (seen.get(id)?.total ?? 0)) seen.set(id, known)
          }),
        )
      } finally {
        isReadingAhead = false
      }
      return [...used.values()]
    },
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

const NONE: Awaited<ReturnType<typeof readUses>> = new Map()

const repeat = (text: string, count: number) => Array<string>(count).fill(text).join(', ')

/** Returns SQL that inserts rows, except those that exist. */
function insertRows(count: number): string {
  return `VALUES ${repeat('(?, ?, ?, ?, ?)', count)} ON CONFLICT DO NOTHING`
}

/**
 * Returns SQL that replaces those rows that still have the given code, so that a row that was changed
 * or removed is not written again. The order is the same in all processes, so none of them blocks
 * another one twice.
 */
function replaceRows(count: number): string {
  return `SELECT given.column1, given.column2, given.column3, given.column4, given.column5
    FROM (VALUES ${repeat('(?, ?, ?, ?, ?, ?)', count)}) AS given
    WHERE EXISTS (SELECT 1 FROM key_uses AS found WHERE found.key_store = given.column1
      AND found.key_id = given.column2 AND found.version = given.column3 AND found.mac = given.column6)
    ORDER BY given.column1, given.column2, given.column3
    ON CONFLICT (key_store, key_id, version)
    DO UPDATE SET reserved_uses = excluded.reserved_uses, mac = excluded.mac
    WHERE key_uses.reserved_uses = excluded.reserved_uses - ?`
}

function wentDown(at: VersionUses): StorageError {
  return new StorageError(
    'STORE_TAMPERED',
    `the use count was lowered outside of Latchkey: key_uses ${toId(at)}`,
  )
}
