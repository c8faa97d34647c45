/**
 * Keeps the highest epoch that this host has seen in a small file, so that a control store restored
 * from a backup is noticed even after a restart.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { open, readFile, rename, unlink } from 'node:fs/promises'
import { StorageError } from '../../store/database.ts'
import type { EpochMark } from '../../store/epochs.ts'
import { syncFolder } from '../../store/master-key.ts'
import { GateError } from '../model.ts'

export interface HighWater {
  /** Highest mark known to this process; undefined when this store was never seen on this host. */
  readonly mark: EpochMark | undefined
  /**
   * The mark is durable before this resolves. A mark that is not higher changes nothing.
   * @throws GateError HIGH_WATER_UNWRITABLE
   */
  raise(mark: EpochMark): Promise<void>
}

/**
 * Opens the mark, and writes a file next to it once, so that an unwritable folder is found at the
 * start and not at the first change.
 * @param path undefined: keep the mark in memory only
 * @throws StorageError when the file holds something else; GateError HIGH_WATER_UNWRITABLE
 */
export async function openHighWater(path: string | undefined, storeId: string): Promise<HighWater> {
  let mark = path === undefined ? undefined : await readHighWater(path, storeId)
  if (path !== undefined) await withDraft(path, '', () => Promise.resolve())
  return {
    get mark() {
      return mark
    },
    async raise(next) {
      if (mark !== undefined && next.epoch <= mark.epoch) return
      if (path !== undefined) await save(path, storeId, next)
      mark = next
    },
  }
}

/**
 * Reads what this host has seen of a store, without writing anything.
 * @throws StorageError or a system error
 */
export async function readHighWater(path: string, storeId: string): Promise<EpochMark | undefined> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return undefined
  const found = parse(text)
  if (found === undefined) {
    throw new StorageError('STORE_CORRUPT', `${path} is not a valid high-water file`, {
      hint: 'the file records the highest epoch seen on this host; remove it only if you are sure that the store is not an old copy',
    })
  }
  return found.storeId === storeId ? found.mark : undefined
}

function parse(text: string): { storeId: string; mark: EpochMark } | undefined {
  try {
    const { storeId, epoch, tag } = JSON.parse(text) as Record<string, unknown>
    if (typeof storeId !== 'string' || typeof epoch !== 'number' || typeof tag !== 'string') {
      return undefined
    }
    return { storeId, mark: { epoch, tag } }
  } catch {
    return undefined
  }
}

/** The workers of one host share the file, and none of them lowers it. */
async function save(path: string, storeId: string, mark: EpochMark): Promise<void> {
  const before = await readHighWater(path, storeId)
  if (before !== undefined && before.epoch >= mark.epoch) return
  await withDraft(path, `${JSON.stringify({ storeId, ...mark })}\n`, async (draft) => {
    await rename(draft, path)
    await syncFolder(path)
  })
}

/** Writes a temporary file next to `path`, passes it to `use`, and removes it afterwards. */
async function withDraft(
  path: string,
  text: string,
  use: (draft: string) => Promise<void>,
): Promise<void> {
  // The name cannot be guessed, and an exclusive open follows no link that somebody placed there.
  const draft = `${path}.${randomUUID()}`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await use(draft)
  } catch (cause) {
    const { code = 'UNKNOWN' } = cause as NodeJS.ErrnoException
    throw new GateError(
      'HIGH_WATER_UNWRITABLE',
      `the high-water file ${path} cannot be written (${code})`,
      {
        cause,
        hint: 'mount a writable volume at /var/lib/latchkey, or set control.highWaterFile to a path that this user can write to and that outlives the process',
      },
    )
  } finally {
    await unlink(draft).catch(() => undefined)
  }
}
