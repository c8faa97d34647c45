/**
 * Tests the Merkle tree over a store's events on both engines: its head, its proofs, and stores written by earlier
 * releases.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { checkEvidence } from '../../src/core/tlog/evidence.ts'
import {
  openControlLogKey,
  proveEvent,
  proveWritten,
} from '../../src/killswitch/receipt/control-log.ts'
import { openSigner } from '../../src/killswitch/receipt/signing-key.ts'
import {
  appendEvent,
  encodeEvent,
  readEvents,
  readEventsHead,
  type WrittenEvent,
} from '../../src/store/event-log.ts'
import type { Reader } from '../../src/store/database.ts'
import { findProvable, readEventsSince, readLastEvents } from '../../src/store/recent-events.ts'
import type { Store } from '../../src/store/store.ts'
import { plainRoot } from '../support/merkle.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(120_000)

const EVENTS = 11

const append = ({ store, clock }: ControlFixture, detail: Record<string, unknown>) =>
  store.change((transaction, epoch) =>
    appendEvent(transaction, store.sealing, {
      ...{ at: clock.now(), epoch, kind: 'test', operator: 'alice', detail },
    }),
  )

async function checkHead(t: Test, store: Store): Promise<void> {
  const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
  const head = await store.database.snapshot((reader) => readEventsHead(reader, store.sealing))
  t.equal(head.size, events.length)
  t.same(head.root, plainRoot(events.map(encodeEvent)))
}

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(
    `${name}: each event is proved by its own change, and later from all events`,
    async (t) => {
      const fixture = await open(t)
      const { store } = fixture
      const { publicKey } = await openSigner(store)
      const key = await openControlLogKey(store)
      const check = (proof: string | undefined, { seq, entry }: WrittenEvent, size: number) => {
        const checked = checkEvidence(proof ?? '', publicKey)
        t.match(checked, { index: seq - 1, checkpoint: { size, origin: key.signer.name } })
        t.same(typeof checked === 'string' ? checked : checked.entry, entry)
        t.match(checkEvidence(proof ?? '', Buffer.alloc(32).toString('base64')), /not signed by/)
      }
      await checkHead(t, store)
      const written: WrittenEvent[] = []
      for (let i = 0; i < EVENTS; i++) {
        const event = await append(fixture, {
          number: i,
          text: '\u00e9\u2028"',
          deep: { b: [], a: null },
        })
        written.push(event)
        check(proveWritten(key, event), event, i + 1)
      }
      await checkHead(t, store)
      const find = (seq: number) =>
        store.database.snapshot((reader) =>
          findProvable(reader, store.sealing, (event) => event.seq === seq),
        )
      for (const event of written) {
        const found = await find(event.seq)
        check(found && (await proveEvent(key, found)), event, EVENTS)
      }
      t.equal(await find(EVENTS + 1), undefined)
    },
  )

  void t.test(`${name}: the tree continues after changes of an earlier release`, async (t) => {
    const fixture = await open(t)
    const { store, clock } = fixture
    for (let i = 0; i < 3; i++) await append(fixture, { i })
    await store.change(async (transaction, epoch) => {
      const event = { at: clock.now(), epoch, kind: 'old', operator: 'alice', detail: {} }
      await appendEvent(transaction, store.sealing, event)
      // Earlier releases sealed the last event's number and MAC, but no tree.
      const { seq, head } = transaction.ledger.events
      transaction.ledger.events = { seq, head }
    })
    await checkHead(t, store)
    await append(fixture, { after: true })
    await checkHead(t, store)
  })

  void t.test(
    `${name}: events can be read from any position, and a change is detected`,
    async (t) => {
      const fixture = await open(t)
      const { store, tamper } = fixture
      for (let i = 0; i < 5; i++) await append(fixture, { i })
      const after = (count: number) =>
        store.database.snapshot((reader) => readEvents(reader, store.sealing, count))
      const all = await after(0)
      for (let count = 0; count <= 5; count++) t.same(await after(count), all.slice(count))
      await t.rejects(after(6), { code: 'STORE_TAMPERED' })
      await tamper("UPDATE control_events SET operator = 'mallory' WHERE seq = 4")
      for (const count of [0, 2, 3]) await t.rejects(after(count), { code: 'STORE_TAMPERED' })
    },
  )

  void t.test(`${name}: planted events are a fault that costs no memory`, async (t) => {
    const fixture = await open(t)
    const { store, tamper } = fixture
    for (let i = 0; i < 3; i++) await append(fixture, { i })
    const planted = `INSERT INTO control_events (seq, at, epoch, kind, operator, detail, mac) VALUES `
    const row = (i: number) => `(${String(i + 4)}, 1, 1, 'kill', 'mallory', '{}', 'none')`
    await tamper(`${planted}${Array.from({ length: 1000 }, (_, i) => row(i)).join(', ')}`)
    let rows = 0
    const reading = (work: (reader: Reader) => Promise<unknown>) =>
      store.database.snapshot((reader) => {
        const query: Reader['query'] = async (sql, values) => {
          const found = await reader.query(sql, values)
          if (sql.includes('FROM control_events')) rows += found.length
          return found
        }
        return work({ ...reader, query })
      })
    const fault = { code: 'STORE_TAMPERED' }
    await t.rejects(
      reading((reader) => readEvents(reader, store.sealing)),
      fault,
    )
    t.ok(rows < 10, `${String(rows)} rows`)
    rows = 0
    await t.rejects(
      reading((reader) => readEventsSince(reader, store.sealing, 0)),
      fault,
    )
    t.ok(rows < 300, `${String(rows)} rows`)
  })

  void t.test(`${name}: recent events are read without the old ones`, async (t) => {
    const { store, clock, tamper } = await open(t)
    const start = clock.now()
    const count = 400
    await store.change(async (transaction, epoch) => {
      for (let i = 0; i < count; i++) {
        const event = { at: start + i, epoch, kind: 'test', operator: 'alice', detail: { i } }
        await appendEvent(transaction, store.sealing, event)
      }
    })
    const all = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
    let rows = 0
    let largest = 0
    const since = (at: number) =>
      store.database.snapshot((reader) => {
        const query: typeof reader.query = async (sql, values) => {
          const found = await reader.query(sql, values)
          if (sql.includes('FROM control_events')) rows += found.length
          return found
        }
        return readEventsSince({ ...reader, query }, store.sealing, at)
      })
    t.same(await since(start + count - 5), all.slice(-5))
    t.ok(rows < count - 100, `${String(rows)} of ${String(count)} events`)
    t.same(await since(start + count), [])
    t.same(await since(start + 10), all.slice(10))
    t.same(await since(0), all)

    const last = (wanted: number, isWanted: (at: number) => boolean, examined = Infinity) =>
      store.database.snapshot((reader) => {
        const query: typeof reader.query = async (sql, values) => {
          const found = await reader.query(sql, values)
          if (sql.includes('FROM control_events')) rows += found.length
          largest = Math.max(largest, found.length)
          return found
        }
        const isOf = ({ at }: { readonly at: number }) => isWanted(at)
        const wantedEvents = { count: wanted, isWanted: isOf, examined }
        return readLastEvents({ ...reader, query }, store.sealing, wantedEvents)
      })
    rows = 0
    largest = 0
    t.same(await last(5, () => true), all.slice(-5))
    t.ok(rows < count - 100, `${String(rows)} of ${String(count)} events`)
    t.same(await last(0, () => true), [])
    t.same(await last(5, (at) => at < start + 20), all.slice(15, 20), 'far from the end')
    t.same(await last(count + 1, () => true), all, 'more than there are')
    t.equal(largest, 257, 'one portion at a time, and the row before it')
    rows = 0
    t.same(await last(5, (at) => at < start + 20, 100), [], 'beyond what may be examined')
    t.ok(rows < count - 100, `${String(rows)} of ${String(count)} events`)
    await tamper("UPDATE control_events SET operator = 'mallory' WHERE seq = 390")
    await t.rejects(since(start + count - 5), { code: 'STORE_TAMPERED' })
    await t.rejects(
      last(5, () => true),
      { code: 'STORE_TAMPERED' },
    )
  })

  void t.test(`${name}: details too long for an entry are hashed`, async (t) => {
    const fixture = await open(t)
    const event = await append(fixture, { text: 'x'.repeat(70_000) })
    t.match(JSON.parse(event.entry.toString()), { detailSha256: /^[0-9a-f]{64}$/, seq: 1 })
    await checkHead(t, fixture.store)
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
