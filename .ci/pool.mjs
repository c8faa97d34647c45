// Runs a limited number of tasks concurrently, starting them in the order in which they were added.
// SPDX-License-Identifier: Apache-2.0

/**
 * @param {number} width the maximum number of concurrent tasks
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
