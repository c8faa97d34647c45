/** Tries a server's hosts or addresses in order, without waiting long for one that does not respond. */
// SPDX-License-Identifier: Apache-2.0
import { StorageError } from '../database.ts'
import { sqlState, toStorageError } from './errors.ts'

/** Delay before the next host is tried in parallel with a slow one. */
const STAGGER_MS = 250

interface Attempt<T> {
  readonly name: string
  readonly attempt: () => Promise<T>
}

/**
 * Resolves to the first success. Each attempt starts once the previous one has failed or has not
 * responded within the stagger delay.
 * @param discard called with any success that arrives too late
 */
export function firstOf<T>(
  attempts: readonly Attempt<T>[],
  discard: (late: T) => void,
): Promise<T> {
  const [only] = attempts
  if (only !== undefined && attempts.length === 1) return only.attempt()
  return new Promise((resolve, reject) => {
    const failures: { readonly name: string; readonly error: StorageError }[] = []
    let next = 0
    let isSettled = false
    let timer: NodeJS.Timeout | undefined

    function begin(): void {
      clearTimeout(timer)
      const one = attempts[next]
      if (one === undefined || isSettled) return
      next += 1
      // The next attempt does not wait for this one to end. This delay is not a deadline; the
      // statement that needs the connection has one.
      timer = setTimeout(begin, STAGGER_MS)
      one.attempt().then(
        (value) => {
          if (isSettled) {
            discard(value)
            return
          }
          isSettled = true
          clearTimeout(timer)
          resolve(value)
        },
        (error: unknown) => {
          failures.push({ name: one.name, error: toStorageError(error) })
          if (failures.length === attempts.length) {
            clearTimeout(timer)
            reject(summarize(failures))
          } else begin()
        },
      )
    }
    begin()
    if (attempts.length === 0) {
      reject(
        new StorageError('STORE_UNREACHABLE', 'cannot connect to the store: no host is configured'),
      )
    }
  })
}

/**
 * Combines the failures into one error. An error that a server returned takes precedence over a
 * failed connection.
 */
function summarize(failures: readonly { readonly name: string; readonly error: StorageError }[]) {
  const said = failures.find(({ error }) => sqlState(error.cause) !== undefined) ?? failures[0]
  const { code, hint } = said?.error ?? { code: 'STORE_UNREACHABLE', hint: undefined }
  return new StorageError(
    code,
    `no usable server for the store: ${failures.map(({ name, error }) => `${name}: ${error.message}`).join('; ')}`,
    { cause: said?.error.cause, ...(hint === undefined ? {} : { hint }) },
  )
}
