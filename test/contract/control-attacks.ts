/**
 * The kill switch under an attacker who owns the tables and lacks the master key: nothing that they plant or put back
 * makes a change say that it was made when it was not.
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
import { actor, AT_ONCE, identity, ORDER, type ControlContract } from './control-fixture.ts'

const TAMPERED = { name: 'StorageError', code: 'STORE_TAMPERED' }

/** Statements that put active things beside our tables, for each engine. */
export type Planted = Readonly<Record<string, readonly string[]>>

/** @param keepsEpoch plants something that takes every new epoch back */
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

  test('a switch that was lifted and is put back is not taken for one in force', async (t) => {
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

  test('a switch that is taken away again leaves no receipt', async (t) => {
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
    await register(store.database, identity('a'), 0)
    await tamper('UPDATE instances SET high_epoch = 9007199254740991')
    const accepted = await acceptEpoch(store, clock, { operator: 'o', reason: 'r' })
    t.ok(accepted < 100, String(accepted))
    t.ok((await kill(store, clock, ORDER)).epoch > accepted)
  })

  test('the key of receipts cannot be replaced by taking it away', async (t) => {
    const { store, tamper } = await open(t)
    const { publicKey } = await openSigner(store)
    await tamper("DELETE FROM facts WHERE name = 'receipt_key'")
    t.equal((await openSigner(store)).publicKey, publicKey, 'it is the key of the store')
    await tamper("INSERT INTO facts (name, value) VALUES ('receipt_key', 'AAAA')")
    await t.rejects(openSigner(store), TAMPERED)
  })
}
