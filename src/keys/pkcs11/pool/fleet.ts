/** Several tokens with the same keys: spreads the load and skips a failing token within the deadline. */
// SPDX-License-Identifier: Apache-2.0
import type { Deadline } from '../../../core/deadline.ts'
import { BackendError, type BackendErrorCode } from '../../errors.ts'
import type { ManagerHealth } from '../../key-backend.ts'
import type { Call } from '../wire/calls.ts'
import type { Answer } from './worker-process.ts'
import type { TokenPool, TokenStats } from './pool.ts'

export interface FleetMember {
  /** Name of the token in health and metrics, printable ASCII. */
  readonly id: string
  readonly pool: TokenPool
}

/** Errors after which another token is tried. Errors about the key or the ciphertext do not depend on the token. */
const TRY_ELSEWHERE: ReadonlySet<BackendErrorCode> = new Set([
  'BUSY',
  'TIMEOUT',
  'UNAVAILABLE',
  // The key may not have been replicated to this token yet.
  'KEY_NOT_FOUND',
  // Another token may still have the right one.
  'KEY_REPLACED',
])

export class TokenFleet {
  readonly #members: readonly FleetMember[]
  #turn = 0

  constructor(members: readonly FleetMember[]) {
    this.#members = members
  }

  /** The only token; undefined if there are several. */
  get single(): TokenPool | undefined {
    const [first, second] = this.#members
    return second === undefined ? first?.pool : undefined
  }

  /** @throws BackendError */
  send(kind: number, flags: number, parts: readonly Buffer[], deadline: Deadline): Promise<Answer> {
    const { single } = this
    if (single !== undefined) return single.send(kind, flags, parts, deadline)
    return this.#tryEach(
      (pool, attemptMs) => pool.send(kind, flags, parts, deadline, attemptMs),
      deadline,
    )
  }

  call(call: Call, deadline: Deadline): Promise<unknown> {
    return this.#tryEach((pool) => pool.call(call, deadline), deadline)
  }

  health(deadline: Deadline): Promise<readonly ManagerHealth[]> {
    return Promise.all(
      this.#members.map(async ({ id, pool }) => {
        const status = await pool.health(deadline)
        const { metadata: facts } = pool
        const model = facts === undefined ? 'unknown' : `${facts.manufacturer} ${facts.model}`
        return { id, model: `${model} ${facts?.firmware ?? ''}`.trim(), status }
      }),
    )
  }

  /** Calls `work` for each token, with its name. */
  each<T>(work: (pool: TokenPool, id: string) => T): readonly T[] {
    return this.#members.map(({ pool, id }) => work(pool, id))
  }

  stats(): readonly TokenStats[] {
    return this.#members.map(({ id, pool }) => pool.stats(id))
  }

  stop(): void {
    for (const { pool } of this.#members) pool.stop()
  }

  /** Tries the least loaded token first. Each but the last gets a share of the time, to leave some for the next. */
  async #tryEach<T>(
    work: (pool: TokenPool, attemptMs: number) => Promise<T>,
    deadline: Deadline,
  ): Promise<T> {
    const pools = this.#inOrder()
    let failure: unknown
    for (const [i, pool] of pools.entries()) {
      try {
        const left = pools.length - i
        return await work(pool, left === 1 ? Infinity : deadline.remainingMs / left)
      } catch (error) {
        failure = error
        const mayGoOn = error instanceof BackendError && TRY_ELSEWHERE.has(error.code)
        if (!mayGoOn || deadline.remainingMs <= 0) break
      }
    }
    throw failure
  }

  /** Returns the working tokens, or all of them if none works, so that their own error is reported. */
  #inOrder(): readonly TokenPool[] {
    const pools = this.#members.map(({ pool }) => pool)
    const usable = pools.filter(({ isUsable }) => isUsable)
    const some = usable.length === 0 ? pools : usable
    this.#turn = (this.#turn + 1) % some.length
    const turned = [...some.slice(this.#turn), ...some.slice(0, this.#turn)]
    return turned.sort((a, b) => a.load - b.load)
  }
}
