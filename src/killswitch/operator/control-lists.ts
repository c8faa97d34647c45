/**
 * Reads the switches, dead man's switches and restore requests for operators: an overview with the
 * first of each, or one page of a list. The tables are verified whole, a slice in each turn of the
 * event loop. At most twice as many items as are returned stay in memory.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Direction, Scope } from '../../core/scope.ts'
import type { Reader, Row } from '../../store/database.ts'
import { scanTables } from '../../store/sealed-rows.ts'
import { DEAD_MAN_SWITCHES, RESTORATIONS, SWITCHES } from '../../store/sealed-tables.ts'
import type { Sealing } from '../../store/sealing.ts'
import type { Store } from '../../store/store.ts'
import { findLongKills, type LongKill } from '../instance/long-kill.ts'
import type { DeadManSwitch, Switch } from '../model.ts'
import {
  parseDeadManSwitch,
  parseRequest,
  parseSwitch,
  type RestoreRequest,
} from '../switch-table.ts'

export interface ControlCounts {
  /** Numbers of switches in force: all, and by the kind of their scope. */
  readonly switches: Readonly<Record<'total' | Scope['kind'], number>>
  readonly deadManSwitches: number
  readonly requests: number
  /** Number of switches whose age approaches seven days. */
  readonly longKills: number
}

/** Reports whether a caller may see what concerns only this key store. */
export type Covers = (keyStore: string) => boolean

/** The items that a caller may see, and how many of them to return. */
export interface ControlView {
  /** By default, the caller may see every key store. */
  readonly covers?: Covers
  /**
   * Maximum number of items in each list, the most important ones first (default: all items, in the
   * order of their tables).
   */
  readonly limit?: number
}

export interface ControlOverview {
  readonly counts: ControlCounts
  /** The widest scopes first, and of the same width, the most recent ones. */
  readonly switches: readonly Switch[]
  readonly latestSwitch?: Switch
  /** Directions that the switches with the scope `all` stop together; absent if there is none. */
  readonly stopsEverything?: Direction
  /** In the order in which they close their key stores. */
  readonly deadManSwitches: readonly DeadManSwitch[]
  /** In the order in which they expire. */
  readonly requests: readonly RestoreRequest[]
  /** The oldest ones first. */
  readonly longKills: readonly LongKill[]
  /** Highest epoch at which a switch took effect, visible or not; -1 without any switch. */
  readonly neededEpoch: number
}

const WIDTHS: Readonly<Record<Scope['kind'], number>> = {
  all: 0,
  'key-store': 1,
  match: 2,
  key: 3,
}

/** @throws StorageError STORE_TAMPERED */
export async function loadOverview(
  { reader, sealing, now }: Place & { readonly now: number },
  view: ControlView = {},
): Promise<ControlOverview> {
  const { limit = Infinity } = view
  const switches = createFirst<Switch>(limit, byImportance)
  const deadManSwitches = createFirst<DeadManSwitch>(limit, (a, b) => a.openUntil - b.openUntil)
  const requests = createFirst<RestoreRequest>(limit, (a, b) => a.expiresAt - b.expiresAt)
  const longKills = createFirst<LongKill>(limit, (a, b) => a.createdAt - b.createdAt)
  const counts = { total: 0, all: 0, 'key-store': 0, match: 0, key: 0 }
  let latest: Switch | undefined
  let stopsEverything: Direction | undefined
  let neededEpoch = -1
  await scanControl({ reader, sealing }, view.covers, {
    onSwitch(one, isVisible) {
      neededEpoch = Math.max(neededEpoch, one.epoch)
      if (!isVisible) return
      counts.total += 1
      counts[one.scope.kind] += 1
      if (one.scope.kind === 'all') stopsEverything = joinDirections(stopsEverything, one.direction)
      if (latest === undefined || one.createdAt >= latest.createdAt) latest = one
      switches.add(one)
      for (const found of findLongKills([one], now)) longKills.add(found)
    },
    onDeadManSwitch: deadManSwitches.add,
    onRequest: requests.add,
  })
  return {
    counts: {
      switches: counts,
      deadManSwitches: deadManSwitches.count(),
      requests: requests.count(),
      longKills: longKills.count(),
    },
    switches: switches.take(),
    ...(latest && { latestSwitch: latest }),
    ...(stopsEverything && { stopsEverything }),
    deadManSwitches: deadManSwitches.take(),
    requests: requests.take(),
    longKills: longKills.take(),
    neededEpoch,
  }
}

/** Returns what two switches of the same scope stop together. */
export function joinDirections(one: Direction | undefined, other: Direction): Direction {
  return one === undefined || one === other ? other : 'both'
}

/** Orders switches by what they stop, the most first, and then by age, the most recent first. */
export function byImportance(a: Switch, b: Switch): number {
  return (
    WIDTHS[a.scope.kind] - WIDTHS[b.scope.kind] ||
    Number(a.direction !== 'both') - Number(b.direction !== 'both') ||
    b.createdAt - a.createdAt
  )
}

