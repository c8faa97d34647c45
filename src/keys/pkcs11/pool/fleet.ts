/**
 * Spreads the load over several tokens with the same keys, and skips a failing token within the
 * deadline.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Deadline } from '../../../core/deadline.ts'
import { BackendError, type BackendErrorCode } from '../../errors.ts'
import type { ManagerHealth } from '../../key-backend.ts'
import type { Call } from '../wire/calls.ts'
import type { Answer } from './worker-process.ts'
import type { TokenStats } from './options.ts'
import type { TokenPool } from './pool.ts'

export interface FleetMember {
  /** Name of the token in health reports and metrics, in printable ASCII. */
  readonly id: string
  readonly pool: TokenPool
}

/**
 * Counts the hedged operations of a token: those also sent to another token because this one was
 * slow.
 */
export interface HedgeCounts {
  /** Number of hedged operations to which this token still responded first. */
  readonly first: number
  /** Number of hedged operations to which another token responded first. */
  readonly other: number
  /** Number of hedged operations for which no token returned a result. */
  readonly none: number
}

type Winner = keyof HedgeCounts

export type FleetStats = TokenStats & { readonly hedges: HedgeCounts }

/** Errors after which another token is tried. Errors about the key or the ciphertext do not depend on the token. */
const TRY_ELSEWHERE: ReadonlySet<BackendErrorCode> = new Set([
  'BUSY',
  'TIMEOUT',
  'UNAVAILABLE',
  // The key may not have been replicated to this token yet.
  'KEY_NOT_FOUND',
  // Another token may still have the right key.
  'KEY_REPLACED',
])

export class TokenFleet {
  readonly #members: readonly FleetMember[]
  readonly #hedgeMs: number | undefined
  /** Counts of hedged operations, keyed by the token that was slow. */
  readonly #hedges = new Map<TokenPool, Record<Winner, number>>()
  #turn = 0

  /**
   * @param hedgeMs time in milliseconds after which a slow operation is also sent to the next
   * token; undefined to disable hedging
   */
  constructor(members: readonly FleetMember[], hedgeMs?: number) {
    this.#members = members
    this.#hedgeMs = hedgeMs
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
    const work = (pool: TokenPool, attemptMs: number) =>
      pool.send(kind, flags, parts, deadline, attemptMs)
    return this.#hedgeMs === undefined
      ? this.#tryEach(work, deadline)
      : this.#hedge(work, deadline, this.#hedgeMs)
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

  stats(): readonly FleetStats[] {
    return this.#members.map(({ id, pool }) => ({
      ...pool.stats(id),
      hedges: this.#hedgesOf(pool),
    }))
  }

  #hedgesOf(pool: TokenPool): Record<Winner, number> {
    const known = this.#hedges.get(pool)
    if (known !== undefined) return known
    const none = { first: 0, other: 0, none: 0 }
    this.#hedges.set(pool, none)
    return none
  }

  stop(): void {
    for (const { pool } of this.#members) pool.stop()
  }

  /**
   * Tries the least loaded token first. Each token except the last gets only a share of the
   * remaining time, so that some time is left for the next token.
   */
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
        if (!mayTryElsewhere(error, deadline)) break
      }
    }
    throw failure
  }

  /**
   * Tries the next token as soon as one fails or is slow, and uses the first result. The slower
   * attempt ends within its deadline, and its result is discarded: a decryption has no effect, and
   * a ciphertext that no caller receives only adds one use of the key.
   */
  #hedge<T>(
    work: (pool: TokenPool, attemptMs: number) => Promise<T>,
    deadline: Deadline,
    hedgeMs: number,
  ): Promise<T> {
    const waiting = [...this.#inOrder()]
    const [first] = waiting
    let open = 0
    let timer: NodeJS.Timeout | undefined
    /** True if a token was tried because the first one was slow, not because it failed. */
    let isHedged = false
    return new Promise((resolve, reject) => {
      const count = (winner: Winner) => {
        if (isHedged && first !== undefined) this.#hedgesOf(first)[winner] += 1
        isHedged = false
      }
      const hedge = () => {
        isHedged = true
        tryNext()
      }
      const tryNext = () => {
        clearTimeout(timer)
        const pool = waiting.shift()
        if (pool === undefined) return
        open += 1
        // This timer is not a deadline: it starts a second attempt in parallel.
        if (waiting.length > 0) timer = setTimeout(hedge, hedgeMs)
        work(pool, Infinity).then(
          (answer) => {
            waiting.length = 0
            clearTimeout(timer)
            count(pool === first ? 'first' : 'other')
            resolve(answer)
          },
          (error: unknown) => {
            open -= 1
            if (!mayTryElsewhere(error, deadline)) waiting.length = 0
            else if (waiting.length > 0 || open > 0) {
              tryNext()
              return
            }
            clearTimeout(timer)
            count('none')
            reject(
              error instanceof Error
                ? error
                : new Error('the operation failed with a value that is not an Error', {
                    cause: error,
                  }),
            )
          },
        )
      }
      tryNext()
    })
  }

  /**
   * Returns the working tokens. If none works, returns all tokens, so that the caller gets an error
   * from one of them.
   */
  #inOrder(): readonly TokenPool[] {
    const pools = this.#members.map(({ pool }) => pool)
    const usable = pools.filter(({ isUsable }) => isUsable)
    const some = usable.length === 0 ? pools : usable
    this.#turn = (this.#turn + 1) % some.length
    const turned = [...some.slice(this.#turn), ...some.slice(0, this.#turn)]
    return turned.sort((a, b) => a.load - b.load)
  }
}

function mayTryElsewhere(error: unknown, deadline: Deadline): boolean {
  const isOfToken = error instanceof BackendError && TRY_ELSEWHERE.has(error.code)
  return isOfToken && deadline.remainingMs > 0
}
