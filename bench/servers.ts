/** Starts a server and a client as separate processes, each pinned to its own core. */
// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { SERVING_FLAGS } from '../src/app/workers/worker-process.ts'
import type { Pause } from './latchkey-server.ts'
import type { OpenPlan, PhaseResult } from './load-open.ts'
import type { LoadPlan } from './load.ts'
import type { LoopPlan } from './token-loop.ts'

export const SERVER_CORE = '0'
export const CLIENT_CORE = '1'

export function startPinned(
  core: string,
  script: string,
  operands: readonly string[],
  flags: readonly string[] = [],
): ChildProcess {
  const file = fileURLToPath(new URL(`./${script}.js`, import.meta.url))
  return spawn('taskset', ['-c', core, process.execPath, ...flags, file, ...operands], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
}

export interface RunningProcess {
  readonly pid: number
  readonly port: number
  /**
   * Returns the processor time of all threads in milliseconds. Linux counts processor time in steps of ten
   * milliseconds.
   */
  cpuMs(): number
  /** Returns the event loop's longest pause since the last call. Available only for the proxy. */
  takePause(): Promise<Pause>
  stop(): Promise<void>
}

/** @param script name of a script in this folder that sends its port once it is listening, and exits on disconnect */
export async function startServerProcess(
  script: string,
  operands: readonly string[],
  core = SERVER_CORE,
  flags: readonly string[] = [],
): Promise<RunningProcess> {
  const child = startPinned(core, script, operands, flags)
  const [message] = (await once(child, 'message')) as [{ port: number }]
  return {
    pid: child.pid ?? 0,
    port: message.port,
    cpuMs: () => readCpuMs(child.pid ?? 0),
    async takePause() {
      const answered = once(child, 'message')
      child.send('pause')
      const [pause] = (await answered) as [Pause]
      return pause
    },
    async stop() {
      const ended = once(child, 'exit')
      child.disconnect()
      await ended
    },
  }
}

/** Starts the proxy with the Node.js flags used in the image. */
export function startLatchkey(
  operands: readonly string[],
  core = SERVER_CORE,
): Promise<RunningProcess> {
  return startServerProcess('latchkey-server', operands, core, SERVING_FLAGS)
}

const MS_PER_TICK = 10

/**
 * Reads utime and stime (see proc(5)). Fields are counted from the end of the process name, which may contain any
 * character.
 */
export function readCpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
  const [utime, stime] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
  return (Number(utime) + Number(stime)) * MS_PER_TICK
}

/** Returns responses per second. @throws if a response's status was not 200 */
export function runLoad(plan: LoadPlan): Promise<number> {
  return runPlan('load', plan, plan.core ?? CLIENT_CORE)
}

/**
 * Runs an open loop and returns the result of each phase.
 * @param core the client's core, as passed to taskset
 * @throws if the client fails
 */
export async function runOpen(plan: OpenPlan, core = CLIENT_CORE): Promise<readonly PhaseResult[]> {
  const child = startPinned(core, 'load-open', [])
  child.send(plan)
  const [{ results, error }] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => [{ error: 'load-open ended' }]),
  ])) as [{ results?: readonly PhaseResult[]; error?: string }]
  if (results === undefined) throw new Error(error ?? 'the client failed')
  return results
}

/** Returns exchanges per second. */
export function runTokenLoop(plan: LoopPlan, core: string): Promise<number> {
  return runPlan('token-loop', plan, core)
}

async function runPlan(script: string, plan: LoadPlan | LoopPlan, core: string): Promise<number> {
  const child = startPinned(core, script, [])
  child.send(plan)
  const [message] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => [{ error: `${script} ended` }]),
  ])) as [{ rate?: number; error?: string }]
  if (message.rate === undefined) throw new Error(message.error ?? 'the client failed')
  return message.rate
}
