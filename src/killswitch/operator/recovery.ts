/**
 * Backs up, recovers and copies a control store. A recovery first finds what would be lost, and
 * raises the epoch and this host's high-water mark above every epoch seen so far.
 */
// SPDX-License-Identifier: Apache-2.0
import { rename, rm } from 'node:fs/promises'
import { openHighWater, readHighWater } from '../instance/high-water.ts'
import { dismissInstances } from '../instance/dismissal.ts'
import { loadInstances } from '../instance/instances.ts'
import { findLosses, type Losses } from './losses.ts'
import { acceptEpoch } from './service.ts'
import { loadBackup, recordBackup, verifyBackup, writeBackup } from '../../store/backup.ts'
import type { Manifest } from '../../store/backup-file.ts'
import { StorageError, type Reader } from '../../store/database.ts'
import { createEngine } from '../../store/engine.ts'
import { readState } from '../../store/sealed-state.ts'
import { type Store, openStore, type StoreOptions } from '../../store/store.ts'

export type OnProgress = (rows: number) => void

/** Writes a backup, verifies it by loading it, and records its date in the store. @throws StorageError, a system error */
export async function backUpStore(
  options: StoreOptions,
  path: string,
  { release, onProgress }: { readonly release: string; readonly onProgress: OnProgress },
): Promise<Manifest> {
  const store = await openStore(options)
  try {
    const createdAt = options.clock.now()
    const written = await writeBackup(store, path, { createdAt, release, onProgress })
    const manifest = await verifyBackup(path, options)
    if (manifest.sha256 !== written.statement.sha256) {
      throw new StorageError('BACKUP_INVALID', `${path} was changed while it was verified`)
    }
    await recordBackup(store, manifest)
    return manifest
  } finally {
    await store.close()
  }
}

/** The store to recover, and the location of this host's mark. */
export interface RecoveryPlace {
  readonly options: StoreOptions
  readonly highWaterFile: string
}

export interface RecoveryPlan {
  readonly manifest: Manifest
  /** Highest epoch that this host has seen of the same store; undefined if the host has no mark. */
  readonly seenEpoch?: number
  /** Epoch of the existing store; absent if there is none or it cannot be read. */
  readonly storeEpoch?: number
  /** Absent if there is no store to compare with, or if it cannot be read. */
  readonly losses?: Losses
  /** The reason the existing store cannot be compared with the backup. */
  readonly unreadable?: string
  /** Whether the location to which the backup will be loaded already holds a store. */
  readonly isOccupied: boolean
}

/**
 * Verifies a backup and compares it with the existing store and with this host's mark.
 * @throws StorageError
 */
export async function planRecovery(
  { options, highWaterFile }: RecoveryPlace,
  path: string,
  onProgress: OnProgress,
): Promise<RecoveryPlan> {
  const { masterKey, clock } = options
  const scratch = `${path}.recover-${String(process.pid)}`
  const manifest = await loadBackup(path, { path: scratch, masterKey, clock }, onProgress)
  try {
    const seen = await readHighWater(highWaterFile, manifest.storeId)
    const isOccupied = await createEngine(options).exists()
    const plan = {
      manifest,
      isOccupied,
      ...(typeof seen === 'object' ? { seenEpoch: seen.epoch } : {}),
    }
    if (!isOccupied) return plan
    const current = await openStore(options).catch((error: unknown) => {
      if (error instanceof StorageError) return error
      throw error
    })
    if (current instanceof StorageError) return { ...plan, unreadable: current.message }
    try {
      const backup = await openStore({ path: scratch, masterKey, clock })
      try {
        const storeEpoch = await current.database.epoch()
        return { ...plan, storeEpoch, losses: await findLosses(current, backup) }
      } finally {
        await backup.close()
      }
    } finally {
      await current.close()
    }
  } finally {
    await removeFiles(scratch)
  }
}

async function removeFiles(path: string): Promise<void> {
  for (const end of ['', '-wal', '-shm']) await rm(`${path}${end}`, { force: true })
}

