/**
 * Finds the operator that a token belongs to. The table follows the store's changes, so a
 * revocation anywhere in the fleet takes effect here within half a second. Tokens are refused while
 * the store cannot be read.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Grant } from '../../core/role.ts'
import { column } from '../../store/sealed-rows.ts'
import { ADMIN_TOKENS, OPERATORS } from '../../store/sealed-tables.ts'
import type { Row } from '../../store/database.ts'
import type { Store } from '../../store/store.ts'
import { type OperatorRecord, grantsOf, isPersonalToken, toOperator } from './directory.ts'

export interface StoredCaller {
  readonly name: string
  readonly grants: readonly Grant[]
  /** False if the token was created through a listener by a caller other than its owner. */
  readonly isPersonal: boolean
}

export interface CallerTable {
  /**
   * @param sha256 hash of the token, in hex
   * @throws StorageError
   */
  findByToken(sha256: string): Promise<StoredCaller | undefined>
  /**
   * Finds a person by name, such as one authenticated by an identity provider.
   * @throws StorageError
   */
  findByName(name: string): Promise<StoredCaller | undefined>
  /** Writes pending usage records. */
  flush(): Promise<void>
}

/**
 * Maximum age of the table's data. It is half a second, because a revocation must take effect
 * within a second.
 */
const MAX_AGE_MS = 500
/** Interval at which the last use of a token is written. The first use is written at once. */
const WRITE_EVERY_MS = 10_000

interface Use {
  uses: number
  lastAt: number
  writtenAt: number
}

export function createCallerTable(store: Store, clock: Clock): CallerTable {
  const feed = store.feed(OPERATORS, ADMIN_TOKENS)
  const operators = new Map<string, OperatorRecord>()
  const tokens = new Map<string, Row>()
  const uses = new Map<string, Use>()
  const writes = new Set<Promise<unknown>>()
  let readAt = -Infinity
  let reading: Promise<void> | undefined

  /** Concurrent callers share one read, which starts no earlier than the first of their calls. */
  async function refresh(maxAgeMs: number): Promise<void> {
    const calledAt = clock.monotonic()
    // A read in progress may have started before the change that the caller looks for.
    if (maxAgeMs === 0) await reading?.catch(() => undefined)
    else if (calledAt - readAt < maxAgeMs) return
    reading ??= read(clock.monotonic()).finally(() => {
      reading = undefined
    })
    await reading
  }

  async function read(startedAt: number): Promise<void> {
    await feed.update((changes) => {
      for (const { table, put, removed, isReset } of changes) {
        if (table.name === OPERATORS.name) {
          if (isReset) operators.clear()
          for (const [name] of removed) operators.delete(String(name))
          for (const row of put) operators.set(String(column(row, 'name')), toOperator(row))
        } else {
          if (isReset) tokens.clear()
          // A revoked token keeps its row.
          for (const row of put) tokens.set(String(column(row, 'sha256')), row)
        }
      }
    })
    readAt = startedAt
  }

  /**
   * Re-reads the store before reporting no match, so that a new operator or token works at once.
   */
  async function find<T>(look: () => T | undefined): Promise<T | undefined> {
    await refresh(MAX_AGE_MS)
    const found = look()
    if (found !== undefined) return found
    await refresh(0)
    return look()
  }

  function toCaller(name: string): StoredCaller | undefined {
    const operator = operators.get(name)
    if (operator?.kind !== 'person') return undefined
    const grants = grantsOf(operator, (group) => operators.get(group))
    return { name, grants, isPersonal: true }
  }

  function noteUse(id: string): void {
    const now = clock.now()
    const use = uses.get(id) ?? { uses: 0, lastAt: now, writtenAt: -Infinity }
    use.uses += 1
    use.lastAt = now
    uses.set(id, use)
    if (clock.monotonic() - use.writtenAt >= WRITE_EVERY_MS) start(id, use)
  }

  /** Last-used times are informational, so a failed write is ignored. */
  function start(id: string, use: Use): void {
    const writing = write(id, use)
      .catch(() => undefined)
      .finally(() => writes.delete(writing))
    writes.add(writing)
  }

  async function write(id: string, use: Use): Promise<void> {
    const { uses: count, lastAt } = use
    use.uses = 0
    use.writtenAt = clock.monotonic()
    await store.database.heartbeat(
      `INSERT INTO admin_token_uses (id, uses, last_at) VALUES (?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET uses = admin_token_uses.uses + excluded.uses,
         last_at = CASE WHEN excluded.last_at > admin_token_uses.last_at
           THEN excluded.last_at ELSE admin_token_uses.last_at END
       RETURNING 1 AS written`,
      [id, count, lastAt],
    )
  }

  return {
    async findByToken(sha256) {
      const row = await find(() => tokens.get(sha256))
      if (row === undefined || column(row, 'revoked_at') !== null) return undefined
      const expiresAt = column(row, 'expires_at')
      if (expiresAt !== null && clock.now() >= Number(expiresAt)) return undefined
      const caller = toCaller(String(column(row, 'operator')))
      if (caller !== undefined) noteUse(String(column(row, 'id')))
      return caller && { ...caller, isPersonal: isPersonalToken(row) }
    },
    findByName: (name) => find(() => toCaller(name)),
    async flush() {
      for (const [id, use] of uses) if (use.uses > 0) start(id, use)
      await Promise.all(writes)
    },
  }
}
