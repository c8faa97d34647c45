/** Counts how many objects the code uses per event loop turn, regardless of how long the turn takes. */
// SPDX-License-Identifier: Apache-2.0
import { createFeed } from '../../src/store/feed.ts'
import type { Reader, Row } from '../../src/store/database.ts'
import type { Store } from '../../src/store/store.ts'

export interface TurnCounter {
  /** Wraps the object so that each use of it is counted. */
  counted<T extends object>(object: T): T
  /** Returns the maximum number of objects used in one turn, and the total number, since the previous call. */
  take(): { readonly most: number; readonly total: number }
  stop(): void
}

export function countTurns(): TurnCounter {
  let used = new Set<object>()
  let most = 0
  let total = 0
  const end = () => {
    most = Math.max(most, used.size)
    total += used.size
    used = new Set()
  }
  let next = setImmediate(function tick() {
    end()
    next = setImmediate(tick)
  })
  return {
    counted: (object) =>
      new Proxy(object, {
        get(target, name, receiver) {
          used.add(target)
          return Reflect.get(target, name, receiver) as unknown
        },
      }),
    take() {
      end()
      const found = { most, total }
      most = 0
      total = 0
      return found
    },
    stop() {
      clearImmediate(next)
    },
  }
}

/** Wraps a store so that the rows read through its feeds and snapshots are counted. */
export function countRows(store: Store, counter: TurnCounter): Store {
  const snapshot = <T>(work: (reader: Reader) => Promise<T>) =>
    store.database.snapshot((reader) =>
      work({
        query: async (sql, parameters) =>
          (await reader.query(sql, parameters)).map((row): Row => counter.counted(row)),
      }),
    )
  return {
    ...store,
    database: { ...store.database, snapshot },
    snapshot,
    feed: (...tables) => createFeed(snapshot, store.sealing, tables),
  }
}
