/**
 * Reads the names of all handles once, in steps, because a search by name is slow on tokens with
 * thousands of keys, and each worker has its own handles. At startup, each worker first reads a
 * share of the keys.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { encodeRef, type ListedKey, parseRef, type ShareReport } from '../wire/calls.ts'
import { readId, readLabel } from './key-attributes.ts'
import {
  describeUnusable,
  findObjects,
  type FoundKey,
  type KeyHandles,
  type KeyHandlesOptions,
  loadKey,
  toTokenKey,
} from './key-handles.ts'
import type { Handle } from './module.ts'

/** Maximum number of keys that one step reads. */
const MAX_KEYS = 200
/** Two different keys of a token have equal fingerprints with a probability of 2^-96. */
const FINGERPRINT_BYTES = 12

export class HandleNames {
  readonly #options: KeyHandlesOptions
  readonly #handles: KeyHandles
  /** Handles whose names have not been read yet; undefined until the first search for keys. */
  #unread: Handle[] | undefined
  /**
   * Keys of this worker's share that have not been read yet; undefined until the first search for
   * keys.
   */
  #share: Handle[] | undefined
  #total = 0
  #hasOtherKeys = false

  constructor(options: KeyHandlesOptions, handles: KeyHandles) {
    this.#options = options
    this.#handles = handles
  }

  /** Starts over, because a login changes the handles. */
  forget(): void {
    this.#unread = undefined
    this.#share = undefined
    this.#hasOtherKeys = false
  }

  /**
   * Reads every `of`th key. Workers may list keys in different orders, so a key can be in two shares or in none.
   * @param mayGoOn called after each key
   */
  share(
    session: Handle,
    { part, of }: { readonly part: number; readonly of: number },
    mayGoOn: () => boolean,
  ): ShareReport {
    if (this.#share === undefined) {
      const all = this.#findAll(session)
      this.#total = all.length
      this.#share = all.filter((_, i) => i % of === part)
      // Search only once, because a second search would block this worker for a long time.
      this.#unread ??= all.filter((_, i) => i % of !== part)
    }
    const entries: ListedKey[] = []
    const fingerprints: string[] = []
    for (let count = 0; count < MAX_KEYS; count++) {
      const handle = this.#share.pop()
      if (handle === undefined) break
      const key = loadKey(this.#options, session, handle, 1)
      // Keys of other types are never listed, and their attributes may all be equal.
      if (key.isAes) fingerprints.push(toFingerprint(key))
      else this.#hasOtherKeys = true
      entries.push(...this.#list(key, handle))
      if (!mayGoOn()) break
    }
    const left = this.#share.length
    return {
      ...{ total: this.#total, left, isComplete: left === 0, isFresh: false },
      ...{ appeared: 0, entries, fingerprints },
      ...(left === 0 && this.#hasOtherKeys ? { aesKeys: this.#countAesKeys(session) } : {}),
    }
  }

  #list(key: FoundKey, handle: Handle): readonly ListedKey[] {
    if (!key.isAes || this.#options.isReserved(key.label)) return []
    const { name: label, version } = parseRef(key.label)
    const name = this.#options.keysBy === 'id' ? key.id : label
    const found = toTokenKey({ ...key, version })
    if (key.unusable !== undefined) {
      const problem = { kind: 'UNUSABLE', reason: describeUnusable(key) } as const
      return [{ name, version, key: { ...found, problem } }]
    }
    this.#handles.suggest(encodeRef(name, version), handle)
    return [{ name, version, key: found }]
  }

  #countAesKeys(session: Handle): number {
    const { module } = this.#options
    const { constants: c } = module
    const isKey = { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY }
    const isAes = { type: c.CKA_KEY_TYPE, value: c.CKK_AES }
    return findObjects(module, session, [isKey, isAes], 'many').length
  }

  #findAll(session: Handle): Handle[] {
    const { module } = this.#options
    const { constants: c } = module
    const isKey = { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY }
    return findObjects(module, session, [isKey], 'many')
  }

  /**
   * @param mayGoOn called after each key; returns false to stop
   * @returns the number of handles whose names have not been read yet
   */
  step(session: Handle, mayGoOn: () => boolean): number {
    const { module, keysBy, isReserved } = this.#options
    this.#unread ??= this.#findAll(session)
    for (;;) {
      const handle = this.#unread.pop()
      if (handle === undefined) return 0
      const label = readLabel(module, session, handle)
      if (!isReserved(label)) {
        const { name, version } = parseRef(label)
        const own = keysBy === 'id' ? readId(module, session, handle) : name
        this.#handles.suggest(encodeRef(own, version), handle)
      }
      if (!mayGoOn()) return this.#unread.length
    }
  }
}

/** Returns equal texts for the same key in different workers, whose handles differ. */
function toFingerprint({ handle: _, check, ...attributes }: FoundKey): string {
  const identity = JSON.stringify({ ...attributes, check: check?.toString('base64') })
  const hash = createHash('sha256').update(identity).digest()
  return hash.subarray(0, FINGERPRINT_BYTES).toString('base64')
}