/** Returns the key store that a scope is limited to; undefined if it is not limited to one. */
export function keyStoreOf(scope: Scope): string | undefined {
  return 'keyStore' in scope ? scope.keyStore : undefined
}

/** Reports whether a caller may see something: always, if it concerns all key stores. */
export function isVisible(keyStore: string | undefined, covers: Covers | undefined): boolean {
  return keyStore === undefined || covers === undefined || covers(keyStore)
}

/** The lists of the control state, by the names of their fields in a status. */
export interface ControlItems {
  readonly switches: Switch
  readonly deadManSwitches: DeadManSwitch
  readonly requests: RestoreRequest
}

export type ControlList = keyof ControlItems

/** A page in ascending order of the items' keys by UTF-16 code units. */
export interface ControlPage extends Pick<ControlView, 'covers'> {
  readonly after: string | undefined
  readonly limit: number
}

/** Returns what identifies an item within its list. */
function keyOfItem(item: ControlItems[ControlList]): string {
  return 'id' in item ? item.id : item.keyStore
}

/** @throws StorageError STORE_TAMPERED */
export async function loadControlPage<List extends ControlList>(
  store: Store,
  list: List,
  { after, limit, covers }: ControlPage,
): Promise<readonly ControlItems[List][]> {
  const page = createFirst<ControlItems[ControlList]>(limit, (a, b) =>
    keyOfItem(a) < keyOfItem(b) ? -1 : 1,
  )
  const add = (item: ControlItems[ControlList]) => {
    if (after === undefined || keyOfItem(item) > after) page.add(item)
  }
  const takers: Readonly<Record<ControlList, ControlTakers>> = {
    switches: {
      onSwitch(one, isVisible) {
        if (isVisible) add(one)
      },
    },
    deadManSwitches: { onDeadManSwitch: add },
    requests: { onRequest: add },
  }
  await store.snapshot((reader) =>
    scanControl({ reader, sealing: store.sealing }, covers, takers[list]),
  )
  // The cast is safe: only the taker of this list adds items.
  return page.take() as readonly ControlItems[List][]
}

interface Place {
  readonly reader: Reader
  readonly sealing: Sealing
}

interface ControlTakers {
  readonly onSwitch?: (one: Switch, isVisible: boolean) => void
  /** Called only with what the caller may see. */
  readonly onDeadManSwitch?: (one: DeadManSwitch) => void
  readonly onRequest?: (one: RestoreRequest) => void
}

async function scanControl(
  { reader, sealing }: Place,
  covers: ControlView['covers'],
  { onSwitch, onDeadManSwitch, onRequest }: ControlTakers,
): Promise<void> {
  /** Switches that a limited caller may see; requests to lift others are not shown. */
  const visible = covers && new Set<string>()
  const isShown = ({ target }: RestoreRequest) =>
    target.kind === 'switches'
      ? visible === undefined || target.switchIds.every((id) => visible.has(id))
      : isVisible(target.keyStore, covers)
  const needsSwitches = onSwitch !== undefined || (onRequest !== undefined && visible !== undefined)
  const scan = <T>(parse: (row: Row) => T, take: (one: T) => void) => ({
    take(rows: readonly Row[]) {
      for (const row of rows) take(parse(row))
    },
  })
  await scanTables(reader, sealing, [
    ...(needsSwitches
      ? [
          {
            table: SWITCHES,
            ...scan(parseSwitch, (one) => {
              const isOwn = isVisible(keyStoreOf(one.scope), covers)
              if (isOwn) visible?.add(one.id)
              onSwitch?.(one, isOwn)
            }),
          },
        ]
      : []),
    ...(onDeadManSwitch
      ? [
          {
            table: DEAD_MAN_SWITCHES,
            ...scan(parseDeadManSwitch, (one) => {
              if (isVisible(one.keyStore, covers)) onDeadManSwitch(one)
            }),
          },
        ]
      : []),
    ...(onRequest
      ? [
          {
            table: RESTORATIONS,
            ...scan(parseRequest, (one) => {
              if (isShown(one)) onRequest(one)
            }),
          },
        ]
      : []),
  ])
}

/** Keeps the first `limit` items of any number of items; without a limit, keeps all as they come. */
function createFirst<T>(limit: number, compare: (a: T, b: T) => number) {
  let kept: T[] = []
  let count = 0
  const trim = () => {
    kept = kept.sort(compare).slice(0, limit)
  }
  return {
    add(item: T): void {
      count += 1
      kept.push(item)
      if (kept.length > 2 * limit) trim()
    },
    count: () => count,
    take(): readonly T[] {
      if (limit !== Infinity) trim()
      return kept
    },
  }
}
