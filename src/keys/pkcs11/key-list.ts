/** The keys of one token that its index runs have reported. */
// SPDX-License-Identifier: Apache-2.0
import { encodeRef, type ListedKey, type TokenKey } from './wire/calls.ts'

/** The keys of one token, by name and version. */
export class KeyList {
  readonly #keys = new Map<string, Map<number, TokenKey>>()
  /**
   * Time on the monotonic clock, in milliseconds. A key that was on the token then, and is in no
   * list, has been removed since.
   */
  readUntil = -Infinity
  /** Names that were used since the last regular run began. */
  readonly used = new Set<string>()
  /** Names that the fresh run has reported so far. */
  #reported = new Set<string>()
  /**
   * Reports of the fresh run about names that are already known. They are applied when the run
   * ends, because until then the run may not have read the newest version, or a second key with the
   * same name.
   */
  readonly #held = new Map<string, ListedKey[]>()

  versions(name: string): ReadonlyMap<number, TokenKey> {
    return this.#keys.get(name) ?? new Map<number, TokenKey>()
  }

  /** @returns the names that changed */
  take(entries: readonly ListedKey[], isFresh: boolean): ReadonlySet<string> {
    const names = new Set<string>()
    for (const entry of entries) {
      const { name, version, key } = entry
      if (isFresh && this.#hold(entry)) continue
      const next = this.#keys.get(name) ?? new Map<number, TokenKey>()
      if (key === undefined) next.delete(version)
      else next.set(version, key)
      if (next.size === 0) this.#keys.delete(name)
      else this.#keys.set(name, next)
      if (isFresh) this.#reported.add(name)
      names.add(name)
    }
    return names
  }

  #hold(entry: ListedKey): boolean {
    const { name } = entry
    const held = this.#held.get(name)
    if (held === undefined && (this.#reported.has(name) || !this.#keys.has(name))) return false
    if (held === undefined) this.#held.set(name, [entry])
    else held.push(entry)
    return true
  }

  /**
   * Adds keys, and marks different keys that have the same name.
   * @returns the names that changed
   */
  takeShare(entries: readonly ListedKey[]): ReadonlySet<string> {
    for (const { name, version, key } of entries) {
      const versions = this.#keys.get(name) ?? new Map<number, TokenKey>()
      this.#keys.set(name, versions)
      const known = versions.get(version)
      const isSame =
        known === undefined ||
        (known.problem?.kind !== 'AMBIGUOUS' && known.id === key?.id && known.check === key.check)
      const reason = `several keys on the token are named ${JSON.stringify(encodeRef(name, version))}`
      if (key !== undefined)
        versions.set(version, isSame ? key : { ...key, problem: { kind: 'AMBIGUOUS', reason } })
    }
    return new Set(entries.map(({ name }) => name))
  }

  /** @returns the names that no longer exist */
  endFreshRun(): readonly string[] {
    const held = [...this.#held.values()].flat()
    this.#held.clear()
    const gone = [...this.#keys.keys()].filter((name) => !this.#reported.has(name))
    for (const name of gone) this.#keys.delete(name)
    this.#reported = new Set()
    return [...gone, ...this.take(held, false)]
  }
}
