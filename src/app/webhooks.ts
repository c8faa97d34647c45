/** Connects the webhooks of a serving process to its store and its gate. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Gate } from '../killswitch/gate/gate.ts'
import type { GateErrorCode } from '../killswitch/model.ts'
import { DRILL_KEY } from '../killswitch/operator/drill.ts'
import { post } from '../observability/webhooks/post.ts'
import { createReceiver } from '../observability/webhooks/receiver.ts'
import { createWebhooks, type Webhooks } from '../observability/webhooks/webhooks.ts'
import type { Store } from '../store/store.ts'

/**
 * Refusals that webhooks do not report: a kill of everything has its own event, and a shutdown is
 * intended.
 */
const DELIBERATE: ReadonlySet<GateErrorCode> = new Set(['KILLED_ALL', 'STOPPED'])

export interface ServerWebhooks extends Pick<Webhooks, 'onChange' | 'stats'> {
  /** Call once the gate has its first lease, or has failed to get it. */
  start(gate: Pick<Gate, 'stats'>): void
}

/**
 * Creates the webhooks; of several workers, only the first has any. `cleanup` stops them.
 * @throws WebhookError
 */
export async function createServerWebhooks(
  deps: {
    readonly config: Config
    readonly store: Store
    readonly logger: Logger
    readonly instanceId: string
    readonly worker?: { readonly number: number }
  },
  cleanup: Cleanup,
): Promise<ServerWebhooks> {
  const { config, store, logger, instanceId, worker } = deps
  const isFirst = (worker?.number ?? 1) === 1
  const configs = isFirst ? config.webhooks : []
  const about = { configs, store, clock, logger, instanceId, drillKey: DRILL_KEY }
  const webhooks = await createWebhooks(about)
  cleanup.add(webhooks.stop)
  return {
    onChange: webhooks.onChange,
    stats: webhooks.stats,
    start(gate) {
      webhooks.start(() => {
        const { reason } = gate.stats()
        return reason === undefined || DELIBERATE.has(reason) ? undefined : reason
      })
    },
  }
}

export interface WebhookTest {
  readonly name: string
  readonly kind: string
  readonly delivered: boolean
  readonly reason?: string
}

/** Sends one message of the type `test` to each webhook, or to the named one. @throws WebhookError */
export async function testWebhooks(
  { webhooks }: Config,
  { id, operator }: { readonly id: string; readonly operator: string },
): Promise<readonly WebhookTest[]> {
  return Promise.all(
    webhooks.map(async (config) => {
      const receiver = await createReceiver(config)
      const now = clock.now()
      const { name, timeoutMs } = config
      const title = 'A test of this webhook; nothing happened'
      const about = {
        id,
        event: 'drill',
        kind: 'test',
        at: now,
        title,
        data: { operator },
      } as const
      const outcome = await receiver.toRequest(about, now).then(
        (request) => post(request, AbortSignal.timeout(timeoutMs)),
        (error: unknown) => ({ result: 'failed' as const, reason: String(error) }),
      )
      const done = { name, kind: receiver.kind, delivered: outcome.result === 'delivered' }
      return outcome.result === 'delivered' ? done : { ...done, reason: outcome.reason }
    }),
  )
}
