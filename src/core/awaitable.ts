/** Values that may be there already: whoever needs them at once pays for no promise then. */
// SPDX-License-Identifier: Apache-2.0

export type Awaitable<T> = T | Promise<T>

/** `next` of the value: at once when it is there, else once it is. What `next` throws is thrown, or rejects. */
export function whenThere<T, U>(
  value: Awaitable<T>,
  next: (value: T) => Awaitable<U>,
): Awaitable<U> {
  return value instanceof Promise ? value.then(next) : next(value)
}
