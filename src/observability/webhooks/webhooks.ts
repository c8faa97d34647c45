/** Runs the webhooks of a serving process, and watches for refusals of this instance. */
// SPDX-License-Identifier: Apache-2.0
import { hostname } from 'node:os'
import type { WebhookConfig } from '../../config/config.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import { type Periodic, periodic } from '../../core/periodic.ts'
import type { Proxy } from '../../core/proxy.ts'
import type { Store } from '../../store/store.ts'
import { type Channel, type ChannelStats, createChannel } from './channel.ts'
import type { Notification } from './event.ts'
import { createReceiver, type Receiver } from './receiver.ts'

export interface Webhooks {
  /** Call after each change of the store. Returns at once. */
  onChange(): void
  /**
   * @param refusal returns why this instance refuses everything; undefined while the instance
   * serves or refuses deliberately
   */
  start(refusal: () => string | undefined): void
  /**
   * Uses other webhooks from now on. A webhook that keeps its name keeps its position and its
   * queue.
   * @throws WebhookError before anything is changed
   */
  apply(configs: readonly WebhookConfig[]): Promise<void>
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
  readonly proxy: Proxy | undefined
}

/**
 * Interval in milliseconds at which to check for events of other processes, due retries and expired
 * claims.
 */
const LOOK_MS = 2000
const REFUSAL_LOOK_MS = 500
/**
 * A refusal is reported only if it lasts longer than this many milliseconds, so that a database
 * failover is not reported.
 */
const STEADY_MS = 3000
/** Time in milliseconds for messages in flight to finish when the process stops. */
const STOP_MS = 1000

/** @throws WebhookError */
export async function createWebhooks(deps: WebhookDeps): Promise<Webhooks> {
  const { clock, instanceId, store, logger, drillKey, proxy } = deps
  const stopping = new AbortController()
  const open = new Map<string, OpenChannel>()
  let refusal: (() => string | undefined) | undefined
  let refusals: Periodic | undefined

  const onChange = () => {
    for (const { loop } of open.values()) void loop.runNow()
  }
  const onTold = (notification: Notification) => {
    for (const { channel } of open.values()) channel.push(notification)
    onChange()
  }

  function openChannel(config: WebhookConfig, receiver: Receiver): OpenChannel {
    const about = { config, receiver, store, clock, logger, drillKey }
    const removed = new AbortController()
    const ending = AbortSignal.any([stopping.signal, removed.signal])
    const channel = createChannel({ ...about, owner: instanceId, stopping: ending })
    const loop = periodic({ intervalMs: LOOK_MS, work: channel.run, onError: () => undefined })
    return {
      channel,
      loop,
      async remove() {
        removed.abort()
        await loop.stop()
        // If the store does not respond, the claim expires by itself.
        await channel.release().catch(() => undefined)
      },
    }
  }

  function watchRefusals(): void {
    if (refusal === undefined || open.size === 0 || refusals !== undefined) return
    const work = watchRefusal({ clock, instanceId, refusal, onTold })
    refusals = periodic({ intervalMs: REFUSAL_LOOK_MS, work, onError: () => undefined })
  }

  async function apply(configs: readonly WebhookConfig[]): Promise<void> {
    const receivers = await Promise.all(configs.map((one) => createReceiver(one, proxy)))
    const names = new Set(configs.map(({ name }) => name))
    const removed = [...open].filter(([name]) => !names.has(name))
    for (const [name] of removed) open.delete(name)
    configs.forEach((config, i) => {
      const receiver = receivers[i]
      if (receiver === undefined) return
      const existing = open.get(config.name)
      if (existing === undefined) open.set(config.name, openChannel(config, receiver))
      else existing.channel.update(config, receiver)
    })
    watchRefusals()
    if (refusal !== undefined) onChange()
    await Promise.all(removed.map(([, channel]) => channel.remove()))
  }

  await apply(deps.configs)
  return {
    onChange,
    apply,
    start(reason) {
      refusal = reason
      onChange()
      watchRefusals()
    },
    stats: () => [...open.values()].map(({ channel }) => channel.stats()),
    async stop() {
      const abort = () => {
        stopping.abort()
      }
      AbortSignal.timeout(STOP_MS).addEventListener('abort', abort, { once: true })
      const channels = [...open.values()]
      await Promise.all([refusals?.stop(), ...channels.map(({ loop }) => loop.stop())])
      await Promise.all(channels.map(({ channel }) => channel.release()))
    },
  }
}

interface OpenChannel {
  readonly channel: Channel
  readonly loop: Periodic
  /** Ends the current attempt. Messages that are still waiting are not sent. */
  remove(): Promise<void>
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
      if (told !== undefined) tell('serving', told, 'An instance is serving requests again')
      told = undefined
      return
    }
    since ??= now
    if (told !== undefined || now - since < STEADY_MS) return
    told = reason
    tell('refusing', reason, 'An instance is refusing all requests')
  }
}