/**
 * Loads the planned backup at the location of the configured store, accepts its epoch, and raises
 * this host's mark. An existing file is kept beside the new one; an existing database must be
 * empty.
 * @returns the epoch from which servers continue, and the new path of an existing file
 * @throws StorageError STORE_EXISTS
 */
export async function recoverStore(
  { options, highWaterFile }: RecoveryPlace,
  path: string,
  by: {
    readonly plan: RecoveryPlan
    readonly operator: string
    readonly reason: string
    readonly onProgress: OnProgress
  },
): Promise<{ readonly epoch: number; readonly kept?: string }> {
  const kept = await moveAside(options)
  await loadBackup(path, options, by.onProgress)
  const store = await openStore(options)
  try {
    const { operator, reason } = by
    const seen = findSeenEpoch(by.plan)
    const epoch = await acceptEpoch(store, options.clock, { operator, reason, seen })
    const { tag } = await store.database.snapshot((reader) => readState(reader, store.sealing))
    await (await openHighWater(highWaterFile, store.id)).raise({ epoch, tag })
    // Dismiss the instances that served when the backup was made, so that no kill waits long for them.
    const load = (reader: Reader) => loadInstances(reader, store.sealing)
    await dismissInstances(store, { silent: await store.database.snapshot(load), over: [] })
    return { epoch, ...(kept === undefined ? {} : { kept }) }
  } finally {
    await store.close()
  }
}

/**
 * Number of epochs that running servers may have seen although no file of this host records them:
 * quiet epochs since the mark was last written (HighWater.note), and epochs that the existing store
 * lacks, because it was restored or is a standby that was behind the primary when promoted.
 */
const UNRECORDED_EPOCHS = 1_000_000

/** Returns an epoch that is at least as high as any that a running server has seen. */
function findSeenEpoch({ seenEpoch = 0, storeEpoch = 0, manifest }: RecoveryPlan): number {
  return Math.max(seenEpoch, storeEpoch, manifest.epoch) + UNRECORDED_EPOCHS
}

/**
 * Moves an existing SQLite file with its WAL, because a WAL beside another file would damage that
 * file.
 */
async function moveAside({ path, clock }: StoreOptions): Promise<string | undefined> {
  if (path === undefined || !(await createEngine({ path }).exists())) return undefined
  const kept = `${path}.before-${new Date(clock.now()).toISOString().replaceAll(':', '')}`
  for (const end of ['-wal', '-shm', '']) {
    await rename(`${path}${end}`, `${kept}${end}`).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    })
  }
  return kept
}

/**
 * Copies the store to the location that another configuration with the same master key specifies.
 * @throws StorageError STORE_BUSY while instances run; STORE_EXISTS
 */
export async function copyStore(
  from: StoreOptions,
  to: StoreOptions,
  draft: string,
  { release, onProgress }: { readonly release: string; readonly onProgress: OnProgress },
): Promise<Manifest> {
  const store = await openStore(from)
  try {
    await checkIdle(store)
    try {
      await writeBackup(store, draft, { createdAt: from.clock.now(), release, onProgress })
      return await loadBackup(draft, to)
    } finally {
      await removeFiles(draft)
    }
  } finally {
    await store.close()
  }
}

/**
 * Refuses to copy while instances run, because later changes would reach only one of the stores.
 */
async function checkIdle({ database, sealing }: Store): Promise<void> {
  const running = await database.snapshot(async (reader) => {
    const [row] = await reader.query(`SELECT ${database.nowSql} AS now`)
    const now = Number(row?.['now'])
    const instances = await loadInstances(reader, sealing)
    return instances.filter(({ seenAt, leaseMs }) => now - seenAt < 2 * leaseMs)
  })
  if (running.length === 0) return
  throw new StorageError(
    'STORE_BUSY',
    `${String(running.length)} instances are using the store; stop them before copying it`,
  )
}
