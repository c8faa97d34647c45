/**
 * Tests on both engines that a retirement reads the event log before its change begins, because a change blocks every
 * kill.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { restore } from '../../src/killswitch/operator/restore.ts'
import { shredVersion } from '../../src/retirement/destruction.ts'
import { readHistory } from '../../src/retirement/history.ts'
import { approveRetirement, requestRetirement } from '../../src/retirement/retirement.ts'
import type { Reader } from '../../src/store/database.ts'
import { appendEvent } from '../../src/store/event-log.ts'
import type { Store } from '../../src/store/store.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import { AT_ONCE, type ControlFixture, actor } from './control-fixture.ts'
import { DAY, ID, ORDER, V1, codeOf, setUp } from './retirement-fixture.ts'

t.setTimeout(120_000)

/** Number of events, which is more than one turn of the event loop verifies. */
const EVENTS = 600

async function addEvents(store: Store, at: number): Promise<void> {
  await store.change(async (transaction, epoch) => {
    for (let i = 0; i < EVENTS; i++) {
      const event = { at, epoch, kind: 'audit-head', operator: 'latchkey', detail: { i } }
      await appendEvent(transaction, store.sealing, event)
    }
  })
}

/** Wraps a reader to count the event rows that it reads. */
function counting<T extends Reader>(reader: T, onRows: (rows: number) => void): T {
  const query: Reader['query'] = async (sql, parameters) => {
    const rows = await reader.query(sql, parameters)
    if (sql.includes('FROM control_events')) onRows(rows.length)
    return rows
  }
  return { ...reader, query }
}

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(`${name}: a change reads only the events since the last look`, async (t) => {
    const { deps, store, clock } = await setUp(await open(t))
    await addEvents(store, clock.now())
    clock.advance(31 * DAY)
    let rows = 0
    const count = (more: number) => {
      rows += more
    }
    const change: Store['change'] = (work, options) =>
      store.change((transaction, epoch) => work(counting(transaction, count), epoch), options)
    const watched = { ...deps, store: { ...store, change } }
    t.equal(await codeOf(requestRetirement(watched, ORDER)), 'done')
    t.equal(await codeOf(approveRetirement(watched, V1, actor('bob'))), 'done')
    clock.advance(8 * DAY)
    t.equal(await codeOf(shredVersion(watched, V1, actor('carol'))), 'done')
    t.ok(rows > 0, 'the test counts them')
    t.ok(rows < EVENTS / 10, `${String(rows)} rows`)
  })

  void t.test(`${name}: an event that comes between the look and the change counts`, async (t) => {
    const { deps, store, clock } = await setUp(await open(t))
    await addEvents(store, clock.now())
    clock.advance(31 * DAY)
    const scope = { kind: 'key', keyStore: 'demo', keyId: ID } as const
    const change: Store['change'] = async (work, options) => {
      await kill(store, clock, { scope, direction: 'both', reason: 'r', operator: 'alice' })
      await restore(store, clock, AT_ONCE, { target: { scope }, reason: 'r', ...actor('alice') })
      return store.change(work, options)
    }
    const late = { ...deps, store: { ...store, change } }
    t.equal(await codeOf(requestRetirement(late, ORDER)), 'NOT_QUIET')
  })

  void t.test(`${name}: the log is read in portions, and tampering is noticed`, async (t) => {
    const { store, clock, tamper } = await open(t)
    await addEvents(store, clock.now())
    const sizes: number[] = []
    const read = () =>
      store.database.snapshot((reader) =>
        readHistory(
          counting(reader, (rows) => sizes.push(rows)),
          store.sealing,
        ),
      )
    t.match(await read(), { events: [], seq: EVENTS })
    t.ok(Math.max(...sizes) < EVENTS / 2, sizes.join(' '))
    await tamper('DELETE FROM control_events WHERE seq = 7')
    await t.rejects(read(), { code: 'STORE_TAMPERED' })
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
