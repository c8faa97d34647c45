/** Creates a new version of a software key when the current one reaches its maximum age. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Clock } from '../../core/clock.ts'
import { appendEvent } from '../../store/event-log.ts'
import { KEY_DATES, KEY_VERSIONS, KEYS } from '../../store/sealed-tables.ts'
import type { Store } from '../../store/store.ts'
import { toDatesByKey, toDateState, toKeyName } from '../key-dates.ts'
import { type KeyRow, KeyTable, type VersionRow, parseContents } from './key-table.ts'

const KEY_BYTES = 32

export interface RotationOrder {
  readonly keyStore: string
  /** Age in milliseconds at which the current version is replaced. */
  readonly maxAgeMs: number
}

export interface ScheduledRotation {
  readonly keyId: string
  readonly version: number
}

/**
 * Rotates each enabled encryption key whose current version is too old. A deactivated key stays as it is. Several processes may do
 * this at once: each change checks the age again, so a key is rotated only once.
 * @returns the new versions
 */
export async function rotateDueKeys(
  store: Store,
  clock: Pick<Clock, 'now'>,
  { keyStore, maxAgeMs }: RotationOrder,
): Promise<readonly ScheduledRotation[]> {
  const isDue = (key: KeyRow | undefined, versions: readonly VersionRow[]) => {
    if (key?.status !== 'ENABLED' || !key.canEncrypt) return false
    const current = versions.find(({ version }) => version === key.currentVersion)
    return current !== undefined && clock.now() - current.createdAt >= maxAgeMs
  }
  const [keyRows = [], versionRows = [], dateRows = []] = await store.tables(
    KEYS,
    KEY_VERSIONS,
    KEY_DATES,
  )
  const dates = toDatesByKey(dateRows)
  const isDeactivated = (key: KeyRow) =>
    toDateState(dates.get(toKeyName(key)) ?? {}, clock.now()) === 'DEACTIVATED'
  const { keys, versions } = parseContents({ keys: keyRows, versions: versionRows })
  const byKey = new Map<string, VersionRow[]>()
  for (const one of versions) {
    if (one.keyStore !== keyStore) continue
    byKey.set(one.keyId, [...(byKey.get(one.keyId) ?? []), one])
  }
  const due = keys.filter(
    (key) =>
      key.keyStore === keyStore && !isDeactivated(key) && isDue(key, byKey.get(key.keyId) ?? []),
  )
  const done: ScheduledRotation[] = []
  for (const { keyId } of due) {
    const version = await store.change(async (transaction, epoch) => {
      const table = new KeyTable(transaction, store.sealing)
      const key = await table.findKey(keyStore, keyId)
      if (key === undefined || !isDue(key, await table.versions(keyStore, keyId))) return undefined
      const rotated = { ...key, currentVersion: key.currentVersion + 1 }
      await table.updateKey(rotated)
      const material = randomBytes(KEY_BYTES)
      const [at, next] = [clock.now(), rotated.currentVersion]
      await table.insertVersion({ keyStore, keyId, version: next, createdAt: at }, material)
      material.fill(0)
      const operator = `automatic: rotation on ${hostname()}`
      const detail = { keyStore, keyId, version: next }
      const event = { at, epoch, kind: 'key-rotated', operator, detail }
      await appendEvent(transaction, store.sealing, event)
      return next
    })
    if (version !== undefined) done.push({ keyId, version })
  }
  return done
}
