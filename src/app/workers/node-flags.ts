/** How the process that serves is to be run by Node.js. Read once, when a process starts. */
// SPDX-License-Identifier: Apache-2.0

/**
 * One thread collects garbage, as each worker has one core: the helpers that V8 starts otherwise cost a
 * core that is busy a tenth of its work (docs/performance.md). Young objects get room for longer, since
 * nearly all of a request is garbage when its answer is out.
 */
export const SERVING_FLAGS = [
  '--single-threaded-gc',
  '--min-semi-space-size=16',
  '--max-semi-space-size=32',
] as const
