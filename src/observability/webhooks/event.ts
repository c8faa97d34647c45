/** Turns an event of the control store, or a refusal of this instance, into a notification. */
// SPDX-License-Identifier: Apache-2.0
import type { WebhookEvent } from '../../config/config.ts'
import { UNPRINTABLE } from '../../core/remark.ts'
import type { ControlEvent } from '../../store/event-log.ts'

export interface Notification {
  /** Identical for every attempt, so that a receiver can drop duplicates. */
  readonly id: string
  readonly event: WebhookEvent
  /** The kind of event in the log, or `refusing` or `serving`. */
  readonly kind: string
  /** Wall time in milliseconds since the Unix epoch. */
  readonly at: number
  readonly title: string
  readonly data: Readonly<Record<string, unknown>>
}

interface Kind {
  readonly event: WebhookEvent
  readonly title: string
}

/** Kinds of events that webhooks report; all other events are routine administration. */
const KINDS: Readonly<Record<string, Kind>> = {
  kill: { event: 'kill', title: 'Access was stopped' },
  'kill-again': { event: 'kill', title: 'Access was stopped again' },
  'deadman-closed': { event: 'kill', title: "A dead man's switch was closed" },
  'deadman-lapsed': {
    event: 'kill',
    title: "A dead man's switch was not renewed, and closed its key store",
  },
  restore: { event: 'restore', title: 'Access was restored' },
  expired: { event: 'restore', title: 'A timed kill expired' },
  'deadman-reopened': {
    event: 'restore',
    title: "A key store was reopened after its dead man's switch",
  },
  'deadman-ended': { event: 'restore', title: "A dead man's switch was ended" },
  'epoch-accepted': { event: 'restore', title: 'A replaced control store was accepted' },
  'restore-requested': {
    event: 'restore-request',
    title: 'A restore was requested and is pending',
  },
  'restore-approved': { event: 'restore-request', title: 'A restore request was approved' },
  'restore-withdrawn': { event: 'restore-request', title: 'A restore request was withdrawn' },
  'restore-expired': { event: 'restore-request', title: 'A restore request expired' },
  tripwire: { event: 'tripwire', title: 'A tripwire rule was broken' },
  'retire-requested': {
    event: 'retirement',
    title: 'The destruction of a key version was requested',
  },
  'retire-approved': {
    event: 'retirement',
    title: 'A key version now refuses Decrypt in preparation for its destruction',
  },
  'retire-cancelled': {
    event: 'retirement',
    title: 'The destruction of a key version was cancelled',
  },
  'destruction-started': {
    event: 'retirement',
    title: 'The destruction of a key version began',
  },
  'version-destroyed': { event: 'retirement', title: 'A key version was destroyed' },
  drill: { event: 'drill', title: 'A drill stopped and restored the test key' },
}

/**
 * Returns an event's notification; undefined if webhooks do not report the event.
 * @param drillKey id of the key used by drills, whose kills and restores are not reported
 * separately
 */
export function toNotification(
  { seq, at, epoch, kind, operator, detail }: ControlEvent,
  { storeId, drillKey }: { readonly storeId: string; readonly drillKey: string },
): Notification | undefined {
  const known = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined
  if (known === undefined) return undefined
  const { scope } = detail
  const isPartOfDrill =
    kind !== 'drill' && typeof scope === 'string' && scope.endsWith(`/${drillKey}`)
  if (isPartOfDrill) return undefined
  return {
    ...known,
    ...{ id: `${storeId}-${String(seq)}`, kind, at },
    data: { store: storeId, sequence: seq, epoch, operator, ...detail },
  }
}

/** Describes an event in one line for people: what happened, to what, by whom and why. */
export function describe({ title, data }: Notification): string {
  const { scope, keyStore, direction, operator, reason, host } = data
  const what = [scope ?? keyStore, direction === 'both' ? undefined : direction]
  const about = what.filter((one) => typeof one === 'string').join(', ')
  const parts = [
    about === '' ? title : `${title}: ${about}`,
    ...(typeof host === 'string' ? [`on ${host}`] : []),
    ...(typeof operator === 'string' ? [`by ${operator}`] : []),
    ...(typeof reason === 'string' ? [`(${reason})`] : []),
  ]
  // Events of earlier releases, and policies quoted in reasons, may contain unprintable characters.
  return parts.join(' ').replace(UNPRINTABLE, '\uFFFD')
}
