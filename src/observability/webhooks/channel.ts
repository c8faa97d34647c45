/**
 * Notifies one receiver, one message at a time and in order: first of the refusals of this
 * instance, then of the events of the control store, if this instance has the claim.
 * docs/webhooks.md states the guarantees.
 */
// SPDX-License-Identifier: Apache-2.0
import type { WebhookConfig } from '../../config/config.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import { readEvents } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { createCursor } from './cursor.ts'
import { type Notification, toNotification } from './event.ts'
import { post } from './post.ts'
import type { Receiver } from './receiver.ts'

export interface ChannelStats {
  readonly name: string
  readonly delivered: number
  /** Attempts that failed. */
  readonly failed: number
  /** Messages that were given up. */
  readonly dropped: number
  /** Events and refusals not sent yet; undefined while the store cannot be read. */
  readonly pending: number | undefined
}

export interface Channel {
  /** Sends the messages that are due. Calls must not overlap. Never rejects. */
  run(): Promise<void>
  /** Queues a refusal of this instance; when the queue is full, the oldest is dropped. */
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
  /** Aborts when the process stops. */
  readonly stopping: AbortSignal
}

/** The pause after failed attempts doubles, from the first value to the longest. */
const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 60_000
/** Longer than one attempt may take, so that a slow instance keeps its claim. */
const CLAIM_RESERVE_MS = 10_000
const MAX_QUEUED = 32

type Outcome = 'told' | 'later'

export function createChannel(deps: ChannelDeps): Channel {
  const { config, receiver, store, clock, logger } = deps
  const { name, timeoutMs, giveUpAfterMs } = config
  const cursor = createCursor(store, name, deps.owner)
  const claimMs = timeoutMs + CLAIM_RESERVE_MS
  const othersMs = LONGEST_PAUSE_MS + timeoutMs
  const queue: Notification[] = []
  const counts = { delivered: 0, failed: 0, dropped: 0 }
  let failures = 0
  let notBefore = 0
  /** Monotonic time of the first of the failures in a row; undefined while there is none. */
  let failingSince: number | undefined
  let pending: number | undefined
  /** True from a claim until it was released. */
  let hasClaim = false
  let isCutOff = false

  function drop(notification: Notification, reason: string): void {
    counts.dropped += 1
    logger.error('a webhook message was given up', { webhook: name, id: notification.id, reason })
  }

  async function attempt(notification: Notification): Promise<Outcome> {
    const deadline = AbortSignal.any([AbortSignal.timeout(timeoutMs), deps.stopping])
    const outcome = await receiver.toRequest(notification, clock.now()).then(
      (request) => post(request, deadline),
      (error: unknown) => ({
        result: 'failed' as const,
        reason: error instanceof Error ? error.message : String(error),
        isFinal: false,
      }),
    )
    if (outcome.result === 'delivered') {
      if (failures > 0) logger.info('a webhook receiver answers again', { webhook: name })
      counts.delivered += 1
      failures = 0
      failingSince = undefined
      return 'told'
    }
    counts.failed += 1
    const { reason } = outcome
    failingSince ??= clock.monotonic()
    const isOld = clock.now() - notification.at > giveUpAfterMs
    // Other instances may reach the receiver, and each of them tries within this time.
    if (outcome.isFinal || (isOld && clock.monotonic() - failingSince >= othersMs)) {
      drop(notification, reason)
      return 'told'
    }
    // Log once per outage; the metric counts every failure.
    if (failures === 0)
      logger.warn('a webhook message cannot be delivered', { webhook: name, reason })
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
    const from = await cursor.claim(claimMs)
    if (from === undefined) return
    hasClaim = true
    try {
      await tellFrom(from, end)
    } finally {
      await release()
    }
  }

  /** Returns at the first event that cannot be sent now. */
  async function tellFrom(from: number, end: number): Promise<void> {
    const events = await store.database.snapshot((reader) =>
      readEvents(reader, store.sealing, from),
    )
    for (const event of events) {
      const notification = toNotification(event, { storeId: store.id, drillKey: deps.drillKey })
      if (notification !== undefined && config.events.includes(notification.event)) {
        if ((await cursor.claim(claimMs)) === undefined) return
        if ((await attempt(notification)) === 'later' || deps.stopping.aborted) return
      }
      if (!(await cursor.advance(event.seq))) return
      pending = Math.max(0, end - event.seq)
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
        if (!isCutOff) logger.warn('a webhook cannot use the control store', { webhook: name, err })
        isCutOff = true
        pending = undefined
      }
    },
    push(notification) {
      if (!config.events.includes(notification.event)) return
      const [oldest] = queue
      if (queue.length >= MAX_QUEUED && oldest !== undefined) {
        queue.shift()
        drop(oldest, 'too many messages wait')
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
