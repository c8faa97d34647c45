/**
 * The keys of all key stores in memory, ready for use.
 */
// SPDX-License-Identifier: Apache-2.0
import { timingSafeEqual } from 'node:crypto'
import type { Awaitable } from '../../core/deadline.ts'
import { materialContext } from '../../store/bindings.ts'
import type { Sealing } from '../../store/sealing.ts'
import { toBackendError } from '../errors.ts'
import { importKey, type SoftwareKey } from './gcm.ts'
import type { KeyRow, KeyRows, VersionRow } from './key-table.ts'
import type { UseCounter } from './use-counter.ts'

export interface LoadedVersion {
  readonly version: number
  /**
   * Reports whether this is the same material. If it is wrapped under another key of the store, the
   * version uses that wrapping from now on.
   */
  readonly isSame: (wrapped: string) => boolean
  /** Unwraps and tests the key on first use. @throws StorageError, BackendError */
  readonly withKey: <T>(work: (key: SoftwareKey) => T) => Awaitable<T>
  readonly uses: UseCounter
}

export interface LoadedKey {
  readonly row: KeyRow
  readonly versions: Map<number, LoadedVersion>
}

/** Keys by key store, then by key id. */
export type Snapshot = Map<string, Map<string, LoadedKey>>

export interface SnapshotDeps {
  readonly sealing: Sealing
  readonly createUses: (row: VersionRow) => UseCounter
}

/** Number of keys loaded in one turn of the event loop. */
const SLICE = 200

/**
 * Applies changed keys and versions to a snapshot, in slices. Versions with unchanged material keep
 * their imported key and their remaining uses, also those of `before` when the snapshot is
 * rebuilt. Versions come first: a key must never name a current version that is not loaded.
 */
export async function applyRows(
  { snapshot, before }: { readonly snapshot: Snapshot; readonly before: Snapshot },
  { keys, versions }: KeyRows,
  deps: SnapshotDeps,
): Promise<void> {
  const pending = new Map<string, Map<number, LoadedVersion>>()
  for (const [i, version] of versions.entries()) {
    if (i % SLICE === SLICE - 1) await turn()
    const { keyStore, keyId, material } = version
    const of = findVersions(snapshot, keyStore, keyId) ?? pendingOf(pending, keyStore, keyId)
    if (material === null) {
      of.delete(version.version)
      continue
    }
    const same = findVersions(before, keyStore, keyId)?.get(version.version)
    const isSame = same?.isSame(material) === true
    of.set(version.version, isSame ? same : loadVersion(version, material, deps))
  }
  for (const [i, row] of keys.entries()) {
    if (i % SLICE === SLICE - 1) await turn()
    const { keyStore, keyId } = row
    let ofStore = snapshot.get(keyStore)
    if (ofStore === undefined) snapshot.set(keyStore, (ofStore = new Map<string, LoadedKey>()))
    const of = ofStore.get(keyId)?.versions ?? pendingOf(pending, keyStore, keyId)
    ofStore.set(keyId, { row, versions: of })
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function findVersions(snapshot: Snapshot, keyStore: string, keyId: string) {
  return snapshot.get(keyStore)?.get(keyId)?.versions
}

/** Versions whose key arrives in the same change. */
function pendingOf(
  pending: Map<string, Map<number, LoadedVersion>>,
  keyStore: string,
  keyId: string,
): Map<number, LoadedVersion> {
  const name = `${keyStore}/${keyId}`
  let of = pending.get(name)
  if (of === undefined) pending.set(name, (of = new Map<number, LoadedVersion>()))
  return of
}

function loadVersion(row: VersionRow, material: string, deps: SnapshotDeps): LoadedVersion {
  let wrapped = material
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
    isSame(other) {
      if (other === wrapped) return true
      if (!isSameSecret(deps.sealing, materialContext(row), wrapped, other)) return false
      wrapped = other
      return true
    },
    withKey: (work) => (key === undefined ? (loading ??= load()).then(work) : work(key)),
    uses: deps.createUses(row),
  }
}

/** Returns false also if one of the two can no longer be unwrapped. */
function isSameSecret(
  sealing: Sealing,
  context: ReturnType<typeof materialContext>,
  ...wrapped: readonly [string, string]
): boolean {
  try {
    const [one, other] = wrapped.map((text) => sealing.unwrap(context, text))
    const isSame = one !== undefined && other !== undefined && timingSafeEqual(one, other)
    one?.fill(0)
    other?.fill(0)
    return isSame
  } catch {
    return false
  }
}
