// Work that is done a few pieces at a time, begun in the order in which it was asked for.
// SPDX-License-Identifier: Apache-2.0

/**
 * @param {number} width how many run at one time
 * @returns {<T>(work: () => Promise<T>) => Promise<T>}
 */
export function createPool(width) {
  const waiting = []
  let free = width
  const next = () => {
    while (free > 0 && waiting.length > 0) {
      free -= 1
      waiting.shift()()
    }
  }
  return async (work) => {
    await new Promise((begin) => {
      waiting.push(begin)
      next()
    })
    try {
      return await work()
    } finally {
      free += 1
      next()
    }
  }
}
