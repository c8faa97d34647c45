/**
 * Defines attacks on the kill switch by an attacker who owns the tables but lacks the master key.
 * Nothing that they plant or restore may make a kill report success falsely.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import t from 'tap'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { restore } from '../../src/killswitch/operator/restore.ts'
import { acceptEpoch } from '../../src/killswitch/operator/service.ts'
import { register } from '../../src/killswitch/instance/instances.ts'
import { toReceipt, recordReceipt } from '../../src/killswitch/receipt/receipt.ts'
import { openSigner } from '../../src/killswitch/receipt/signing-key.ts'
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

/** Returns statements that restore the rows to their current state. */
async function backUp(store: Store): Promise<readonly string[]> {
  const statements: string[] = []
  await store.database.snapshot(async (reader) => {
    for (const table of TABLES) {
      statements.push(`DELETE FROM ${table}`)
      for (const row of await reader.query(`SELECT * FROM ${table}`)) {
        const values = Object.values(row).map((value) =>
          value === null
            ? 'NULL'
            : typeof value === 'number'
              ? String(value)
              : `'${String(value)}'`,
        )
        statements.push(
          `INSERT INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${values.join(', ')})`,
        )
      }
    }
  })
  return statements
}

/** A waiting kill, its outcome, and whether it printed `revoked` before any lease ended. */
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

const TAMPERED = { name: 'StorageError', code: 'STORE_TAMPERED' }

/** Statements that add active objects such as triggers to the tables, for each engine. */
export type Planted = Readonly<Record<string, readonly string[]>>

/** @param keepsEpoch plants a trigger that reverts every new epoch */
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

  test('a kill whose epoch is taken back says that it was not written', async (t) => {
    const { store, clock, tamper } = await open(t)
    await tamper(keepsEpoch)
    await t.rejects(kill(store, clock, ORDER), TAMPERED)
    await t.rejects(store.audit(), TAMPERED, 'and servers refuse everything at their next audit')
  })

  test('a lifted switch whose row is restored is not accepted as active', async (t) => {
    const { store, clock, tamper } = await open(t)
    await kill(store, clock, ORDER)
    const [row] = await store.database.snapshot((reader) => reader.query('SELECT * FROM switches'))
    await restore(store, clock, AT_ONCE, {
      target: { scope: ORDER.scope },
      reason: 'r',
      ...actor('o'),
    })
    const names = Object.keys(row ?? {})
    const values = Object.values(row ?? {}).map((value) =>
      value === null ? 'NULL' : typeof value === 'number' ? String(value) : `'${String(value)}'`,
    )
    await tamper(`INSERT INTO switches (${names.join(', ')}) VALUES (${values.join(', ')})`)
    t.equal((await kill(store, clock, ORDER)).switch, undefined)
    await t.rejects(store.contents(), TAMPERED)
  })

  test('a switch whose row is removed leaves no receipt', async (t) => {
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

  test('a switch that was lifted meanwhile leaves no receipt', async (t) => {
    const { store, clock } = await open(t)
    const done = await kill(store, clock, ORDER)
    await restore(store, clock, AT_ONCE, {
      target: { scope: ORDER.scope },
      reason: 'r',
      ...actor('o'),
    })
    const revocation = { isComplete: true, epoch: done.epoch, instances: [], elapsedMs: 1 }
    const statement = toReceipt(store.id, ORDER, done, revocation, clock.now())
    if (statement === undefined) return
    const signed = (await openSigner(store)).sign(statement)
    await t.rejects(recordReceipt(store, clock, signed), { code: 'RESTORED_MEANWHILE' })
  })

  test('an instance that claims an epoch beyond all bounds does not use up the epochs', async (t) => {
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
    test(`falsified: ${what} of an instance does not make revoked come early`, async (t) => {
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

  test('a registration that is taken away: nothing is believed, and a whole lease is waited for', async (t) => {
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

  test('an older copy without the instance: nobody vouches, and a whole lease is waited for', async (t) => {
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

  test('an acknowledgement of the same epoch in another history is none', async (t) => {
    const fixture = await open(t)
    const { store, clock, tamper } = fixture
    await register(store, identity('a'), 0)
    const before = await backUp(store)
    const other = await kill(store, clock, { ...ORDER, direction: 'encrypt' })
    for (const sql of before) await tamper(sql)
    const { done, waiting, isHeld } = await killAndWait(fixture)
    t.equal(done.epoch, other.epoch)
    // This heartbeat about the removed history is still authentic.
    await say(store, 'a', beatOf(1, other))
    t.ok(await isHeld())
    clock.advance(leaseEndMs(LEASE_MS) + 1)
    t.match((await waiting).instances, [{ id: 'a', how: 'lease-ended' }])
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
    test(`a kill that is hidden from instances while it waits, ${how}, never says revoked`, async (t) => {
      const fixture = await open(t)
      const { store, tamper } = fixture
      await register(store, identity('a'), 0)
      const hide = await prepare(fixture)
      const { waiting, isHeld } = await killAndWait(fixture)
      t.ok(await isHeld())
      for (const sql of hide) await tamper(sql)
      await t.rejects(waiting, {
        code: 'NOT_REVOKED',
        message: /changed from outside during the wait/,
      })
    })
  }

  test('a lease that was renewed after the commit betrays who hid the kill', async (t) => {
    const fixture = await open(t)
    const { store } = fixture
    await register(store, identity('a'), 0)
    await say(store, 'a', beatOf(5, NOTHING_SEEN))
    const { waiting, isHeld } = await killAndWait(fixture)
    t.ok(await isHeld())
    await say(store, 'a', { ...beatOf(6, NOTHING_SEEN), renewedBeat: 5 })
    t.ok(await isHeld(), 'its last answer may have been read before the commit')
    await say(store, 'a', { ...beatOf(7, NOTHING_SEEN), renewedBeat: 6 })
    await t.rejects(waiting, {
      code: 'NOT_REVOKED',
      message: /changed from outside during the wait/,
    })
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
