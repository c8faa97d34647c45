/** Who used which key: counted by a serving process, read by the command line. */
// SPDX-License-Identifier: Apache-2.0
import {
  loadActivity,
  purgeActivity,
  toPeriod,
  writeCounts,
  writeUses,
  type Activity,
  type Period,
} from '../usage/usage-table.ts'
import { findExposure, type Exposure } from '../usage/exposure.ts'
import { createRecorder, type Recorder } from '../usage/recorder.ts'
import { rehearse, toAsked, type Judge, type Rehearsal } from '../usage/rehearsal.ts'
import { systemClock, type Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Config } from '../config/config.ts'
import { findLongKills, type LongKill } from '../killswitch/instance/long-kill.ts'
import { createRules, type GateSubject } from '../killswitch/gate/rules.ts'
import { loadControlState } from '../killswitch/switch-table.ts'
import type { Direction, Scope, Switch } from '../killswitch/model.ts'
import { openStore, type Store } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

/** Of one process; it writes to the store until it is stopped. */
export function createActivityRecorder(deps: {
  readonly config: Config['activity']
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
}): Recorder {
  const { config, store, clock, logger } = deps
  const recorder = createRecorder({
    writeCounts: (counts) => writeCounts(store.database, counts),
    writeUses: (uses) => writeUses(store.database, uses),
    purge: async () => {
      // By the clock of the database: one host whose clock is wrong must not delete for all.
      const ask = `SELECT ${store.database.nowSql} AS now`
      const [row] = await store.database.snapshot((reader) => reader.query(ask))
      const now = Number(row?.['now'])
      await purgeActivity(store.database, { now, retentionMs: config.retentionMs })
    },
    ...{ clock, logger, flushIntervalMs: config.flushIntervalMs, maxSubjects: config.maxSubjects },
  })
  recorder.start()
  return recorder
}

/** Wall times, milliseconds since the Unix epoch. */
export interface Window {
  readonly since: number
  readonly until: number
}

export interface SwitchReport {
  readonly switches: readonly Switch[]
  /** Those of them that near seven days. */
  readonly longKills: readonly LongKill[]
}

export interface ActivityReader {
  /** Only what is written is seen: a running server is `activity.flushInterval` ahead. */
  rehearse(
    order: { readonly scope: Scope; readonly direction: Direction },
    window: Window,
  ): Promise<Rehearsal & { readonly period: Period }>
  /** Within a scope, or of everything. */
  exposure(scope: Scope | undefined, window: Window): Promise<readonly Exposure[]>
  switches(): Promise<SwitchReport>
  close(): Promise<void>
}

/** @throws StorageError */
export async function openActivity(config: Config): Promise<ActivityReader> {
  return createActivityReader(
    await openStore(await toStoreOptions(config, { connections: 'one' })),
    systemClock,
  )
}

/** On a store that is open already; `close` closes it. */
export function createActivityReader(store: Store, clock: Clock): ActivityReader {
  async function load(window: Window): Promise<{ all: readonly Activity[]; period: Period }> {
    const period = toPeriod(window, clock.now())
    const all = await store.database.snapshot((reader) => loadActivity(reader, period))
    return { all, period }
  }
  return {
    async rehearse({ scope, direction }, window) {
      const { all, period } = await load(window)
      return { ...rehearse(all, createJudge(scope, direction)), period }
    },
    async exposure(scope, window) {
      const { all } = await load(window)
      if (scope === undefined) return findExposure(all)
      const judge = createJudge(scope, 'both')
      // Those that nobody can tell apart are shown, rather than left out.
      return findExposure(
        all.filter(({ subject }) => subject.isOverflow || judge(toAsked(subject)) !== undefined),
      )
    },
    async switches() {
      const { switches } = await store.database.snapshot((reader) =>
        loadControlState(reader, store.sealing),
      )
      return { switches, longKills: findLongKills(switches, clock.now()) }
    },
    close: () => store.close(),
  }
}

/** The gate's own rules, with this one switch in them. */
function createJudge(scope: Scope, direction: Direction): Judge {
  const rules = createRules([
    ...[{ scope, direction, id: '', reason: '', operator: '', createdAt: 0, epoch: 0 }],
  ])
  // What was recorded as an operation was one.
  return (asked) =>
    rules.refusal({ ...asked, operation: asked.operation as GateSubject['operation'] })
}
