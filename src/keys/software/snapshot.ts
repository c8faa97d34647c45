/** The keys of all key stores, held in memory and ready for use. */
// SPDX-License-Identifier: Apache-2.0
import { timingSafeEqual } from 'node:crypto'
import type { Awaitable } from '../../core/deadline.ts'
import { forEachInSlices } from '../../core/slices.ts'
import { materialContext } from '../../store/bindings.ts'
import type { StoreContents } from '../../store/contents.ts'
import type { Sealing } from '../../store/sealing.ts'
import { toBackendError } from '../errors.ts'
import { importKey, type SoftwareKey } from './gcm.ts'
import { type KeyRow, parseKey, parseVersion, type VersionRow } from './key-table.ts'
import type { UseCounter } from './use-counter.ts'

export interface LoadedVersion {
  readonly version: number
  /**
   * Reports whether `wrapped` holds the same material. If the material is wrapped under another key
   * of the store, the version uses that wrapping from now on.
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

/** Number of rows handled in one turn of the event loop. */
const SLICE = 100

/**
 * Applies changed keys and versions to a snapshot, in slices, revocations first. Versions with
 * unchanged material keep their imported key and remaining uses; when the snapshot is rebuilt, they
 * are taken from `before`. Versions are applied before keys, because a key must never name a
 * current version that is not loaded.
 */
export async function applyRows(
  { snapshot, before }: { readonly snapshot: Snapshot; readonly before: Snapshot },
  { keys, versions }: Pick<StoreContents, 'keys' | 'versions'>,
  deps: SnapshotDeps,
): Promise<void> {
  await applyRevocations(before, { keys, versions })
  const pending = new Map<string, Map<number, LoadedVersion>>()
  await forEachInSlices(versions, SLICE, (stored) => {
    const version = parseVersion(stored)
    const { keyStore, keyId, material } = version
    const of = findVersions(snapshot, keyStore, keyId) ?? pendingOf(pending, keyStore, keyId)
    if (material === null) {
      of.delete(version.version)
      return
    }
    const same = findVersions(before, keyStore, keyId)?.get(version.version)
    const isSame = same?.isSame(material) === true
    of.set(version.version, isSame ? same : loadVersion(version, material, deps))
  })
  await forEachInSlices(keys, SLICE, (stored) => {
    const row = parseKey(stored)
    const { keyStore, keyId } = row
    let ofStore = snapshot.get(keyStore)
    if (ofStore === undefined) snapshot.set(keyStore, (ofStore = new Map<string, LoadedKey>()))
    const of = ofStore.get(keyId)?.versions ?? pendingOf(pending, keyStore, keyId)
    ofStore.set(keyId, { row, versions: of })
  })
}

/**
 * Applies revocations to the keys in use before anything else is decoded, so that a revocation does
 * not wait behind thousands of other changes.
 */
async function applyRevocations(
  snapshot: Snapshot,
  { keys, versions }: Pick<StoreContents, 'keys' | 'versions'>,
): Promise<void> {
  if (snapshot.size === 0) return
  await forEachInSlices(keys, SLICE, (stored) => {
    const { keyStore, keyId, status, canEncrypt, canDecrypt } = parseKey(stored)
    const ofStore = snapshot.get(keyStore)
    const key = ofStore?.get(keyId)
    if (ofStore === undefined || key === undefined) return
    const isLess =
      (status !== 'ENABLED' && key.row.status === 'ENABLED') ||
      (key.row.canEncrypt && !canEncrypt) ||
      (key.row.canDecrypt && !canDecrypt)
    // The current version stays, because the new one is not loaded yet.
    const row = { ...key.row, status, canEncrypt, canDecrypt }
    if (isLess) ofStore.set(keyId, { ...key, row })
  })
  await forEachInSlices(versions, SLICE, (stored) => {
    const { keyStore, keyId, version, material } = parseVersion(stored)
    if (material === null) findVersions(snapshot, keyStore, keyId)?.delete(version)
  })
}

function findVersions(snapshot: Snapshot, keyStore: string, keyId: string) {
  return snapshot.get(keyStore)?.get(keyId)?.versions
}

/** Returns the loaded versions of a key that is applied later in the same change. */
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

/**
 * Reports whether two wrapped secrets are equal. Returns false if either can no longer be
 * unwrapped.
 */
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
