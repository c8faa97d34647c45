/**
 * An index of all keys of a token, by name and version. A run makes one search, reads the keys that
 * are not yet in the index, and reports which keys were added, changed and removed. Runs are
 * divided into steps, so that the worker can serve other requests in between.
 */
// SPDX-License-Identifier: Apache-2.0
import { parseExternalKeyId } from '../../../core/ids.ts'
import type { KeyProblem } from '../../administration.ts'
import {
  encodeRef,
  parseRef,
  type IndexReport,
  type ListedKey,
  type ListPage,
} from '../wire/calls.ts'
import { readId, readLabel } from './key-attributes.ts'
import {
  describeAmbiguous,
  describeUnusable,
  findObjects,
  loadKey,
  toTokenKey,
  type FoundKey,
  type KeyHandles,
  type KeyHandlesOptions,
} from './key-handles.ts'
import type { Handle, Pkcs11Module } from './module.ts'

export interface TokenIndexOptions extends KeyHandlesOptions {
  /** Receives every usable key; undefined if no operation needs the handles. */
  readonly handles: KeyHandles | undefined
}

/** Maximum number of keys in one report, which the parent parses between requests. */
const MAX_ENTRIES = 200
/** Maximum number of doubtful keys that a run reads again. Those that were read longest ago come first. */
const MAX_DOUBTFUL = 50

export class TokenIndex {
  readonly #options: TokenIndexOptions
  /** Known keys by their handle in hexadecimal, in the order in which they were read. */
  readonly #known = new Map<string, { readonly ref: string; readonly key: FoundKey }>()
  /** Handles by key name; keys that share a name have several handles. */
  readonly #byRef = new Map<string, Set<string>>()
  /** Handles of keys that are never listed. */
  #reserved = new Set<string>()
  /** Handles that the last run saw for the first time. The next run reads them. */
  #appeared: ReadonlySet<string> = new Set()
  /** Handles that this run has yet to read. */
  #unread: Handle[] = []
  /** Names with changes to report. */
  readonly #changed = new Set<string>()
  #run: number | undefined
  #total = 0
  #isFresh = true

  constructor(options: TokenIndexOptions) {
    this.#options = options
  }

  /** Forgets everything, because a login changes the handles. */
  forget(): void {
    this.#known.clear()
    this.#byRef.clear()
    this.#changed.clear()
    this.#reserved.clear()
    this.#appeared = new Set()
    this.#unread = []
    this.#run = undefined
    this.#isFresh = true
  }

