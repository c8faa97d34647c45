/** Simulates the disk below a log's files: which data a sync put there, and which data a failed sync lost. */
// SPDX-License-Identifier: Apache-2.0
import { fstatSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Disk } from '../../src/audit/writer/unsynced-files.ts'

/**
 * Behaves like Linux: a failed sync loses the data and marks it as clean, so the next sync of the same file succeeds
 * without writing anything.
 */
export interface FailingDisk extends Disk {
  /** Makes one sync fail with EIO, after this many successful syncs. */
  failAfter(syncs: number): void
  /** Lets the next sync of a file fail with EIO. */
  failOn(path: string): void
  /** Returns the number of syncs since the last `failAfter`. */
  syncs(): number
  /**
   * Simulates a power failure: files whose content never reached the disk are empty, or have zeros if a sync lost it.
   * The write-ahead log is kept.
   */
  failPower(folder: string): void
  /** Returns the files whose content a failed sync lost and that have not been written again. */
  lost(folder: string): readonly string[]
}

export function createFailingDisk(): FailingDisk {
  const onDisk = new Set<string>()
  const lost = new Set<string>()
  let count = 0
  let failsAt = Infinity
  let failsOn: string | undefined
  const syncNow = (fd: number) => {
    const version = versionOf(fstatSync(fd, { bigint: true }))
    if (count++ !== failsAt && version !== failsOn) {
      if (!lost.has(version)) onDisk.add(version)
      return
    }
    failsAt = Infinity
    failsOn = undefined
    if (!onDisk.has(version)) lost.add(version)
    throw Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO' })
  }
  return {
    syncNow,
    sync: (fd) => Promise.resolve(fd).then(syncNow),
    failAfter(syncs) {
      count = 0
      failsAt = syncs
    },
    failOn(path) {
      failsOn = versionOf(statSync(path, { bigint: true }))
    },
    syncs: () => count,
    failPower(folder) {
      for (const path of filesIn(folder)) {
        if (basename(path).startsWith('wal-') || basename(path).endsWith('.json')) continue
        const stats = statSync(path, { bigint: true })
        if (lost.has(versionOf(stats))) writeFileSync(path, Buffer.alloc(Number(stats.size)))
        else if (!onDisk.has(versionOf(stats))) truncateSync(path)
      }
    },
    lost: (folder) =>
      filesIn(folder).filter((path) => lost.has(versionOf(statSync(path, { bigint: true })))),
  }
}

function versionOf({ ino, mtimeNs }: { readonly ino: bigint; readonly mtimeNs: bigint }): string {
  return `${String(ino)} ${String(mtimeNs)}`
}

function filesIn(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
}
