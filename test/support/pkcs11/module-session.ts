/**
 * Runs a PKCS#11 module in a process that a test controls step by step, to create tokens and keys and to examine
 * modules. It uses none of Latchkey's code.
 */
// SPDX-License-Identifier: Apache-2.0
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { ModuleAddress, Reply, Request, Step, StepResults } from './module-steps.ts'

/** A PKCS#11 return value other than CKR_OK. */
export class CkrError extends Error {
  override readonly name = 'CkrError'
  readonly rv: number

  constructor(step: string, rv: number) {
    super(`${step}: 0x${rv.toString(16)}`)
    this.rv = rv
  }
}

export interface ModuleSession {
  readonly pid: number
  /** @throws CkrError, or an Error that names the signal if the process died */
  step<Name extends Step['step']>(
    step: Extract<Step, { readonly step: Name }>,
  ): Promise<StepResults[Name]>
  /** Returns the return value of a step that must fail. @throws if the step succeeds */
  rvOf(step: Step): Promise<number>
  close(): Promise<void>
}

/** Starts a process. If it is still running when the test ends, it is killed. */
export function openModule(t: Test, address: ModuleAddress): ModuleSession {
  const child = fork(fileURLToPath(new URL('./module-steps.js', import.meta.url)), [], {
    env: { PATH: process.env['PATH'] ?? '', ...address.environment },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    serialization: 'advanced',
  })
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  const gone = once(child, 'exit')
  let last: Promise<unknown> = Promise.resolve()
  const call = async (request: Request): Promise<unknown> => {
    const answered = once(child, 'message')
    child.send(request)
    const first = await Promise.race([answered, gone.then(() => undefined)])
    if (first === undefined) throw new Error(`${String(child.signalCode)} ${stderr}`)
    const reply = first[0] as Reply
    if ('rv' in reply) throw new CkrError(request.step, reply.rv)
    if ('error' in reply) throw new Error(`${request.step}: ${reply.error}`)
    return reply.value
  }
  /** Calls run one at a time, because the process answers them in order. */
  const inTurn = (request: Request) => {
    const result = last.then(() => call(request))
    last = result.catch(() => undefined)
    return result
  }
  const loaded = inTurn({ step: 'load', address })
  loaded.catch(() => undefined)
  const session: ModuleSession = {
    pid: child.pid ?? 0,
    async step(step) {
      await loaded
      return (await inTurn(step)) as never
    },
    async rvOf(step) {
      try {
        await session.step(step)
      } catch (error) {
        if (error instanceof CkrError) return error.rv
        throw error
      }
      throw new Error(`${step.step} succeeded`)
    },
    async close() {
      child.kill('SIGKILL')
      await gone
    },
  }
  t.teardown(() => session.close())
  return session
}
