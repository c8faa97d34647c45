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
  isSame(wrapped: string): boolean
  /** Unwraps and tests the key on first use. @throws StorageError, BackendError */
  withKey<T>(work: (key: SoftwareKey) => T): Awaitable<T>
  /** Created at its first use. */
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
  const pending: Pending = new Map<string, Map<string, Map<number, LoadedVersion>>>()
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
    of.set(version.version, isSame ? same : new StoredVersion(version, material, deps))
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

/** Versions of keys that are applied later in the same change, by key store, then by key id. */
type Pending = Map<string, Map<string, Map<number, LoadedVersion>>>

function pendingOf(pending: Pending, keyStore: string, keyId: string): Map<number, LoadedVersion> {
  let ofStore = pending.get(keyStore)
  if (ofStore === undefined) {
    pending.set(keyStore, (ofStore = new Map<string, Map<number, LoadedVersion>>()))
  }
  let of = ofStore.get(keyId)
  if (of === undefined) ofStore.set(keyId, (of = new Map<number, LoadedVersion>()))
  return of
}

/** One object for each version, because a start creates one for every version in the store. */
class StoredVersion implements LoadedVersion {
  readonly #row: VersionRow
  readonly #deps: SnapshotDeps
  #wrapped: string
  #key: SoftwareKey | undefined
  #loading: Promise<SoftwareKey> | undefined
  #uses: UseCounter | undefined

  constructor(row: VersionRow, material: string, deps: SnapshotDeps) {
    this.#row = row
    this.#deps = deps
    this.#wrapped = material
  }

  get version(): number {
    return this.#row.version
  }

  get uses(): UseCounter {
    return (this.#uses ??= this.#deps.createUses(this.#row))
  }

  isSame(other: string): boolean {
    if (other === this.#wrapped) return true
    const { sealing } = this.#deps
    if (!isSameSecret(sealing, materialContext(this.#row), this.#wrapped, other)) return false
    this.#wrapped = other
    return true
  }

  withKey<T>(work: (key: SoftwareKey) => T): Awaitable<T> {
    if (this.#key !== undefined) return work(this.#key)
    return (this.#loading ??= this.#load()).then(work)
  }

  async #load(): Promise<SoftwareKey> {
    try {
      // `withKey` sets #loading before `finally` clears it, even if `unwrap` throws.
      await Promise.resolve()
      const context = materialContext(this.#row)
      return (this.#key = await importKey(this.#deps.sealing.unwrap(context, this.#wrapped)))
    } catch (error) {
      throw toBackendError(error)
    } finally {
      this.#loading = undefined
    }
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
