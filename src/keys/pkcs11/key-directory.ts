/**
 * The known keys of a fleet of tokens. Index runs, which read all keys of a token, find most of
 * them. A key that no run has found yet is looked up by name.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { type Awaitable, Deadline } from '../../core/deadline.ts'
import { BackendError } from '../errors.ts'
import { KeyList } from './key-list.ts'
import type { TokenFleet } from './pool/fleet.ts'
import { encodeRef, type ListedKey, type TokenKey } from './wire/calls.ts'

export interface KnownVersion extends TokenKey {
  /** Key check value as sent by the worker; empty if the token cannot compute one. */
  readonly checkValue: Buffer
  /** Name of the version as a worker expects it; see `encodeRef`. */
  readonly ref: Buffer
}

export interface KnownKey {
  readonly versions: ReadonlyMap<number, KnownVersion>
  /** The highest version. */
  readonly current: KnownVersion
}

interface Entry {
  /** Undefined if there is no such key. */
  readonly key: KnownKey | undefined
  readonly at: number
}

interface Doubt {
  readonly at: number
  /** Whether an index run has reported the key since. */
  readonly isReported: boolean
}

/**
 * Lifetime of a negative entry in milliseconds. Negative entries keep a flood of wrong ids away
 * from the token.
 */
const ABSENT_MS = 1000
const MAX_ENTRIES = 20_000
const REFRESH_DEADLINE_MS = 10_000

export class KeyDirectory {
  readonly #fleet: TokenFleet
  readonly #clock: Clock
  readonly #refreshMs: number
  /** Keys found by index runs, by token. */
  readonly #lists = new Map<string, KeyList>()
  /** Keys found by index runs, merged across all tokens, by name. */
  readonly #listed = new Map<string, KnownKey>()
  /** Keys that were looked up one by one. An index run that finds a key replaces its entry. */
  readonly #entries = new Map<string, Entry>()
  /**
   * Lookups that found versions which no index run has read yet. These versions are served together
   * with the listed ones.
   */
  readonly #ahead = new Map<string, Entry>()
  /** Listed keys that were forgotten. Until the lists are newer than that, they may be outdated. */
  readonly #doubts = new Map<string, Doubt>()
  readonly #pending = new Map<string, Promise<KnownKey | undefined>>()
  readonly #listeners: ((name: string, key: KnownKey) => void)[] = []
  readonly #hints: ((name: string) => readonly number[])[] = []

  constructor(fleet: TokenFleet, clock: Clock, refreshMs: number) {
    this.#fleet = fleet
    this.#clock = clock
    this.#refreshMs = refreshMs
  }

