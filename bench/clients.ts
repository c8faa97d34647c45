/** Runs the client for each kind of connection, pinned to a different core than the servers. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import type { ConnectionKind, Transport } from './matrix.ts'
import type { LoadPlan } from './load.ts'
import { runLoad, startPinned } from './servers.ts'

export interface WidePlan extends LoadPlan {
  readonly host: string
  readonly transport: Transport
  readonly connectionKind: ConnectionKind
}

const CLIENT_CORE = '1'

/** Returns responses per second. @throws if a response's status was not 200 */
export async function runClient(plan: WidePlan): Promise<number> {
  const isUsual = plan.transport === 'h1' && plan.connectionKind === 'kept'
  if (isUsual && plan.host === '127.0.0.1') return runLoad(plan)
  const child = startPinned(CLIENT_CORE, 'load-wide', [])
  child.send(plan)
  const [message] = (await once(child, 'message')) as [{ rate?: number; error?: string }]
  if (message.rate === undefined) throw new Error(message.error ?? 'the client failed')
  return message.rate
}
