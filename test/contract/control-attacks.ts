/**
 * Defines attacks on the kill switch by an attacker who owns the tables but lacks the master key. Nothing the attacker
 * plants or restores may cause a kill to falsely report success.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import t from 'tap'
import type { Clock } from '../../src/core/clock.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { restore } from '../../src/killswitch/operator/restore.ts'
import { acceptEpoch } from '../../src/killswitch/operator/service.ts'
import { register } from '../../src/killswitch/instance/instances.ts'
import { toReceipt, recordReceipt } from '../../src/killswitch/receipt/receipt.ts'
import { openSigner } from '../../src/killswitch/receipt/signing-key.ts'
import type { Row } from '../../src/store/database.ts'
import type { Store } from '../../src/store/store.ts'
import { waitForRevocation } from '../../src/killswitch/operator/wait.ts'
import { leaseEndMs } from '../../src/killswitch/operator/waiting-fleet.ts'
import {
  actor,
  AT_ONCE,
  beatOf,
  type ControlContract,
  type ControlFixture,
  identity,
  LEASE_MS,
  NOTHING_SEEN,
  ORDER,
  say,
} from './control-fixture.ts'

const TABLES = ['facts', 'switches', 'control_events', 'epochs', 'registrations', 'instances']

/** Returns SQL statements that restore the current rows. */
async function backUp(store: Store): Promise<readonly string[]> {
  const statements: string[] = []
  await store.database.snapshot(async (reader) => {
    for (const table of TABLES) {
      statements.push(`DELETE FROM ${table}`)
      for (const row of await reader.query(`SELECT * FROM ${table}`)) {
        statements.push(toInsert(table, row))
      }
    }
  })
  return statements
}

async function lift(store: Store, clock: Clock): Promise<void> {
  const target = { scope: ORDER.scope }
  await restore(store, clock, AT_ONCE, { target, reason: 'r', ...actor('o') })
}

function toInsert(table: string, row: Row): string {
  const values = Object.values(row).map((value) =>
    value === null ? 'NULL' : typeof value === 'number' ? String(value) : `'${String(value)}'`,
  )
  return `INSERT INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${values.join(', ')})`
}

/** Issues a kill and waits for it in the background. `isHeld` returns whether the kill is still waiting. */
async function killAndWait({ store, clock }: ControlFixture) {
  const done = await kill(store, clock, ORDER)
  let isOver = false
  const waiting = waitForRevocation({ store, clock, leaseMs: LEASE_MS }, done).finally(() => {
    isOver = true
  })
  waiting.catch(() => undefined)
  return {
    done,
    waiting,
    async isHeld() {
      await new Promise((resolve) => setTimeout(resolve, 150))
      return !isOver
    },
  }
}

const HIDDEN_KILL = {
  ...{ code: 'NOT_REVOKED', message: /changed outside of Latchkey during the wait/ },
}
const TAMPERED = { name: 'StorageError', code: 'STORE_TAMPERED' }

/** SQL statements for each engine that add active objects, such as triggers, to the tables. */
export type Planted = Readonly<Record<string, readonly string[]>>