  /** @param name label or id on the token @throws BackendError, for example KEY_NOT_FOUND */
  find(name: string, deadline: Deadline): Awaitable<KnownKey> {
    const listed = this.#listed.get(name)
    if (listed !== undefined) {
      for (const list of this.#lists.values()) list.used.add(name)
      return checkNoProblem(listed)
    }
    const entry = this.#entries.get(name)
    const age = entry === undefined ? Infinity : this.#clock.monotonic() - entry.at
    const key = entry?.key
    if (entry === undefined || (key === undefined && age >= ABSENT_MS)) {
      return deadline.race(this.#lookUp(name)).then(checkPresent)
    }
    if (age >= this.#refreshMs && key !== undefined) {
      // During the lookup, the cached entry remains in use, even if the token does not respond.
      this.#lookUp(name).catch(() => undefined)
    }
    return checkPresent(key)
  }

  /**
   * Calls `listener` for each key that is already known, and for each key that a token reports
   * later.
   */
  onSeen(listener: (name: string, key: KnownKey) => void): void {
    this.#listeners.push(listener)
    for (const [name, key] of this.#listed) listener(name, key)
  }

  /** @param versions returns the likely versions of a key, which lookups search for */
  addHints(versions: (name: string) => readonly number[]): void {
    this.#hints.push(versions)
  }

  /**
   * Forgets a key unless `isRight` accepts the known entry. The next use of a forgotten key looks
   * it up again.
   */
  reconsider(name: string, isRight: (key: KnownKey) => boolean): void {
    const key = this.#listed.get(name) ?? this.#entries.get(name)?.key
    if (key === undefined || !isRight(key)) this.forget(name)
  }

  /** Forgets a key, so that its next use looks it up again. */
  forget(name: string): void {
    if (this.#listed.delete(name))
      this.#doubts.set(name, { at: this.#clock.monotonic(), isReported: false })
    this.#entries.delete(name)
    this.#ahead.delete(name)
  }

  /** Returns this token's listed keys that were used since the last call. */
  takeUsed(token: string): readonly string[] {
    const list = this.#lists.get(token)
    const used = [...(list?.used ?? [])]
    list?.used.clear()
    return used
  }

  /**
   * Adds the keys that one step of an index run reported.
   * @param token the token's name in this fleet
   */
  list(token: string, entries: readonly ListedKey[], isFresh: boolean): void {
    const list = this.#lists.get(token) ?? new KeyList()
    this.#lists.set(token, list)
    for (const name of list.take(entries, isFresh)) this.#combine(name)
  }

  /**
   * Adds the keys that one worker found in its share of the token's keys. The first index run adds
   * any keys that are in no share.
   */
  addShare(token: string, entries: readonly ListedKey[]): void {
    const list = this.#lists.get(token) ?? new KeyList()
    this.#lists.set(token, list)
    for (const name of list.takeShare(entries)) this.#combine(name)
  }

  /**
   * Ends an index run. Keys that a fresh run did not report are gone from the token.
   * @param readUntil time on the monotonic clock in milliseconds: every key that was on the token
   * then, and still is, has been reported
   */
  endRun(token: string, isFresh: boolean, readUntil: number): void {
    const list = this.#lists.get(token)
    if (list === undefined) return
    list.readUntil = readUntil
    const names = new Set(isFresh ? list.endFreshRun() : [])
    for (const [name, { at }] of this.#ahead) if (this.#isRead(at)) names.add(name)
    for (const [name, { at, isReported }] of this.#doubts) {
      if (!this.#isRead(at)) continue
      this.#doubts.delete(name)
      if (isReported) names.add(name)
    }
    for (const name of names) this.#combine(name)
  }

  /** Reports whether the lists contain every key that was on a token at this time and still is. */
  #isRead(at: number): boolean {
    return [...this.#lists.values()].every(({ readUntil }) => readUntil >= at)
  }

  /**
   * Merges the versions of all tokens. A version that is not yet on every token is served by the
   * tokens that have it. A version that was looked up may be missing from the lists, because a run
   * leaves keys that have just appeared to the next run. It is kept until the lists must contain it.
   */
  #combine(name: string): void {
    const versions = new Map<number, TokenKey>()
    for (const list of this.#lists.values()) {
      for (const [version, key] of list.versions(name)) {
        const known = versions.get(version)
        if (known === undefined || known.problem !== undefined) versions.set(version, key)
      }
    }
    const entry = this.#entries.get(name) ?? this.#ahead.get(name)
    const doubt = this.#doubts.get(name)
    if (entry === undefined && doubt !== undefined && !this.#isRead(doubt.at)) {
      // The lists may still lack the version because of which the key was forgotten.
      this.#doubts.set(name, { ...doubt, isReported: true })
      return
    }
    this.#doubts.delete(name)
    this.#entries.delete(name)
    this.#ahead.delete(name)
    const found = [...(entry?.key?.versions ?? [])].filter(([version]) => !versions.has(version))
    if (entry !== undefined && found.length > 0 && !this.#isRead(entry.at)) {
      for (const [version, key] of found) versions.set(version, key)
      this.#ahead.set(name, entry)
    }
    const key = toKnownKey(
      name,
      [...versions.values()].sort((a, b) => a.version - b.version),
    )
    if (key === undefined) this.#listed.delete(name)
    else {
      this.#listed.set(name, key)
      this.#tell(name, key)
    }
  }

  #tell(name: string, key: KnownKey): void {
    for (const listener of this.#listeners) listener(name, key)
  }

  #lookUp(name: string): Promise<KnownKey | undefined> {
    const known = this.#pending.get(name)
    if (known !== undefined) return known
    const lookUp = this.#ask(name).finally(() => this.#pending.delete(name))
    this.#pending.set(name, lookUp)
    return lookUp
  }

  async #ask(name: string): Promise<KnownKey | undefined> {
    const key = await this.#describe(name)
    if (this.#entries.size >= MAX_ENTRIES) this.#entries.clear()
    this.#entries.set(name, { key, at: this.#clock.monotonic() })
    if (key !== undefined) this.#tell(name, key)
    // A run may have reported the key during the lookup, without the newest version.
    if (this.#listed.has(name)) this.#combine(name)
    return key
  }

  async #describe(name: string): Promise<KnownKey | undefined> {
    try {
      const deadline = new Deadline(this.#clock, REFRESH_DEADLINE_MS)
      const listed = [...this.#lists.values()].flatMap((list) => [...list.versions(name).keys()])
      const search = [...new Set([...listed, ...this.#hints.flatMap((hint) => hint(name))])]
      const call = { call: 'describe', name, search } as const
      return toKnownKey(name, (await this.#fleet.call(call, deadline)) as readonly TokenKey[])
    } catch (error) {
      if (error instanceof BackendError && error.code === 'KEY_NOT_FOUND') return undefined
      throw error
    }
  }
}

function toKnownKey(name: string, versions: readonly TokenKey[]): KnownKey | undefined {
  const known = versions.map((one): KnownVersion => ({
    ...one,
    checkValue: Buffer.from(one.check, 'base64'),
    ref: Buffer.from(encodeRef(name, one.version), 'latin1'),
  }))
  const current = known.at(-1)
  return current && { current, versions: new Map(known.map((one) => [one.version, one])) }
}

function checkPresent(key: KnownKey | undefined): KnownKey {
  if (key === undefined) throw new BackendError('KEY_NOT_FOUND', 'there is no such key')
  return key
}

/**
 * Refuses a key that is known to be unusable, with the error that a lookup would throw.
 * @throws BackendError MISCONFIGURED, KEY_USAGE
 */
function checkNoProblem(key: KnownKey): KnownKey {
  for (const { problem } of key.versions.values()) {
    if (problem === undefined) continue
    throw problem.kind === 'AMBIGUOUS'
      ? new BackendError('MISCONFIGURED', problem.reason, { hint: 'delete or rename all but one' })
      : new BackendError('KEY_USAGE', problem.reason)
  }
  return key
}
