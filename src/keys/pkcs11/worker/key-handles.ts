/** Key handles, found by label or id. They are valid only for the login under which they were found. */
// SPDX-License-Identifier: Apache-2.0
import { equalBytes } from '../../../core/constant-time.ts'
import type { AesGcm } from './aes-gcm.ts'
import { encodeRef, parseRef, type TokenKey, type VersionSearch } from '../wire/calls.ts'
import { WorkerFailure } from '../wire/errors.ts'
import { readAttributes, readLabel, type KeyAttributes } from './key-attributes.ts'
import { invoke, type Handle, type Pkcs11Module } from './module.ts'

export interface FoundKey extends KeyAttributes {
  readonly version: number
  readonly handle: Handle
  /** See AesGcm.check. */
  readonly check: Buffer | undefined
}

/** The handle of a key whose check value was compared with the expected one. */
type CheckedHandle = Pick<FoundKey, 'handle' | 'check'>

export interface KeyHandlesOptions {
  readonly module: Pkcs11Module
  readonly gcm: AesGcm
  readonly keysBy: 'label' | 'id'
  /** Reports whether a label belongs to a key that callers must not use. */
  readonly isReserved: (label: string) => boolean
}

/** A search for versions ends after this many consecutive missing versions. */
const GAP = 16

export class KeyHandles {
  readonly #options: KeyHandlesOptions
  readonly #found = new Map<string, FoundKey>()
  /** Handles of keys for which only the check value has been read so far. */
  readonly #checked = new Map<string, CheckedHandle>()
  /** Handles of keys for which only the name has been read so far. */
  readonly #suggested = new Map<string, Handle | 'several'>()

  constructor(options: KeyHandlesOptions) {
    this.#options = options
  }

  /** Forgets all handles: after a login, a handle may refer to another key or to none. */
  forget(): void {
    this.#found.clear()
    this.#checked.clear()
    this.#suggested.clear()
  }

  /**
   * Records the name of the key behind a handle, which saves a search when the key is first used.
   */
  suggest(ref: string, handle: Handle): void {
    const known = this.#suggested.get(ref)
    const isOne = known === undefined || (known !== 'several' && known.equals(handle))
    this.#suggested.set(ref, isOne ? handle : 'several')
  }

  /**
   * Records a key that was found by other means. `key` is undefined if the key no longer exists.
   */
  keep(ref: string, key: FoundKey | undefined): void {
    this.#checked.delete(ref)
    this.#suggested.delete(ref)
    if (key === undefined) this.#found.delete(ref)
    else this.#found.set(ref, key)
  }

  /**
   * Returns the handle of the key with this check value. The first use takes two to five calls, and
   * later uses take none.
   * @param check empty to accept any usable key
   * @throws WorkerFailure KEY_REPLACED if a different key has this name
   */
  use(session: Handle, ref: string, check: Buffer): CheckedHandle | undefined {
    const known =
      this.#found.get(ref) ??
      this.#checked.get(ref) ??
      (check.length === 0 ? this.find(session, ref) : this.#findChecked(session, ref, check))
    if (known?.check === undefined || check.length === 0) return known
    if (equalBytes(known.check, check)) return known
    throw new WorkerFailure(
      'KEY_REPLACED',
      `${JSON.stringify(ref)} was replaced by a different key`,
      {
        hint: 'restore the old key: a different key cannot decrypt the existing data',
      },
    )
  }

  /** @param ref see `encodeRef` @throws WorkerFailure MISCONFIGURED when two keys share the name */
  find(session: Handle, ref: string): FoundKey | undefined {
    const known = this.#found.get(ref)
    if (known !== undefined) return known
    const handle = this.#findOne(session, ref)
    return handle && this.#load(session, ref, handle)
  }

  /** Finds the first key with a label. */
  findAny(session: Handle, label: string): Handle | undefined {
    const known = this.#found.get(label)
    if (known !== undefined) return known.handle
    const [handle] = this.#search(session, label, 1)
    return handle && this.#load(session, label, handle).handle
  }

  /** Finds versions of a key, in ascending order. @throws WorkerFailure */
  versions(session: Handle, name: string, search: VersionSearch): readonly FoundKey[] {
    const found = new Map<number, FoundKey>()
    const tries = (version: number): boolean => {
      const one = found.get(version) ?? this.find(session, encodeRef(name, version))
      if (one !== undefined) found.set(version, one)
      return one !== undefined
    }
    const gap = search === 'all' ? GAP : 1
    let missing = 0
    // Most keys have one version, so the search ends early when the first two are missing.
    for (let version = 1; version <= 2 || (missing < gap && found.size > 0); version++)
      missing = tries(version) ? 0 : missing + 1
    for (const first of search === 'all' ? [] : search)
      for (let version = first; !found.has(version) && tries(version);) version++
    return [...found.values()].sort((a, b) => a.version - b.version)
  }

  #findChecked(session: Handle, ref: string, expected: Buffer): CheckedHandle | undefined {
    const { gcm } = this.#options
    const suggested = this.#suggested.get(ref)
    let handle = suggested === 'several' ? undefined : suggested
    let check = handle && gcm.check(session, handle)
    if (check === undefined || !equalBytes(check, expected)) {
      handle = this.#findOne(session, ref)
      check = handle && gcm.check(session, handle)
    }
    if (handle === undefined) return undefined
    const key = { handle, check }
    this.#checked.set(ref, key)
    return key
  }