/** @param keepsEpoch SQL that plants a trigger that reverts every new epoch */
export function controlAttacks(
  { name, open }: ControlContract,
  planted: Planted,
  keepsEpoch: string,
): void {
  const test = (title: string, work: (t: Test) => Promise<void>) =>
    void t.test(`${name}: ${title}`, work)

  for (const [what, statements] of Object.entries(planted)) {
    test(`planted: ${what}`, async (t) => {
      const { store, clock, tamper } = await open(t)
      for (const sql of statements) await tamper(sql)
      await t.rejects(
        store.change(() => Promise.resolve()),
        TAMPERED,
      )
      await t.rejects(store.audit(), TAMPERED)
      const done = await kill(store, clock, ORDER)
      t.equal(done.switch, undefined, 'no switch is said to be there')
      t.equal(
        await store.database.epoch(),
        done.epoch,
        'servers are told to look, and refuse everything',
      )
      await t.rejects(store.contents(), TAMPERED)
    })
  }

  test('a kill whose epoch is reverted reports that it was not written', async (t) => {
    const { store, clock, tamper } = await open(t)
    await tamper(keepsEpoch)
    await t.rejects(kill(store, clock, ORDER), TAMPERED)
    await t.rejects(store.audit(), TAMPERED, 'and servers refuse everything at their next audit')
  })

  test('a lifted switch whose row is restored is not accepted as active', async (t) => {
    const { store, clock, tamper } = await open(t)
    await kill(store, clock, ORDER)
    const [row] = await store.database.snapshot((reader) => reader.query('SELECT * FROM switches'))
    await lift(store, clock)
    await tamper(toInsert('switches', row ?? {}))
    t.equal((await kill(store, clock, ORDER)).switch, undefined)
    await t.rejects(store.contents(), TAMPERED)
  })

  test('a switch whose row is deleted produces no receipt', async (t) => {
    const { store, clock, tamper } = await open(t)
    const done = await kill(store, clock, ORDER)
    await tamper('DELETE FROM switches')
    const revocation = { isComplete: true, epoch: done.epoch, instances: [], elapsedMs: 1 }
    const statement = toReceipt(store.id, ORDER, done, revocation, clock.now())
    t.ok(statement)
    if (statement === undefined) return
    const signed = (await openSigner(store)).sign(statement)
    await t.rejects(recordReceipt(store, clock, signed), TAMPERED)
  })

  test('a switch that has been lifted in the meantime produces no receipt', async (t) => {
    const { store, clock } = await open(t)
    const done = await kill(store, clock, ORDER)
    await lift(store, clock)
    const revocation = { isComplete: true, epoch: done.epoch, instances: [], elapsedMs: 1 }
    const statement = toReceipt(store.id, ORDER, done, revocation, clock.now())
    if (statement === undefined) return
    const signed = (await openSigner(store)).sign(statement)
    await t.rejects(recordReceipt(store, clock, signed), { code: 'RESTORED_MEANWHILE' })
  })

  test('an instance that claims a huge epoch does not exhaust the epochs', async (t) => {
    const { store, clock, tamper } = await open(t)
    await register(store, identity('a'), 0)
    await tamper('UPDATE instances SET high_epoch = 9007199254740991')
    const accepted = await acceptEpoch(store, clock, { operator: 'o', reason: 'r' })
    t.ok(accepted < 100, String(accepted))
    t.ok((await kill(store, clock, ORDER)).epoch > accepted)
  })

  const FALSIFIED: Readonly<Record<string, string>> = {
    'an acknowledgement': 'UPDATE instances SET acked_epoch = 1000000, acked_tag = mac',
    'a row that is gone': 'DELETE FROM instances',
    'a lease that is shorter': 'UPDATE instances SET lease_ms = 1',
    'a state': "UPDATE instances SET state = 'refusing'",
  }
  for (const [what, sql] of Object.entries(FALSIFIED)) {
    test(`forged: an instance's ${what} does not make \`revoked\` appear early`, async (t) => {
      const fixture = await open(t)
      const { store, clock, tamper } = fixture
      await register(store, identity('a'), 0)
      await say(store, 'a', beatOf(1, NOTHING_SEEN))
      const { waiting, isHeld } = await killAndWait(fixture)
      await tamper(sql)
      t.ok(await isHeld())
      clock.advance(leaseEndMs(LEASE_MS) - 1)
      t.ok(await isHeld())
      clock.advance(2)
      t.match((await waiting).instances, [{ id: 'a', how: 'lease-ended' }])
    })
  }

  test('a deleted registration: nothing is trusted, and the kill waits for a full lease', async (t) => {
    const fixture = await open(t)
    const { store, clock, tamper } = fixture
    await register(store, identity('a'), 0)
    await tamper('DELETE FROM registrations')
    await tamper('DELETE FROM instances')
    const { done, waiting, isHeld } = await killAndWait(fixture)
    t.equal(done.switch, undefined)
    t.ok(await isHeld())
    clock.advance(leaseEndMs(LEASE_MS) + 1)
    t.ok((await waiting).isComplete)
  })

  test('an older copy without the instance: no one vouches, and the kill waits for a full lease', async (t) => {
    const fixture = await open(t)
    const { store, clock, tamper } = fixture
    const before = await backUp(store)
    await register(store, identity('a'), 0)
    for (const sql of before) await tamper(sql)
    const { done, waiting, isHeld } = await killAndWait(fixture)
    t.ok(done.switch, 'the copy is consistent in itself')
    t.ok(await isHeld())
    clock.advance(leaseEndMs(LEASE_MS) + 1)
    t.same((await waiting).instances, [])
  })

  test('an acknowledgement of the same epoch in another history does not count', async (t) => {
    const fixture = await open(t)
    const { store, clock, tamper } = fixture
    await register(store, identity('a'), 0)
    const before = await backUp(store)
    const other = await kill(store, clock, { ...ORDER, direction: 'encrypt' })
    for (const sql of before) await tamper(sql)
    const { done, waiting, isHeld } = await killAndWait(fixture)
    t.equal(done.epoch, other.epoch)
    // This heartbeat is authentic, but acknowledges an epoch of the removed history.
    await say(store, 'a', beatOf(1, other))
    t.ok(await isHeld())
    clock.advance(leaseEndMs(LEASE_MS) + 1)
    t.match((await waiting).instances, [{ id: 'a', how: 'lease-ended' }])
  })

  test('the row of an acknowledged epoch in another history does not make it count', async (t) => {
    const fixture = await open(t)
    const { store, clock, tamper } = fixture
    await register(store, identity('a'), 0)
    const before = await backUp(store)
    await kill(store, clock, { ...ORDER, direction: 'encrypt' })
    const other = await kill(store, clock, { ...ORDER, direction: 'decrypt' })
    const [row] = await store.database.snapshot((reader) =>
      reader.query('SELECT tag, mac FROM epochs WHERE epoch = ?', [other.epoch]),
    )
    for (const sql of before) await tamper(sql)
    const { done, waiting, isHeld } = await killAndWait(fixture)
    t.equal(done.epoch, other.epoch - 1)
    await store.change(() => Promise.resolve())
    await store.change(() => Promise.resolve())
    await tamper(
      `UPDATE epochs SET tag = '${String(row?.['tag'])}', mac = '${String(row?.['mac'])}'
       WHERE epoch = ${String(other.epoch)}`,
    )
    await say(store, 'a', beatOf(1, other))
    t.notOk(await isHeld())
    await t.rejects(waiting, { code: 'NOT_REVOKED', message: /changed outside of Latchkey/ })
  })

  const HIDDEN: Readonly<Record<string, (fixture: ControlFixture) => Promise<readonly string[]>>> =
    {
      'by an older copy': ({ store }) => backUp(store),
      'by its epoch alone': async ({ store }) => {
        const epoch = await store.database.epoch()
        return [
          `UPDATE facts SET value = '${String(epoch)}' WHERE name = 'epoch'`,
          `DELETE FROM epochs WHERE epoch > ${String(epoch)}`,
        ]
      },
    }
  for (const [how, prepare] of Object.entries(HIDDEN)) {
    test(`a kill that is hidden from instances while it waits, ${how}, never prints revoked`, async (t) => {
      const fixture = await open(t)
      const { store, tamper } = fixture
      await register(store, identity('a'), 0)
      const hide = await prepare(fixture)
      const { waiting, isHeld } = await killAndWait(fixture)
      t.ok(await isHeld())
      for (const sql of hide) await tamper(sql)
      await t.rejects(waiting, HIDDEN_KILL)
    })
  }

  test('a lease that was renewed after the commit reveals that the kill was hidden', async (t) => {
    const fixture = await open(t)
    const { store } = fixture
    await register(store, identity('a'), 0)
    await say(store, 'a', beatOf(5, NOTHING_SEEN))
    const { waiting, isHeld } = await killAndWait(fixture)
    t.ok(await isHeld())
    await say(store, 'a', { ...beatOf(6, NOTHING_SEEN), renewedBeat: 5 })
    t.ok(await isHeld(), 'its last answer may have been read before the commit')
    await say(store, 'a', { ...beatOf(7, NOTHING_SEEN), renewedBeat: 6 })
    t.ok(await isHeld(), 'that poll may have begun before the commit, and become visible after it')
    await say(store, 'a', { ...beatOf(8, NOTHING_SEEN), renewedBeat: 7 })
    await t.rejects(waiting, HIDDEN_KILL)
  })

  test('removing the receipt key does not replace it', async (t) => {
    const { store, tamper } = await open(t)
    const { publicKey } = await openSigner(store)
    await tamper("DELETE FROM facts WHERE name = 'receipt_key'")
    t.equal((await openSigner(store)).publicKey, publicKey, 'it is the key of the store')
    await tamper("INSERT INTO facts (name, value) VALUES ('receipt_key', 'AAAA')")
    await t.rejects(openSigner(store), TAMPERED)
  })
}
