/** Background work that repeats for the lifetime of a process. */
// SPDX-License-Identifier: Apache-2.0

/** Calls `run` after `delayMs`, unless the returned function is called first. */
export type Schedule = (run: () => void, delayMs: number) => () => void

export interface PeriodicOptions {
  /**
   * Milliseconds between the end of one run and the start of the next, so that runs never overlap.
   */
  readonly intervalMs: number
  readonly work: () => void | Promise<void>
  /** Called when a run fails; the next run still takes place. Must not throw. */
  readonly onError: (error: unknown) => void
  /** For tests (default: a timer that does not keep the process alive). */
  readonly schedule?: Schedule
}

export interface Periodic {
  /** Runs the work once more, after any run in progress. Never rejects. */
  readonly runNow: () => Promise<void>
  /** Resolves when the run in progress has ended. No run starts after the call. */
  readonly stop: () => Promise<void>
}

const scheduleTimer: Schedule = (run, delayMs) => {
  const timer = setTimeout(run, delayMs)
  timer.unref()
  return () => {
    clearTimeout(timer)
  }
}

/** Starts the first run after `intervalMs`. Call `runNow` to start with one immediately. */
export function periodic(options: PeriodicOptions): Periodic {
  const { work, onError, schedule = scheduleTimer } = options
  let isStopped = false
  let running: Promise<void> = Promise.resolve()

  async function runOnce(): Promise<void> {
    if (isStopped) return
    try {
      await work()
    } catch (error) {
      onError(error)
    }
  }

  function runNow(): Promise<void> {
    running = running.then(runOnce)
    return running
  }

  const scheduleNext = () =>
    schedule(() => {
      void runNow().then(() => {
        if (!isStopped) cancel = scheduleNext()
      })
    }, options.intervalMs)
  let cancel = scheduleNext()

  return {
    runNow,
    stop() {
      isStopped = true
      cancel()
      return running
    },
  }
}
