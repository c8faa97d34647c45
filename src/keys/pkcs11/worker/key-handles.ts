/** Key handles, found by label or id. They are valid only for the login under which they were found. */
// SPDX-License-Identifier: Apache-2.0
import type { AesGcm } from './aes-gcm.ts'
import { encodeRef, parseRef, type TokenKey } from '../wire/calls.ts'
import { WorkerFailure } from '../wire/errors.ts'
import { readAttributes, readLabel, type KeyAttributes } from './key-attributes.ts'
import { invoke, type Handle, type Pkcs11Module } from './module.ts'

export interface FoundKey extends KeyAttributes {
  readonly version: number
  readonly handle: Handle
  /** See AesGcm.check. */
  readonly check: Buffer | undefined
}

interface Options {
  readonly module: Pkcs11Module
  readonly gcm: AesGcm
  readonly keysBy: 'label' | 'id'
  /** Labels of keys that callers must not use. */
  readonly isReserved: (label: string) => boolean
}

const FOUND_AT_ONCE = 100
/** Number of consecutive versions that may be missing between two existing ones. */
const GAP = 16

export class KeyHandles {
  readonly #options: Options
  readonly #found = new Map<string, FoundKey>()

  constructor(options: Options) {
    this.#options = options
  }

  /** Forgets all handles: after a login, a handle may refer to another key or to none. */
  forget(): void {
    this.#found.clear()
  }

  /** @param ref see `encodeRef` @throws WorkerFailure MISCONFIGURED when two keys share the name */
  find(session: Handle, ref: string): FoundKey | undefined {
    const known = this.#found.get(ref)
    if (known !== undefined) return known
    const { name, version } = parseRef(ref)
    if (this.#options.keysBy === 'label' && this.#options.isReserved(name)) return undefined
    const handles = this.#search(session, name, version)
    const [handle, second] = handles
    if (handle === undefined) return undefined
    if (second !== undefined) throw this.#toAmbiguous(session, ref, handles)
    return this.#load(session, ref, version, handle)
  }

  /** Finds the first key with a label. */
  findAny(session: Handle, label: string): Handle | undefined {
    const known = this.#found.get(label)
    if (known !== undefined) return known.handle
    const [handle] = this.#search(session, label, 1)
    return handle && this.#load(session, label, 1, handle).handle
  }

  /** Finds all versions of a key, in ascending order. @throws WorkerFailure */
  versions(session: Handle, name: string): readonly FoundKey[] {
    const found: FoundKey[] = []
    let missing = 0
    for (let version = 1; missing < GAP; version++) {
      const one = this.find(session, encodeRef(name, version))
      missing = one === undefined ? missing + 1 : 0
      if (one !== undefined) found.push(one)
      // Most keys have one version, so the search ends early when the first is missing.
      if (version === 2 && found.length === 0) break
    }
    return found
  }

  /** Lists every AES key of the token, including those that cannot be used. */
  all(session: Handle): readonly (KeyAttributes & { readonly handle: Handle })[] {
    const { module } = this.#options
    const { constants: c } = module
    const template = [
      { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY },
      { type: c.CKA_KEY_TYPE, value: c.CKK_AES },
    ]
    return this.#findObjects(session, template).map((handle) => ({
      ...readAttributes(module, session, handle, this.#options.gcm.mechanism),
      handle,
    }))
  }

  #search(session: Handle, name: string, version: number): readonly Handle[] {
    const { module, keysBy } = this.#options
    const { constants: c } = module
    const isKey = { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY }
    if (keysBy === 'label') {
      const label = Buffer.from(encodeRef(name, version), 'utf8')
      return this.#findObjects(session, [isKey, { type: c.CKA_LABEL, value: label }])
    }
    if (!/^(?:[0-9a-f]{2}){1,64}$/.test(name)) return []
    const id = Buffer.from(name, 'hex')
    // All versions share the id and differ in the label.
    return this.#findObjects(session, [isKey, { type: c.CKA_ID, value: id }]).filter((handle) => {
      const label = readLabel(module, session, handle)
      return !this.#options.isReserved(label) && parseRef(label).version === version
    })
  }

  #findObjects(session: Handle, template: { type: number; value: number | Buffer }[]): Handle[] {
    const { cryptoki } = this.#options.module
    invoke('C_FindObjectsInit', () => {
      cryptoki.C_FindObjectsInit(session, template)
    })
    const found: Handle[] = []
    for (;;) {
      const some = invoke('C_FindObjects', () => cryptoki.C_FindObjects(session, FOUND_AT_ONCE))
      if (some.length === 0) break
      found.push(...some)
    }
    invoke('C_FindObjectsFinal', () => {
      cryptoki.C_FindObjectsFinal(session)
    })
    return found
  }

  #load(session: Handle, ref: string, version: number, handle: Handle): FoundKey {
    const { module, gcm } = this.#options
    const attributes = readAttributes(module, session, handle, gcm.mechanism)
    if (attributes.unusable !== undefined) {
      const name = JSON.stringify(attributes.label)
      throw new WorkerFailure('KEY_USAGE', `the key ${name} ${attributes.unusable}`)
    }
    const check = attributes.canEncrypt ? gcm.check(session, handle) : undefined
    const key: FoundKey = { ...attributes, version, handle, check }
    this.#found.set(ref, key)
    return key
  }

  #toAmbiguous(session: Handle, ref: string, handles: readonly Handle[]): WorkerFailure {
    const { module } = this.#options
    const ids = handles
      .map((handle) => readAttributes(module, session, handle).id || '(none)')
      .sort()
    return new WorkerFailure(
      'MISCONFIGURED',
      `${String(handles.length)} keys of the token are named ${JSON.stringify(ref)}, with the ids ${ids.join(', ')}`,
      { hint: 'delete or rename all but one' },
    )
  }
}

export function toTokenKey(key: Omit<FoundKey, 'handle'>): TokenKey {
  const { version, label, id, canEncrypt, canDecrypt, isSensitive, isExtractable, check } = key
  return {
    ...{ version, label, id, canEncrypt, canDecrypt, isSensitive, isExtractable },
    check: check?.toString('base64') ?? '',
  }
}
