/** A neighbour that empties the processor's caches: it walks 64 MiB of memory, again and again. */
// SPDX-License-Identifier: Apache-2.0
const BYTES = 64 * 1024 * 1024
const CACHE_LINE = 64
/** Passes between two turns of the event loop, so that a disconnect ends the process. */
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
