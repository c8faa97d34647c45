/**
 * Retention: removes the entries at the beginning of a log and keeps their hashes, so the rest and all
 * proofs remain valid (c2sp.org/tlog-tiles, Pruning). A signed statement says what was removed.
 */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Signed, verifySigned } from '../../core/signature.ts'
import { AuditError } from '../errors.ts'
import { TILE_WIDTH, tilePath } from '../log/tiles.ts'
import { replaceSynced } from './durable.ts'

/** Name of the file in the folder of a log. */
export const PRUNED = 'pruned.json'

/** The statement with which a store says that it removed entries. */
export interface PruneStatement {
  readonly kind: 'audit pruned'
  readonly origin: string
  /** Number of entries from the beginning that were removed: the minimum index of the log. */
  readonly entries: number
  /** Every removed entry is earlier than this. ISO 8601, UTC, like the next field. */
  readonly before: string
  readonly prunedAt: string
  readonly operator: string
  readonly reason: string
}

/**
 * Returns the number of entries that were pruned; 0 without a statement.
 * @throws AuditError AUDIT_INVALID if the store did not sign it for this log
 */
export async function readPruned(
  folder: string,
  origin: string,
  publicKey: string,
): Promise<number> {
  const text = await readFile(join(folder, PRUNED), 'utf8').catch(() => undefined)
  if (text === undefined) return 0
  try {
    const signed = JSON.parse(text) as Signed<
      Omit<PruneStatement, 'kind'> & { readonly kind: string }
    >
    const { kind, entries, origin: named } = signed.statement
    const isOurs = kind === 'audit pruned' && named === origin
    if (isOurs && verifySigned(signed, publicKey, 'audit')) return entries
  } catch {
    // The error below reports the problem.
  }
  throw new AuditError('AUDIT_INVALID', `${folder}: ${PRUNED} is not signed by this key`)
}

/**
 * Removes the entries that a statement names. A second call completes one that was interrupted.
 * @param first number of entries that were pruned before
 */
export async function pruneLog(
  folder: string,
  signed: Signed<PruneStatement>,
  first: number,
): Promise<void> {
  const { entries } = signed.statement
  await replaceSynced(join(folder, PRUNED), `${JSON.stringify(signed)}\n`)
  for (let bundle = Math.floor(first / TILE_WIDTH); bundle * TILE_WIDTH < entries; bundle++) {
    const path = join(folder, tilePath('entries', bundle))
    if (existsSync(path)) await rm(path)
    await rm(`${path}.p`, { recursive: true, force: true })
  }
}
