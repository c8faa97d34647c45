/** Worker thread that ends the runner process if a mutant runs into an endless loop. */
// SPDX-License-Identifier: Apache-2.0
import { workerData } from 'node:worker_threads'

/** Index of the current mutant. */
const turn = new Int32Array(workerData as SharedArrayBuffer)
/** Limit in processor time, so that load from other processes does not count. Most mutants take a tenth of a second. */
const LIMIT_MS = 1500
/** Limit for the first run, which also loads the shared modules. */
const FIRST_LIMIT_MS = 10_000
const STEP_MS = 100

let mutant = -1
let limit = FIRST_LIMIT_MS
let since = 0

setInterval(() => {
  const { user, system } = process.cpuUsage()
  const used = (user + system) / 1000
  if (turn[0] !== mutant) {
    limit = mutant === -1 ? FIRST_LIMIT_MS : LIMIT_MS
    mutant = turn[0] ?? 0
    since = used
  } else if (used - since > limit) {
    process.kill(process.pid, 'SIGKILL')
  }
}, STEP_MS)
