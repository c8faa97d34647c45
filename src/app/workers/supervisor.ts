/**
 * Keeps the configured number of worker processes running while the primary lives: a worker that
 * exits is restarted.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import type { StorageError } from '../../store/database.ts'
import { type CallName, type PackedFault, toFault, unpackFault } from './messages.ts'
import { forkWorker, type WorkerEnd, type WorkerProcess } from './worker-process.ts'

/** Restart delays in milliseconds: the delay doubles with each consecutive failure. */
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000
/**
 * Timeout in milliseconds after which a worker with a blocked event loop is left out of the
 * metrics.
 */
const ASK_WITHIN_MS = 2000
/** Lifetime in milliseconds after which a worker counts as started successfully. */
const STEADY_MS = 30_000

export interface SupervisorDeps {
  readonly count: number
  readonly clock: Clock
  /** Returns the input with which to start worker number 1, 2, …. */
  readonly toStart: (number: number) => unknown
  /** Receives blocks of whole lines that a worker logged. */
  readonly onLines: (block: Buffer) => void
  readonly onStarted: (worker: { readonly number: number; readonly pid: number }) => void
  readonly onEnded: (worker: {
    readonly number: number
    readonly end: WorkerEnd
    readonly pauseMs: number
  }) => void
  readonly onFailedStart: (number: number, error: unknown) => void
  /** Timeout in milliseconds after which a worker that was asked to stop is killed. */
  readonly stopWithinMs: number
}

export interface Supervisor {
  /**
   * Resolves to the first worker's response once all workers have started. Until then, /ping does
   * not return 200 on any of them. If a worker fails to start, no worker is left running.
   * @throws the error of the failed worker
   */
  start(): Promise<unknown>
  /**
   * Returns the responses of all running workers.
   * @throws the first error, after all have responded
   */
  callAll(name: CallName, input?: unknown): Promise<readonly unknown[]>
  /**
   * Returns the responses of workers that respond quickly, for callers that do not need every
   * response.
   */
  askAll(name: CallName): Promise<readonly unknown[]>
  /**
   * Fault that a worker has found in the store; undefined once no worker finds any. After a worker
   * exits, its fault counts until another process with its number has opened the store.
   */
  readonly fault: StorageError | undefined
  passOn(signal: NodeJS.Signals): void
  /** Resolves when all workers have exited. */
  stop(): Promise<void>
  /** Kills all workers immediately. Call when this process exits. */
  kill(): void
}

interface Slot {
  readonly number: number
  process: WorkerProcess | undefined
  failures: number
  /** Exit code or signal of the last process with this number. */
  end: WorkerEnd
  fault: PackedFault | undefined
  timer: NodeJS.Timeout | undefined
}

export function createSupervisor(deps: SupervisorDeps): Supervisor {
  const slots: readonly Slot[] = Array.from({ length: deps.count }, (_, i) => ({
    number: i + 1,
    process: undefined,
    failures: 0,
    end: {},
    fault: undefined,
    timer: undefined,
  }))
  let state: 'starting' | 'running' | 'stopping' = 'starting'

  async function launch(slot: Slot): Promise<unknown> {
    const startedAt = deps.clock.monotonic()
    let found: PackedFault | undefined
    let hasOpened = false
    const process = forkWorker({
      onLines: deps.onLines,
      onFault(fault) {
        found = fault
        if (hasOpened || fault !== undefined) slot.fault = fault
      },
    })
    slot.process = process
    void process.ended.then((end) => {
      slot.process = undefined
      slot.end = end
      if (deps.clock.monotonic() - startedAt > STEADY_MS) slot.failures = 0
      if (state === 'running') restart(slot)
    })
    const facts = await process.call('start', deps.toStart(slot.number))
    hasOpened = true
    slot.fault = found
    return facts
  }

  function restart(slot: Slot): void {
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** slot.failures)
    slot.failures += 1
    deps.onEnded({ number: slot.number, end: slot.end, pauseMs })
    // The delay depends on the number of failures, and stopping cancels it.
    slot.timer = setTimeout(() => {
      void relaunch(slot)
    }, pauseMs)
  }

  async function relaunch(slot: Slot): Promise<void> {
    try {
      await launch(slot)
      await slot.process?.call('serve')
      const pid = slot.process?.pid
      if (pid !== undefined) deps.onStarted({ number: slot.number, pid })
    } catch (error) {
      slot.fault = toFault(error) ?? slot.fault
      // The process exits on its own, and is restarted after a longer delay than before.
      if (state === 'running') deps.onFailedStart(slot.number, error)
    }
  }

  async function callAll(name: CallName, input?: unknown): Promise<readonly unknown[]> {
    const calls = slots.flatMap(({ process }) => (process === undefined ? [] : [process]))
    const outcomes = await Promise.allSettled(calls.map((process) => process.call(name, input)))
    return outcomes.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason
      return outcome.value
    })
  }

  async function askAll(name: CallName): Promise<readonly unknown[]> {
    const deadline = new Deadline(deps.clock, ASK_WITHIN_MS)
    const calls = slots.flatMap(({ process }) => (process === undefined ? [] : [process]))
    const outcomes = await Promise.allSettled(
      calls.map((process) => deadline.race(process.call(name))),
    )
    return outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  }

  async function stop(): Promise<void> {
    state = 'stopping'
    await Promise.all(
      slots.map(async ({ process, timer }) => {
        clearTimeout(timer)
        if (process === undefined) return
        process.call('stop').catch(() => undefined)
        // The timer is cleared as soon as the worker exits.
        const impatience = setTimeout(process.kill, deps.stopWithinMs)
        await process.ended
        clearTimeout(impatience)
      }),
    )
  }

  return {
    async start() {
      const [first, ...others] = slots
      if (first === undefined) throw new RangeError('there is no worker to start')
      try {
        // The first worker starts alone: it migrates the store, and reports any error before the
        // other workers start.
        const facts = await launch(first)
        await Promise.all(others.map(launch))
        await callAll('serve')
        state = 'running'
        for (const slot of slots) if (slot.process === undefined) restart(slot)
        return facts
      } catch (error) {
        await stop()
        throw error
      }
    },
    callAll,
    askAll,
    get fault() {
      const found = slots.find(({ fault }) => fault !== undefined)?.fault
      return found && unpackFault(found)
    },
    passOn(signal) {
      for (const { process } of slots) process?.passOn(signal)
    },
    stop,
    kill() {
      state = 'stopping'
      for (const { process } of slots) process?.kill()
    },
  }
}
