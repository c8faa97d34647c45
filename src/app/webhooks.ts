/** Connects the webhooks of a serving process to its store and its gate. */
// SPDX-License-Identifier: Apache-2.0
import type { Config, WebhookConfig } from '../config/config.ts'
import { loadProxy } from '../config/load.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Gate } from '../killswitch/gate/gate.ts'
import type { GateErrorCode } from '../killswitch/model.ts'
import { DRILL_KEY } from '../killswitch/operator/drill.ts'
import { createReceiver, deliver } from '../observability/webhooks/receiver.ts'
import { createWebhooks, type Webhooks } from '../observability/webhooks/webhooks.ts'
import type { Store } from '../store/store.ts'

/**
 * Refusals that webhooks do not report: a kill of every key has its own event, and a shutdown is
 * intended.
 */
const DELIBERATE: ReadonlySet<GateErrorCode> = new Set(['KILLED_ALL', 'STOPPED'])

export interface ServerWebhooks extends Pick<Webhooks, 'onChange' | 'stats' | 'apply'> {
  /** Call once the gate has its first lease, or has failed to get it. */
  start(gate: Pick<Gate, 'stats'>): void
}

/**
 * Creates the webhooks. With several workers, only the first one has webhooks. `cleanup` stops
 * them.
 * @throws WebhookError or ProxyError
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
  const proxy = isFirst ? loadProxy() : undefined
  const about = { configs, store, clock, logger, instanceId, drillKey: DRILL_KEY, proxy }
  const webhooks = await createWebhooks(about)
  cleanup.add(webhooks.stop)
  return {
    onChange: webhooks.onChange,
    stats: webhooks.stats,
    apply: (next) => webhooks.apply(isFirst ? next : []),
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

/**
 * Checks the settings of a webhook without sending anything.
 * @throws WebhookError or ProxyError
 */
export async function checkWebhook(config: WebhookConfig): Promise<void> {
  await createReceiver(config, loadProxy())
}

/**
 * Sends one message of type `test` to each webhook, or to the named one.
 * @throws WebhookError or ProxyError
 */
export async function testWebhooks(
  { webhooks }: Config,
  { id, operator }: { readonly id: string; readonly operator: string },
): Promise<readonly WebhookTest[]> {
  return Promise.all(
    webhooks.map(async (config) => {
      const receiver = await createReceiver(config, loadProxy())
      const now = clock.now()
      const { name, timeoutMs } = config
      const title = 'Webhook test; nothing was stopped or restored'
      const about = {
        id,
        event: 'drill',
        kind: 'test',
        at: now,
        title,
        data: { operator },
      } as const
      const outcome = await deliver(receiver, about, {
        now,
        signal: AbortSignal.timeout(timeoutMs),
      })
      const done = { name, kind: receiver.kind, delivered: outcome.result === 'delivered' }
      return outcome.result === 'delivered' ? done : { ...done, reason: outcome.reason }
    }),
  )
}
