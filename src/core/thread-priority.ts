/**
 * Lowers the scheduling priority of threads that no request waits for. Otherwise, on a core that they
 * share, a request waits up to 4 ms until such a thread's time slice ends. Works on Linux only, where
 * each thread has its own nice value, and lowering it needs no privilege.
 */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'

/**
 * Added to a thread's nice value. On a busy core, such a thread then gets a quarter of the time. It
 * must not be much less: until V8 has compiled hot functions, requests take longer, and a slow
 * audit finds tampering later.
 */
const STEP = 5
const LOWEST = 19
/** The name of V8's threads on releases of Node.js that name them, such as Node.js 24. */
const COMPILER_NAME = 'V8Worker'
const TASKS = '/proc/self/task'

/** Lowers the priority of the calling thread and of threads that it starts later. Never throws. */
export function lowerOwnPriority(): void {
  // Elsewhere, this would lower the priority of the whole process.
  if (process.platform === 'linux') lower(0)
}

/**
 * Lowers the priority of V8's own threads in this process, unless they also collect garbage, which
 * requests wait for. Does nothing on releases of Node.js that do not name them. Never throws.
 */
export function lowerCompilerPriority(): void {
  if (!process.execArgv.includes('--single-threaded-gc')) return
  for (const thread of findThreads()) if (isCompiler(thread)) lower(thread)
}

/** @param thread id of a thread; 0 for the calling thread */
function lower(thread: number): void {
  try {
    // The whole process may run with a low priority already.
    setPriority(thread, Math.min(LOWEST, getPriority(thread) + STEP))
  } catch {
    // The thread has ended, or the sandbox forbids the call. Both only cost time.
  }
}

function findThreads(): readonly number[] {
  try {
    return readdirSync(TASKS).map(Number)
  } catch {
    // There is no /proc here.
    return []
  }
}

function isCompiler(thread: number): boolean {
  try {
    return readFileSync(`${TASKS}/${String(thread)}/comm`, 'utf8').trim() === COMPILER_NAME
  } catch {
    // The thread has just ended.
    return false
  }
}
