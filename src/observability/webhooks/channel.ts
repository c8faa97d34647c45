/**
 * Notifies one receiver, one message at a time and in order. This instance's refusals come first,
 * followed by the control store's events if this instance has the claim. docs/webhooks.md states
 * the guarantees.
 */
// SPDX-License-Identifier: Apache-2.0
import type { WebhookConfig } from '../../config/config.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import { readEventsAfter } from '../../store/recent-events.ts'
import type { Store } from '../../store/store.ts'
import { createCursor } from './cursor.ts'
import { type Notification, toNotification } from './event.ts'
import { deliver, type Receiver } from './receiver.ts'

export interface ChannelStats {
  readonly name: string
  readonly delivered: number
  /** Number of failed attempts. */
  readonly failed: number
  /** Number of messages given up on. */
  readonly dropped: number
  /** Number of events and refusals not sent yet; undefined while the store cannot be read. */
  readonly pending: number | undefined
}

export interface Channel {
  /** Number of messages that were dropped without being delivered. */
  run(): Promise<void>
  /** Switches to this configuration from the next message on, and immediately tries to send. */
  update(config: WebhookConfig, receiver: Receiver): void
  /** Queues a refusal of this instance; when the queue is full, the oldest refusal is dropped. */
  push(notification: Notification): void
  stats(): ChannelStats
  /** Releases the claim, so that another instance continues at once. */
  release(): Promise<void>
}

export interface ChannelDeps {
  readonly config: WebhookConfig
  readonly receiver: Receiver
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  /** Unique for each process. */
  readonly owner: string
  readonly drillKey: string
  /** Aborts when the process stops or the webhook is removed. */
  readonly stopping: AbortSignal
}

/** Initial and maximum backoff after failed attempts; the delay doubles each time. */
const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 60_000
/**
 * Milliseconds added to the maximum duration of an attempt, so that a slow instance keeps its
 * claim.
 */
const CLAIM_RESERVE_MS = 10_000
const MAX_QUEUED = 32

type Outcome = 'told' | 'later'

export function createChannel(deps: ChannelDeps): Channel {
  const { store, clock, logger } = deps
  const { name } = deps.config
  const cursor = createCursor(store, name, deps.owner)
  let { config, receiver } = deps
  const queue: Notification[] = []
  const counts = { delivered: 0, failed: 0, dropped: 0 }
  let failures = 0
  let notBefore = 0
  /** Monotonic time at which the current run of failures began; undefined if there are none. */
  let failingSince: number | undefined
  let pending: number | undefined
  /** True from a claim until it is released. */
  let hasClaim = false
  let isCutOff = false

  function drop(notification: Notification, reason: string): void {
    counts.dropped += 1
    logger.error('webhook message dropped', {
      webhook: name,
      id: notification.id,
      reason,
    })
  }

  async function attempt(notification: Notification): Promise<Outcome> {
    const { timeoutMs, giveUpAfterMs } = config
    const deadline = AbortSignal.any([AbortSignal.timeout(timeoutMs), deps.stopping])
    const outcome = await deliver(receiver, notification, { now: clock.now(), signal: deadline })
    if (outcome.result === 'delivered') {
      if (failures > 0) logger.info('webhook receiver is responding again', { webhook: name })
      counts.delivered += 1
      failures = 0
      failingSince = undefined
      return 'told'
    }
    // The receiver did not cause the failure of an attempt that this process ended.
    if (deps.stopping.aborted) return 'later'
    counts.failed += 1
    const { reason } = outcome
    failingSince ??= clock.monotonic()
    const othersMs = LONGEST_PAUSE_MS + timeoutMs
    const isOld = clock.now() - notification.at > giveUpAfterMs
    // Other instances may be able to reach the receiver. Each of them retries within `othersMs`.
    if (outcome.isFinal || (isOld && clock.monotonic() - failingSince >= othersMs)) {
      drop(notification, reason)
      return 'told'
    }
    // Log once per outage; the metric counts every failure.
    if (failures === 0)
      logger.warn('could not deliver a webhook message; retrying', { webhook: name, reason })
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 10))
    failures += 1
    notBefore = clock.monotonic() + pause
    return 'later'
  }

  async function tellQueue(): Promise<Outcome> {
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      if ((await attempt(next)) === 'later') return 'later'
      // A full queue may have dropped the message during the attempt.
      if (queue[0] === next) queue.shift()
    }
    return 'told'
  }

  async function tellEvents(): Promise<void> {
    const { told, end } = await cursor.position()
    pending = end - (told ?? end)
    if (told === end && !hasClaim) return
    // After a failure, the claim is left to instances that may reach the receiver.
    if (clock.monotonic() < notBefore) return
    const from = await cursor.claim(config.timeoutMs + CLAIM_RESERVE_MS)
    if (from === undefined) return
    hasClaim = true
    try {
      await tellFrom(from)
    } finally {
      await release()
    }
  }

  /** Sends the events after `from` in order. Returns at the first event that cannot be sent now. */
  async function tellFrom(from: number): Promise<void> {
    const events = await store.database.snapshot((reader) =>
      readEventsAfter(reader, store.sealing, from),
    )
    // More events may have been written since the end of the log was read.
    const end = events.at(-1)?.seq ?? from
    pending = end - from
    for (const event of events) {
      if (deps.stopping.aborted) return
      const notification = toNotification(event, { storeId: store.id, drillKey: deps.drillKey })
      if (notification !== undefined && config.events.includes(notification.event)) {
        if ((await cursor.claim(config.timeoutMs + CLAIM_RESERVE_MS)) === undefined) return
        if ((await attempt(notification)) === 'later') return
      }
      if (!(await cursor.advance(event.seq))) return
      pending = end - event.seq
    }
  }

  async function release(): Promise<void> {
    await cursor.release()
    hasClaim = false
  }

  return {
    async run() {
      try {
        if (clock.monotonic() >= notBefore) await tellQueue()
        await tellEvents()
        isCutOff = false
      } catch (err) {
        // Log once per outage; the next run tries again.
        if (!isCutOff) logger.warn('webhook cannot use the control store', { webhook: name, err })
        isCutOff = true
        pending = undefined
      }
    },
    update(next, itsReceiver) {
      config = next
      receiver = itsReceiver
      failures = 0
      failingSince = undefined
      notBefore = 0
    },
    push(notification) {
      if (!config.events.includes(notification.event)) return
      const [oldest] = queue
      if (queue.length >= MAX_QUEUED && oldest !== undefined) {
        queue.shift()
        drop(oldest, 'too many messages are waiting')
      }
      queue.push(notification)
    },
    stats: () => ({
      ...{ name, ...counts },
      pending: pending === undefined ? undefined : pending + queue.length,
    }),
    async release() {
      if (hasClaim) await release().catch(() => undefined)
    },
  }
}
