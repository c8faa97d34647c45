/**
 * Uses the recorded usage to report what a kill would refuse, and what it would not reach. The
 * reports refuse no request and change nothing.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Direction, Scope } from '../../core/scope.ts'
import { filterInSlices } from '../../core/slices.ts'
import type { Store } from '../../store/store.ts'
import { type Exposure, findExposure } from '../../usage/exposure.ts'
import {
  type Judge,
  type Rehearsal,
  rehearse,
  sum,
  toRequestSubject,
} from '../../usage/rehearsal.ts'
import type { UsageKey } from '../../usage/usage-key.ts'
import { type Period, loadActivity, toPeriod } from '../../usage/usage-table.ts'
import { createRules } from '../gate/rules.ts'
import { type LongKill, findLongKills } from '../instance/long-kill.ts'
import { ControlError } from '../model.ts'
import { loadControlState } from '../switch-table.ts'
import { type Covers, isVisible, keyStoreOf } from './control-lists.ts'

/** Number of activities that are judged in one turn of the event loop. */
const PER_TURN = 200

/** Wall times in milliseconds since the Unix epoch. */
export interface UsageWindow {
  readonly since: number
  readonly until: number
  /** Whether to include requests from Latchkey's own tools (default: false). */
  readonly probes?: boolean
}

/** A report on the key stores that its reader may see. */
interface Excerpt extends UsageWindow {
  readonly covers?: Covers | undefined
}

export interface RehearsalOrder {
  readonly scope: Scope
  readonly direction: Direction
}

/**
 * A report on application requests, and the number of requests from Latchkey's own tools that the
 * report excludes.
 */
interface WithoutProbes {
  /**
   * Number of requests from doctor, bench and the other tools within the period. The report
   * excludes them.
   */
  readonly probesLeftOut: number
}

export type RehearsalReport = Rehearsal & WithoutProbes & { readonly period: Period }

export interface ExposureReport extends UsageWindow, WithoutProbes {
  readonly scope: Scope
  readonly exposures: readonly Exposure[]
  /** Switches in force whose age approaches seven days. */
  readonly longKills: readonly LongKill[]
}

/**
 * The result lags behind a running server by up to `activity.flushInterval`.
 * @throws StorageError
 */
export async function rehearseKill(
  store: Store,
  clock: Clock,
  { scope, direction }: RehearsalOrder,
  window: Excerpt,
): Promise<RehearsalReport> {
  const { usage, period, probesLeftOut } = await loadUsage(store, clock, window)
  return { ...(await rehearse(usage, createJudge(scope, direction))), probesLeftOut, period }
}

/**
 * @param about a scope, or a switch in force; undefined for everything
 * @throws StorageError, ControlError NOTHING_KILLED when the switch is not in force
 */
export async function reportExposure(
  store: Store,
  clock: Clock,
  about: Scope | { readonly id: string } | undefined,
  window: Excerpt,
): Promise<ExposureReport> {
  const { switches } = await store.database.snapshot((reader) =>
    loadControlState(reader, store.sealing),
  )
  const scope = about !== undefined && 'id' in about ? scopeOf(about.id) : about
  const { usage, probesLeftOut } = await loadUsage(store, clock, window)
  const judge = scope && createJudge(scope, 'both')
  // Usage by callers that were not recorded separately is included to be safe.
  const meant = await filterInSlices(
    usage,
    PER_TURN,
    ({ subject }) =>
      judge === undefined || subject.isOverflow || judge(toRequestSubject(subject)) !== undefined,
  )
  return {
    scope: scope ?? { kind: 'all' },
    ...{ since: window.since, until: window.until, probesLeftOut },
    exposures: await findExposure(meant),
    longKills: findLongKills(
      switches.filter(({ scope }) => isVisible(keyStoreOf(scope), window.covers)),
      clock.now(),
    ),
  }

  function scopeOf(id: string): Scope {
    const found = switches.find((one) => one.id === id)
    if (found !== undefined) return found.scope
    throw new ControlError('NOTHING_KILLED', `no switch ${id} is in force`, {
      hint: 'run latchkey status to see the switches in force',
    })
  }
}

async function loadUsage(store: Store, clock: Clock, window: Excerpt) {
  const period = toPeriod(window, clock.now())
  const every = await store.database.snapshot((reader) => loadActivity(reader, period))
  const all = every.filter(({ subject }) => isVisible(subject.keyStore, window.covers))
  const usage = window.probes === true ? all : all.filter(({ subject }) => !isProbe(subject))
  return { usage, period, probesLeftOut: sum(all) - sum(usage) }
}

const isProbe = (subject: UsageKey) => subject.isProbe === true

/** Applies the gate's own rules, as if the given switch were the only one in force. */
function createJudge(scope: Scope, direction: Direction): Judge {
  const rules = createRules([
    ...[{ scope, direction, id: '', reason: '', operator: '', createdAt: 0, epoch: 0 }],
  ])
  return rules.refusal
}