  /**
   * @param run number of the run; a number that differs from the previous call's starts a new run
   * @param again names of keys to read again, because they are in use
   * @param mayGoOn called after each key; returns false to end the step
   */
  step(
    session: Handle,
    { run, again }: { readonly run: number; readonly again: readonly string[] },
    mayGoOn: () => boolean,
  ): IndexReport {
    if (run !== this.#run) {
      this.#begin(session, new Set(again))
      this.#run = run
    }
    for (;;) {
      // The handle is removed from the list before its key is read, so that a key that cannot be
      // read is skipped until the next run.
      const handle = this.#unread.pop()
      if (handle === undefined) break
      this.#read(session, handle)
      if (!mayGoOn() || this.#changed.size >= MAX_ENTRIES) break
    }
    const entries = [...this.#changed].slice(0, MAX_ENTRIES).map((ref) => {
      this.#changed.delete(ref)
      return this.#judge(ref)
    })
    const isComplete = this.#unread.length === 0 && this.#changed.size === 0
    const report = {
      ...{ total: this.#total, left: this.#unread.length, isComplete, isFresh: this.#isFresh },
      ...{ appeared: this.#appeared.size, entries },
    }
    if (isComplete) this.#isFresh = false
    return report
  }

  /** Reads these keys only, and returns those that a list contains. */
  readOnly(session: Handle, handles: readonly Handle[]): readonly ListedKey[] {
    for (const handle of handles) this.#read(session, handle)
    const entries = [...this.#changed].map((ref) => this.#judge(ref))
    this.#changed.clear()
    return entries.filter(({ key }) => key !== undefined)
  }

  #begin(session: Handle, again: ReadonlySet<string>): void {
    const handles = findKeys(session, this.#options.module)
    const present = new Set(handles.map(toHex))
    for (const handle of [...this.#known.keys()]) if (!present.has(handle)) this.#remove(handle)
    this.#reserved = new Set([...this.#reserved].filter((handle) => present.has(handle)))
    const appeared = new Set<string>()
    const doubtful = this.#findDoubtful()
    this.#unread = handles.filter((handle) => {
      const hex = toHex(handle)
      if (this.#reserved.has(hex)) return false
      const known = this.#known.get(hex)
      if (known !== undefined) return doubtful.has(hex) || again.has(parseRef(known.ref).name)
      // Another program may still be creating the key. SoftHSM shows it early, and if it is read
      // then, SoftHSM overwrites it with default values.
      if (this.#isFresh || this.#appeared.has(hex)) return true
      appeared.add(hex)
      return false
    })
    this.#appeared = appeared
    this.#total = handles.length
  }

  /** Returns handles of keys that were perhaps read before they were complete. */
  #findDoubtful(): ReadonlySet<string> {
    const doubtful = [...this.#known].flatMap(([hex, { key }]) =>
      key.label === '' || (key.isAes && key.unusable !== undefined) ? [hex] : [],
    )
    return new Set(doubtful.slice(0, MAX_DOUBTFUL))
  }

  #read(session: Handle, handle: Handle): void {
    const hex = toHex(handle)
    const key = loadKey(this.#options, session, handle, 1)
    const { name, version } = parseRef(key.label)
    const ref = encodeRef(this.#options.keysBy === 'id' ? key.id : name, version)
    this.#remove(hex)
    if (this.#options.isReserved(key.label)) {
      this.#reserved.add(hex)
      return
    }
    this.#known.set(hex, { ref, key: { ...key, version } })
    this.#byRef.set(ref, (this.#byRef.get(ref) ?? new Set()).add(hex))
    this.#changed.add(ref)
  }

  #remove(hex: string): void {
    const known = this.#known.get(hex)
    if (known === undefined) return
    this.#known.delete(hex)
    this.#byRef.get(known.ref)?.delete(hex)
    this.#changed.add(known.ref)
  }

  /** Applies the checks of a lookup by name to all keys that share a name. */
  #judge(ref: string): ListedKey {
    const { name, version } = parseRef(ref)
    const keys = [...(this.#byRef.get(ref) ?? [])].flatMap((hex) => this.#known.get(hex)?.key ?? [])
    const [key, second] = keys
    const problem: KeyProblem | undefined =
      second !== undefined
        ? { kind: 'AMBIGUOUS', reason: describeAmbiguous(ref, keys) }
        : key?.unusable === undefined
          ? undefined
          : { kind: 'UNUSABLE', reason: describeUnusable(key) }
    this.#options.handles?.keep(ref, problem === undefined ? key : undefined)
    // Keys for other algorithms are not listed, but are counted if they share a name with an AES
    // key.
    const shown = keys.find(({ isAes }) => isAes)
    if (shown === undefined) return { name, version }
    return {
      ...{ name, version },
      key: { ...toTokenKey(shown), ...(problem === undefined ? {} : { problem }) },
    }
  }
}

function toHex(handle: Handle): string {
  return handle.toString('hex')
}

/**
 * Reads every key in one call, which an index does in steps.
 * @param page part of the list to read (default: the whole list, in the token's order)
 */
export function listKeys(
  session: Handle,
  options: KeyHandlesOptions,
  page?: ListPage,
): readonly ListedKey[] {
  const index = new TokenIndex({ ...options, handles: undefined })
  if (page !== undefined) return listPage(session, { options, index, page })
  const entries: ListedKey[] = []
  for (;;) {
    const report = index.step(session, { run: 1, again: [] }, () => true)
    entries.push(...report.entries.filter(({ key }) => key !== undefined))
    if (report.isComplete) return entries
  }
}

interface PageOrder {
  readonly options: KeyHandlesOptions
  readonly index: TokenIndex
  readonly page: ListPage
}

/**
 * Returns all versions of the keys in a page, and nothing else that is on the token. Of the other
 * keys, only the names are read, because a token cannot search for a range of names.
 */
function listPage(
  session: Handle,
  { options, index, page: { prefix, after = '', limit } }: PageOrder,
): readonly ListedKey[] {
  const handles = new Map<string, Handle[]>()
  for (const [name, handle] of readNames(session, options)) {
    const id = name.startsWith(prefix) ? parseExternalKeyId(name.slice(prefix.length)) : undefined
    if (id === undefined || id <= after) continue
    handles.set(id, [...(handles.get(id) ?? []), handle])
  }
  const rest = [...handles.keys()].sort()
  const entries: ListedKey[] = []
  const names = new Set<string>()
  // A name may belong only to keys that no list contains.
  while (rest.length > 0 && names.size < limit) {
    const wanted = rest.splice(0, limit - names.size).flatMap((id) => handles.get(id) ?? [])
    for (const entry of index.readOnly(session, wanted)) {
      entries.push(entry)
      names.add(entry.name)
    }
  }
  return entries
}

/** Returns the name, without the version, of each key that is not reserved. */
function* readNames(
  session: Handle,
  { module, keysBy, isReserved }: KeyHandlesOptions,
): Generator<readonly [string, Handle]> {
  for (const handle of findKeys(session, module)) {
    const label = readLabel(module, session, handle)
    if (isReserved(label)) continue
    yield [keysBy === 'id' ? readId(module, session, handle) : parseRef(label).name, handle]
  }
}

function findKeys(session: Handle, module: Pkcs11Module): Handle[] {
  const { constants: c } = module
  const isKey = { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY }
  return findObjects(module, session, [isKey], 'many')
}
