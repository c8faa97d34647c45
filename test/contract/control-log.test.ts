/**
 * Tests the Merkle tree over a store's events on both engines: its head, its proofs, and stores of earlier releases.
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
  readEventsSince,
  type WrittenEvent,
} from '../../src/store/event-log.ts'
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
  void t.test(`${name}: each event is proved by its change, and later by all events`, async (t) => {
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
    const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
    for (const event of written) check(proveEvent(key, events, event.seq), event, EVENTS)
    t.equal(proveEvent(key, events, EVENTS + 1), undefined)
  })

  void t.test(`${name}: the tree continues after changes of an earlier release`, async (t) => {
    const fixture = await open(t)
    const { store, clock } = fixture
    for (let i = 0; i < 3; i++) await append(fixture, { i })
    await store.change(async (transaction, epoch) => {
      const event = { at: clock.now(), epoch, kind: 'old', operator: 'alice', detail: {} }
      await appendEvent(transaction, store.sealing, event)
      // An earlier release seals the end of the event chain without the tree.
      const { seq, head } = transaction.ledger.events
      transaction.ledger.events = { seq, head }
    })
    await checkHead(t, store)
    await append(fixture, { after: true })
    await checkHead(t, store)
  })

  void t.test(`${name}: events are read from any of them on, and a change is found`, async (t) => {
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
    await tamper("UPDATE control_events SET operator = 'mallory' WHERE seq = 390")
    await t.rejects(since(start + count - 5), { code: 'STORE_TAMPERED' })
  })

  void t.test(`${name}: details that are too long for an entry are hashed`, async (t) => {
    const fixture = await open(t)
    const event = await append(fixture, { text: 'x'.repeat(70_000) })
    t.match(JSON.parse(event.entry.toString()), { detailSha256: /^[0-9a-f]{64}$/, seq: 1 })
    await checkHead(t, fixture.store)
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