  #findOne(session: Handle, ref: string): Handle | undefined {
    const { name, version } = parseRef(ref)
    if (this.#options.keysBy === 'label' && this.#options.isReserved(name)) return undefined
    const handles = this.#search(session, name, version)
    const [handle, second] = handles
    if (second !== undefined) throw this.#toAmbiguous(session, ref, handles)
    return handle
  }

  #search(session: Handle, name: string, version: number): readonly Handle[] {
    const { module, keysBy } = this.#options
    const { constants: c } = module
    const isKey = { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY }
    if (keysBy === 'label') {
      const label = Buffer.from(encodeRef(name, version), 'utf8')
      return findObjects(module, session, [isKey, { type: c.CKA_LABEL, value: label }], 'few')
    }
    if (!/^(?:[0-9a-f]{2}){1,64}$/.test(name)) return []
    const id = Buffer.from(name, 'hex')
    // All versions share the id and differ in the label.
    const handles = findObjects(module, session, [isKey, { type: c.CKA_ID, value: id }], 'few')
    return handles.filter((handle) => {
      const label = readLabel(module, session, handle)
      return !this.#options.isReserved(label) && parseRef(label).version === version
    })
  }

  #load(session: Handle, ref: string, handle: Handle): FoundKey {
    const key = loadKey(this.#options, session, handle, parseRef(ref).version)
    if (key.unusable !== undefined) throw new WorkerFailure('KEY_USAGE', describeUnusable(key))
    this.#found.set(ref, key)
    return key
  }

  #toAmbiguous(session: Handle, ref: string, handles: readonly Handle[]): WorkerFailure {
    const { module } = this.#options
    const keys = handles.map((handle) => readAttributes(module, session, handle))
    return new WorkerFailure('MISCONFIGURED', describeAmbiguous(ref, keys), {
      hint: 'delete or rename all of these keys but one',
    })
  }
}

/** Reads a key, and also its check value if operations can use the key. */
export function loadKey(
  { module, gcm }: Pick<KeyHandlesOptions, 'module' | 'gcm'>,
  session: Handle,
  handle: Handle,
  version: number,
): FoundKey {
  const attributes = readAttributes(module, session, handle, gcm.mechanism)
  const hasCheck = attributes.unusable === undefined && attributes.canEncrypt
  return {
    ...attributes,
    version,
    handle,
    check: hasCheck ? gcm.check(session, handle) : undefined,
  }
}

export function describeUnusable({ label, unusable }: KeyAttributes): string {
  return `the key ${JSON.stringify(label)} ${unusable ?? 'is usable'}`
}

export function describeAmbiguous(ref: string, keys: readonly KeyAttributes[]): string {
  const ids = keys.map(({ id }) => id || '(none)').sort()
  return `${String(keys.length)} keys on the token are named ${JSON.stringify(ref)}, with the ids ${ids.join(', ')}`
}

const MANY = 1000
const FEW = 100

/**
 * @param expected expected number of keys. With `few`, the search ends as soon as the token returns
 * fewer handles than requested, which saves a call
 */
export function findObjects(
  { cryptoki }: Pkcs11Module,
  session: Handle,
  template: { type: number; value: number | Buffer }[],
  expected: 'few' | 'many',
): Handle[] {
  invoke('C_FindObjectsInit', () => {
    cryptoki.C_FindObjectsInit(session, template)
  })
  const found: Handle[] = []
  for (;;) {
    const most = expected === 'few' ? FEW : MANY
    const some = invoke('C_FindObjects', () => cryptoki.C_FindObjects(session, most))
    found.push(...some)
    if (some.length === 0 || (expected === 'few' && some.length < most)) break
  }
  invoke('C_FindObjectsFinal', () => {
    cryptoki.C_FindObjectsFinal(session)
  })
  return found
}

export function toTokenKey(key: Omit<FoundKey, 'handle' | 'isAes'>): TokenKey {
  const { version, label, id, canEncrypt, canDecrypt, isSensitive, isExtractable, check } = key
  return {
    ...{ version, label, id, canEncrypt, canDecrypt, isSensitive, isExtractable },
    check: check?.toString('base64') ?? '',
  }
}
