/** The webhooks of a serving process, and the watch on refusals of this instance. */
// SPDX-License-Identifier: Apache-2.0
import { hostname } from 'node:os'
import type { WebhookConfig } from '../../config/config.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import { type Periodic, periodic } from '../../core/periodic.ts'
import type { Store } from '../../store/store.ts'
import { type ChannelStats, createChannel } from './channel.ts'
import type { Notification } from './event.ts'
import { createReceiver } from './receiver.ts'

export interface Webhooks {
  /** Call after each change of the store. Returns at once. */
  onChange(): void
  /**
   * @param refusal why everything is refused now; undefined while this instance serves, and for a
   * deliberate refusal
   */
  start(refusal: () => string | undefined): void
  stats(): readonly ChannelStats[]
  /** Waits briefly for messages in flight. */
  stop(): Promise<void>
}

export interface WebhookDeps {
  readonly configs: readonly WebhookConfig[]
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  /** Unique for each `serve`. */
  readonly instanceId: string
  readonly drillKey: string
}

/** Interval at which to check for events of other processes, due retries and expired claims. */
const LOOK_MS = 2000
const REFUSAL_LOOK_MS = 500
/** A shorter refusal is not reported, such as one during a database failover. */
const STEADY_MS = 3000
/** Time for messages in flight to finish when the process stops. */
const STOP_MS = 1000

/** @throws WebhookError */
export async function createWebhooks(deps: WebhookDeps): Promise<Webhooks> {
  const { clock, instanceId } = deps
  const stopping = new AbortController()
  const channels = await Promise.all(
    deps.configs.map(async (config) =>
      createChannel({
        ...{ config, store: deps.store, clock, logger: deps.logger, owner: instanceId },
        ...{ drillKey: deps.drillKey, receiver: await createReceiver(config) },
        stopping: stopping.signal,
      }),
    ),
  )
  const loops = channels.map((channel) =>
    periodic({ intervalMs: LOOK_MS, work: channel.run, onError: () => undefined }),
  )
  const onChange = () => {
    for (const loop of loops) void loop.runNow()
  }
  const onTold = (notification: Notification) => {
    for (const channel of channels) channel.push(notification)
    onChange()
  }
  let refusals: Periodic | undefined
  return {
    onChange,
    start(refusal) {
      onChange()
      if (channels.length === 0) return
      const work = watchRefusal({ clock, instanceId, refusal, onTold })
      refusals = periodic({ intervalMs: REFUSAL_LOOK_MS, work, onError: () => undefined })
    },
    stats: () => channels.map((channel) => channel.stats()),
    async stop() {
      const abort = () => {
        stopping.abort()
      }
      AbortSignal.timeout(STOP_MS).addEventListener('abort', abort, { once: true })
      await Promise.all([refusals?.stop(), ...loops.map((loop) => loop.stop())])
      await Promise.all(channels.map((channel) => channel.release()))
    },
  }
}

/** Returns a function to call at intervals, which reports refusals and their end. */
function watchRefusal(deps: {
  readonly clock: Clock
  readonly instanceId: string
  readonly refusal: () => string | undefined
  readonly onTold: (notification: Notification) => void
}): () => void {
  const { clock, instanceId } = deps
  let since: number | undefined
  let told: string | undefined
  let count = 0

  function tell(kind: 'refusing' | 'serving', reason: string, title: string): void {
    count += 1
    const id = `${instanceId}-${String(count)}`
    const data = { host: hostname(), pid: process.pid, instance: instanceId, reason }
    deps.onTold({ id, event: 'refusal', kind, at: clock.now(), title, data })
  }

  return () => {
    const reason = deps.refusal()
    const now = clock.monotonic()
    if (reason === undefined) {
      since = undefined
      if (told !== undefined) tell('serving', told, 'An instance serves again')
      told = undefined
      return
    }
    since ??= now
    if (told !== undefined || now - since < STEADY_MS) return
    told = reason
    tell('refusing', reason, 'An instance refuses everything')
  }
}
