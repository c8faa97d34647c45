/** Empties the processor's caches by repeatedly walking through 64 MiB of memory. */
// SPDX-License-Identifier: Apache-2.0
const BYTES = 64 * 1024 * 1024
const CACHE_LINE = 64
/**
 * Number of passes per event loop turn. Between turns, the process checks whether its parent has disconnected, and
 * exits if so.
 */
const PASSES = 4

const memory = new Uint8Array(BYTES)

function walk(): void {
  for (let pass = 0; pass < PASSES; pass++) {
    for (let at = 0; at < BYTES; at += CACHE_LINE) memory[at] = (memory[at] ?? 0) + 1
  }
  setImmediate(walk)
}

process.once('disconnect', () => process.exit(0))
process.send?.({ port: 0 })
walk()
