/**
 * The keys of all key stores in memory, ready for use; replaced as a whole when the store changes.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Awaitable } from '../../core/deadline.ts'
import type { Sealing } from '../../store/sealing.ts'
import { toBackendError } from '../errors.ts'
import { importKey, type SoftwareKey } from './gcm.ts'
import { materialContext, type KeyRow, type KeyRows, type VersionRow } from './key-table.ts'
import type { UseCounter } from './use-counter.ts'

export interface LoadedVersion {
  readonly version: number
  /** Material as wrapped in the store, to detect whether it is still the same. */
  readonly wrapped: string
  /** Unwraps and tests the key on first use. @throws StorageError, BackendError */
  readonly withKey: <T>(work: (key: SoftwareKey) => T) => Awaitable<T>
  readonly uses: UseCounter
}

export interface LoadedKey {
  readonly row: KeyRow
  readonly versions: ReadonlyMap<number, LoadedVersion>
}

/** Keys by key store, then by key id. */
export type Snapshot = ReadonlyMap<string, ReadonlyMap<string, LoadedKey>>

export interface SnapshotDeps {
  readonly sealing: Sealing
  readonly createUses: (row: VersionRow) => UseCounter
}

/** Number of keys loaded in one turn of the event loop. */
const SLICE = 200

/** Versions with unchanged material keep their imported key and their remaining uses. */
export async function loadSnapshot(
  rows: KeyRows,
  before: Snapshot,
  deps: SnapshotDeps,
): Promise<Snapshot> {
  const versionsOf = groupVersions(rows)
  const snapshot = new Map<string, Map<string, LoadedKey>>()
  for (const [i, row] of rows.keys.entries()) {
    if (i % SLICE === SLICE - 1) await new Promise((resolve) => setImmediate(resolve))
    const known = before.get(row.keyStore)?.get(row.keyId)?.versions
    const versions = new Map<number, LoadedVersion>()
    for (const version of versionsOf.get(row.keyStore)?.get(row.keyId) ?? []) {
      if (version.material === null) continue
      const same = known?.get(version.version)
      versions.set(
        version.version,
        same?.wrapped === version.material ? same : loadVersion(version, version.material, deps),
      )
    }
    let ofStore = snapshot.get(row.keyStore)
    if (ofStore === undefined) snapshot.set(row.keyStore, (ofStore = new Map<string, LoadedKey>()))
    ofStore.set(row.keyId, { row, versions })
  }
  return snapshot
}

function loadVersion(row: VersionRow, wrapped: string, deps: SnapshotDeps): LoadedVersion {
  let key: SoftwareKey | undefined
  let loading: Promise<SoftwareKey> | undefined
  const load = async () => {
    try {
      return (key = await importKey(deps.sealing.unwrap(materialContext(row), wrapped)))
    } catch (error) {
      throw toBackendError(error)
    } finally {
      loading = undefined
    }
  }
  return {
    version: row.version,
    wrapped,
    withKey: (work) => (key === undefined ? (loading ??= load()).then(work) : work(key)),
    uses: deps.createUses(row),
  }
}

function groupVersions(rows: KeyRows): Map<string, Map<string, VersionRow[]>> {
  const grouped = new Map<string, Map<string, VersionRow[]>>()
  for (const version of rows.versions) {
    let ofStore = grouped.get(version.keyStore)
    if (ofStore === undefined)
      grouped.set(version.keyStore, (ofStore = new Map<string, VersionRow[]>()))
    const ofKey = ofStore.get(version.keyId)
    if (ofKey === undefined) ofStore.set(version.keyId, [version])
    else ofKey.push(version)
  }
  return grouped
}
