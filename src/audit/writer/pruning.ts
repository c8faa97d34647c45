/**
 * Implements retention: removes entries from the beginning of a log but keeps their hashes, so the
 * rest of the log and all proofs stay valid (c2sp.org/tlog-tiles, Pruning). A signed statement
 * records what was removed.
 */
// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Signed, verifySigned } from '../../core/signature.ts'
import { invalidLog } from '../errors.ts'
import { TILE_WIDTH } from '../log/tiles.ts'
import { replaceSynced } from './durable.ts'

/** File name in a log's directory. */
export const PRUNED = 'pruned.json'
/** Bundle directory inside a log's directory. */
const ENTRIES = 'tile/entries'

/** A store's statement that it has pruned entries. */
export interface PruneStatement {
  readonly kind: 'audit pruned'
  readonly origin: string
  /** Number of entries removed from the beginning: the log's minimum index. */
  readonly entries: number
  /** Every removed entry is earlier than this time, in ISO 8601, UTC, like the next field. */
  readonly before: string
  readonly prunedAt: string
  readonly operator: string
  readonly reason: string
}

/**
 * Returns the number of pruned entries; 0 if there is no statement.
 * @throws AuditError AUDIT_INVALID if the store did not sign the statement for this log
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
  throw invalidLog(folder, `${PRUNED} is not signed by this key`)
}

/** Removes the entries that a statement covers. `removeLeftOver` finishes an interrupted call. */
export async function pruneLog(folder: string, signed: Signed<PruneStatement>): Promise<void> {
  await replaceSynced(join(folder, PRUNED), `${JSON.stringify(signed)}\n`)
  await removeLeftOver(await findLeftOver(folder, signed.statement.entries))
}

/**
 * Returns the paths of bundles that still exist although their entries count as pruned: full
 * bundles, directories of partial ones, and files from interrupted writes.
 * @param pruned number of entries that the statement covers
 */
export async function findLeftOver(folder: string, pruned: number): Promise<readonly string[]> {
  const root = join(folder, ENTRIES)
  const names = await readdir(root, { recursive: true }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return []
  })
  return names.filter((name) => firstOf(name) < pruned).map((name) => join(root, name))
}

export async function removeLeftOver(paths: readonly string[]): Promise<void> {
  for (const path of paths) await rm(path, { recursive: true, force: true })
}

/**
 * Returns the index of a bundle's first entry from its name, such as `x001/234.p`; NaN for any
 * other name.
 */
function firstOf(name: string): number {
  const [, digits = 'none'] = /^((?:x\d{3}\/)*\d{3})(?:\.p|\.new)?$/.exec(name) ?? []
  return Number(digits.replaceAll(/[x/]/g, '')) * TILE_WIDTH
}
