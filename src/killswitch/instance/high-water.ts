/**
 * Keeps the highest epoch that this host has seen in a small file, so that a control store restored
 * from a backup is noticed even after a restart. A host without such a file trusts the
 * store only when another instance or an operator vouches for it.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { open, readFile, rename, unlink } from 'node:fs/promises'
import { StorageError, type Reader } from '../../store/database.ts'
import { type EpochMark, isAccepted, readHistory } from '../../store/epochs.ts'
import { syncFolder } from '../../store/master-key.ts'
import { loadTable } from '../../store/sealed-rows.ts'
import { FACTS } from '../../store/sealed-tables.ts'
import { readState } from '../../store/sealed-state.ts'
import type { Sealing } from '../../store/sealing.ts'
import { GateError } from '../model.ts'
import { FIRST_GROUP, type InstanceIdentity, loadInstances } from './instances.ts'

export interface HighWater {
  /** Highest mark known to this process; undefined when this store was never seen on this host. */
  readonly mark: EpochMark | undefined
  /** True while the file holds the mark of another store. */
  readonly isForeign: boolean
  /**
   * Raises the mark, which is durable before the promise resolves. A mark that is not higher than
   * the current one changes nothing.
   * @throws GateError HIGH_WATER_UNWRITABLE
   */
  raise(mark: EpochMark): Promise<void>
  /**
   * Raises the mark in memory only. Use it for quiet epochs, in which instances only registered or
   * left. After a restart, this process has a new registration, and the registrations of other
   * processes do not affect it.
   */
  note(mark: EpochMark): void
}

/**
 * Opens the mark, and writes a file next to it once, so that an unwritable folder is found at
 * startup and not at the first change.
 * @param path undefined to keep the mark in memory only
 * @throws StorageError if the file holds something other than a mark; GateError
 * HIGH_WATER_UNWRITABLE
 */
export async function openHighWater(path: string | undefined, storeId: string): Promise<HighWater> {
  const found = path === undefined ? undefined : await readHighWater(path, storeId)
  let mark = found === 'FOREIGN' ? undefined : found
  let isForeign = found === 'FOREIGN'
  if (path !== undefined) await withDraft(path, '', unlink)
  return {
    get mark() {
      return mark
    },
    get isForeign() {
      return isForeign
    },
    async raise(next) {
      if (mark !== undefined && next.epoch <= mark.epoch) return
      if (path !== undefined) await save(path, storeId, next)
      mark = next
      isForeign = false
    },
    note(next) {
      if (mark !== undefined && next.epoch > mark.epoch) mark = next
    },
  }
}

/**
 * Reads what this host has seen of a store, without writing anything.
 * @returns FOREIGN if the file holds the mark of another store
 * @throws StorageError or a system error
 */
export async function readHighWater(
  path: string,
  storeId: string,
): Promise<EpochMark | 'FOREIGN' | undefined> {
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
  return found.storeId === storeId ? found.mark : 'FOREIGN'
}

/**
 * Returns the id of the store whose mark this host keeps; undefined if there is no readable mark.
 */
export async function readMarkedStore(path: string): Promise<string | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return parse(text)?.storeId
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

/** The workers of one host share the file, and no worker lowers its mark. */
async function save(path: string, storeId: string, mark: EpochMark): Promise<void> {
  const before = await readHighWater(path, storeId)
  if (typeof before === 'object' && before.epoch >= mark.epoch) return
  await withDraft(path, `${JSON.stringify({ storeId, ...mark })}\n`, async (draft) => {
    await rename(draft, path)
    await syncFolder(path)
  })
}

/** Writes a temporary file next to `path` and passes it to `use`, which moves or removes it. */
async function withDraft(
  path: string,
  text: string,
  use: (draft: string) => Promise<void>,
): Promise<void> {
  // The name cannot be guessed, and an exclusive open does not follow a link that someone planted.
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
    await unlink(draft).catch(() => undefined)
    const { code = 'UNKNOWN' } = cause as NodeJS.ErrnoException
    throw new GateError(
      'HIGH_WATER_UNWRITABLE',
      `cannot write the high-water file ${path} (${code})`,
      {
        cause,
        hint: 'mount a writable volume at /var/lib/latchkey, or set control.highWaterFile to a path that this user can write to and that outlives the process',
      },
    )
  }
}

/** Returns the error for a store at `epoch` that a host with this mark must not trust. */
export function wentBack(epoch: number, { mark, isForeign }: HighWater): StorageError {
  const hint =
    'repeat every kill that is missing from the store, then run latchkey control accept-epoch'
  const found =
    mark !== undefined
      ? `the store is at epoch ${String(epoch)}, which does not continue the history seen up to epoch ${String(mark.epoch)}`
      : isForeign
        ? 'the high-water file of this host belongs to another store'
        : `this host has no high-water mark of the store, and no other instance vouches for its epoch ${String(epoch)}`
  return new StorageError('STORE_REPLACED', found, {
    hint:
      mark === undefined
        ? 'check that the store contains every kill, then run latchkey control accept-epoch while this server runs'
        : hint,
  })
}

/**
 * Reports whether a host without a mark may trust the store. Called at each poll until it returns
 * true.
 */
export type Newcomer = (reader: Reader, sealing: Sealing) => Promise<boolean>

/**
 * The store is trusted when an operator has accepted its epoch since the first call; when only this
 * instance's own group has ever served from it; or when another instance with a mark has
 * acknowledged an epoch and renewed its lease since the first call. If the file holds the mark of
 * another store, only the operator's acceptance counts.
 */
export function createNewcomer(me: InstanceIdentity, highWater: HighWater): Newcomer {
  let firstEpoch: number | undefined
  /** `beat` of each other instance, as it was when the instance was first seen. */
  const beats = new Map<string, number>()

  return async (reader, sealing) => {
    const state = await readState(reader, sealing)
    const { epoch } = state
    firstEpoch ??= epoch
    if (await isAccepted(reader, sealing, firstEpoch, state)) return true
    if (highWater.isForeign) return false
    const all = await loadInstances(reader, sealing, state)
    const others = all.filter((one) => one.id !== me.id && one.isGenuine)
    if (others.some(({ highEpoch }) => highEpoch > epoch)) return false
    const facts = await loadTable(reader, sealing, FACTS, state)
    const first = facts.find(({ name }) => name === FIRST_GROUP)
    if (first === undefined || first['value'] === me.group) return true
    const tags = new Map<number, string>()
    for await (const mark of readHistory(reader, sealing, state, firstEpoch)) {
      tags.set(mark.epoch, mark.tag)
    }
    for (const { id, beat, renewedBeat, highEpoch, ackedEpoch, ackedTag } of others) {
      const firstBeat = beats.get(id) ?? beat
      beats.set(id, firstBeat)
      // An instance that refuses everything also acknowledges epochs, but does not renew its lease.
      if (renewedBeat <= firstBeat || highEpoch < 0) continue
      if (tags.get(ackedEpoch) === ackedTag) return true
    }
    return false
  }
}
