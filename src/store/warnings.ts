/**
 * Finds problems that the operator of a store should know about: problems with its server or its
 * backups, or an unfinished rekey.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Reader } from './database.ts'
import { REKEY, type Rekey } from './keyring.ts'
import { findSealedFact } from './sealed-rows.ts'
import { LAST_BACKUP } from './sealed-tables.ts'
import type { Store } from './store.ts'

export interface WarningOptions {
  /** Number of processes that serve requests. */
  readonly processes: number
  /** Wall time, in milliseconds since the Unix epoch. */
  readonly now: number
  /**
   * Backup age that triggers a warning; 0 disables the warning, for stores that are backed up with
   * other tools.
   */
  readonly maxBackupAgeMs: number
}

const DAY_MS = 86_400_000

/** @throws StorageError */
export async function findStoreWarnings(
  store: Store,
  { processes, now, maxBackupAgeMs }: WarningOptions,
): Promise<readonly string[]> {
  const own = await store.database.snapshot(async (reader) => {
    const rekey = await findSealedFact(reader, store.sealing, REKEY)
    const backup = await findSealedFact(reader, store.sealing, LAST_BACKUP)
    return [
      ...(rekey === undefined ? [] : [describeRekey(JSON.parse(rekey) as Rekey)]),
      ...(maxBackupAgeMs === 0 ? [] : await checkBackup(reader, backup, now, maxBackupAgeMs)),
    ]
  })
  return [...own, ...(await store.database.warnings(processes))]
}

function describeRekey({ startedAt }: Rekey): string {
  return `the replacement of the store key that began at ${toDate(startedAt)} is not complete; run latchkey store rekey --new-store-key --yes to complete it`
}

/**
 * Returns no warning for a store without keys of its own, which contains nothing that only a backup
 * could restore.
 */
async function checkBackup(
  reader: Reader,
  backup: string | undefined,
  now: number,
  maxBackupAgeMs: number,
): Promise<readonly string[]> {
  const last =
    backup === undefined ? undefined : (JSON.parse(backup) as { readonly createdAt: number })
  const [row] = await reader.query(
    `SELECT count(*) AS versions FROM key_versions
     WHERE key_store NOT LIKE '.%' AND material IS NOT NULL AND created_at > ?`,
    [last?.createdAt ?? 0],
  )
  const versions = Number(row?.['versions'])
  if (last === undefined) {
    return versions === 0
      ? []
      : [
          `latchkey store backup has not made a backup yet: if the store is lost, so is everything that its ${count(versions)} encrypted`,
        ]
  }
  const at = toDate(last.createdAt)
  if (versions > 0) {
    return [
      `${count(versions)} ${versions === 1 ? 'is' : 'are'} newer than the last backup (${at}): if the store is lost, so is everything that they encrypted; run latchkey store backup`,
    ]
  }
  const age = now - last.createdAt
  if (age <= maxBackupAgeMs) return []
  const days = Math.floor(age / DAY_MS)
  return [
    `the last backup was made at ${at}, ${String(days)} days ago; a recovery would lose the kills and revocations since then`,
  ]
}

function count(versions: number): string {
  return `${String(versions)} key version${versions === 1 ? '' : 's'}`
}

function toDate(time: number): string {
  return new Date(time).toISOString()
}
