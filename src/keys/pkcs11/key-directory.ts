/** A cache of the keys on a fleet of tokens, refreshed in the background. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import { BackendError } from '../errors.ts'
import type { TokenKey } from './wire/calls.ts'
import type { TokenFleet } from './pool/fleet.ts'

export interface KnownVersion extends TokenKey {
  /** Key-check value as it is sent; empty if the token cannot compute one. */
  readonly checkValue: Buffer
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

/** Lifetime of a negative entry in milliseconds, so that a flood of wrong ids does not reach the token. */
const ABSENT_MS = 1000
const MAX_ENTRIES = 20_000
const REFRESH_DEADLINE_MS = 10_000

export class KeyDirectory {
  readonly #fleet: TokenFleet
  readonly #clock: Clock
  readonly #refreshMs: number
  readonly #entries = new Map<string, Entry>()
  readonly #pending = new Map<string, Promise<KnownKey | undefined>>()
  readonly #listeners: ((name: string, key: KnownKey) => void)[] = []

  constructor(fleet: TokenFleet, clock: Clock, refreshMs: number) {
    this.#fleet = fleet
    this.#clock = clock
    this.#refreshMs = refreshMs
  }

  /** @param name label or id on the token @throws BackendError KEY_NOT_FOUND and others */
  async find(name: string, deadline: Deadline): Promise<KnownKey> {
    const entry = this.#entries.get(name)
    const age = entry === undefined ? Infinity : this.#clock.monotonic() - entry.at
    let key = entry?.key
    if (entry === undefined || (key === undefined && age >= ABSENT_MS)) {
      key = await deadline.race(this.#lookUp(name))
    } else if (age >= this.#refreshMs && key !== undefined) {
      // The cached entry keeps serving meanwhile, even while the token does not respond.
      this.#lookUp(name).catch(() => undefined)
    }
    if (key === undefined) throw new BackendError('KEY_NOT_FOUND', 'there is no such key')
    return key
  }

  /** Calls `listener` for each key that was looked up. */
  onSeen(listener: (name: string, key: KnownKey) => void): void {
    this.#listeners.push(listener)
  }

  /** Makes a key be looked up again at its next use, unless what is known of it is still right. */
  reconsider(name: string, isRight: (key: KnownKey) => boolean): void {
    const key = this.#entries.get(name)?.key
    if (key === undefined || !isRight(key)) this.#entries.delete(name)
  }

  /** Marks every entry as stale, to be looked up at its next use. */
  forget(name?: string): void {
    if (name === undefined) this.#entries.clear()
    else this.#entries.delete(name)
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
    if (key !== undefined) for (const listener of this.#listeners) listener(name, key)
    return key
  }

  async #describe(name: string): Promise<KnownKey | undefined> {
    try {
      const deadline = new Deadline(this.#clock, REFRESH_DEADLINE_MS)
      const versions = (await this.#fleet.call({ call: 'describe', name }, deadline)) as TokenKey[]
      const known = versions.map((one): KnownVersion => ({
        ...one,
        checkValue: Buffer.from(one.check, 'base64'),
      }))
      const current = known.at(-1)
      return current && { current, versions: new Map(known.map((one) => [one.version, one])) }
    } catch (error) {
      if (error instanceof BackendError && error.code === 'KEY_NOT_FOUND') return undefined
      throw error
    }
  }
}
