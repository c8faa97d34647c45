/** Tests pages of keys and credentials on both engines: their contents, changes between them, and planted rows. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import type { AccessKeyId, ExternalKeyId } from '../../src/core/ids.ts'
import { createKeyAdministration } from '../../src/keys/software/administration.ts'
import { KeyTable } from '../../src/keys/software/key-table.ts'
import { createUseReservations } from '../../src/keys/software/use-reservations.ts'
import { createCredentialTable } from '../../src/sigv4/credential-table.ts'
import { KEY_VERSIONS, KEYS } from '../../src/store/sealed-tables.ts'
import { deleteRow } from '../../src/store/sealed-transaction.ts'
import type { Store } from '../../src/store/store.ts'
import { keyId } from '../support/server.ts'
import { keyStoreName } from '../support/store.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(180_000)

const BOTH = { canEncrypt: true, canDecrypt: true }
const DEMO = keyStoreName('demo')
const OTHER = keyStoreName('other')
/** More keys than are read at once. */
const MANY = 620
const idOf = (i: number) => keyId(`key-${String(i).padStart(4, '0')}`)

async function fill(store: Store): Promise<void> {
  await store.change(async (transaction) => {
    const table = new KeyTable(transaction, store.sealing)
    for (let i = 0; i < MANY; i++) {
      const at = { keyStore: DEMO, keyId: idOf(i), createdAt: i }
      await table.insertKey({ ...at, ...BOTH, status: 'ENABLED', currentVersion: 1 + (i % 2) })
      for (let version = 1; version <= 1 + (i % 2); version++) {
        await table.insertVersion({ ...at, version }, randomBytes(32))
      }
    }
  })
}

async function removeKey(store: Store, id: ExternalKeyId): Promise<void> {
  const key = { key_store: DEMO, key_id: id }
  await store.change(async (transaction) => {
    await deleteRow(transaction, store.sealing, KEY_VERSIONS, { ...key, version: 1 })
    await deleteRow(transaction, store.sealing, KEYS, key)
  })
}

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(`${name}: pages of keys contain the same as the whole list`, async (t) => {
    const { store, clock } = await open(t)
    const keys = createKeyAdministration(store, DEMO, clock)
    await fill(store)
    await createKeyAdministration(store, OTHER, clock).createKey({ keyId: idOf(3), ...BOTH })
    await keys.setKeyDates(idOf(251), { activateAt: clock.now() + 1000 })
    await keys.setKeyStatus(idOf(252), 'DISABLED')
    const { reserve } = createUseReservations(store, 1_000_000)
    await reserve({ keyStore: DEMO, keyId: idOf(301), version: 2, floor: 0 }, 5, () => false)
    const whole = await keys.listKeys()
    t.equal(whole.length, MANY)
    for (const limit of [100, 600, 1000]) {
      const found: (typeof whole)[number][] = []
      let after: ExternalKeyId | undefined
      for (;;) {
        const page = await keys.listKeys({ after, limit })
        t.ok(page.length <= limit)
        found.push(...page)
        after = page.at(-1)?.keyId
        if (page.length < limit) break
      }
      t.same(found, whole, `pages of ${String(limit)}`)
    }
    t.same(await keys.listKeys({ after: keyId('zzz'), limit: 10 }), [])
    const empty = createKeyAdministration(store, 'empty', clock)
    t.same(await empty.listKeys({ after: undefined, limit: 10 }), [])
  })

  void t.test(`${name}: a page is the same after keys before and on it were removed`, async (t) => {
    const { store, clock } = await open(t)
    const keys = createKeyAdministration(store, DEMO, clock)
    for (let i = 0; i < 8; i++) await keys.createKey({ keyId: idOf(10 * i), ...BOTH })
    const idsAfter = async (after: ExternalKeyId | undefined) =>
      (await keys.listKeys({ after, limit: 3 })).map((key) => key.keyId)
    t.same(await idsAfter(undefined), [idOf(0), idOf(10), idOf(20)])
    await removeKey(store, idOf(20))
    await removeKey(store, idOf(40))
    await keys.createKey({ keyId: idOf(15), ...BOTH })
    await keys.createKey({ keyId: idOf(35), ...BOTH })
    t.same(await idsAfter(idOf(20)), [idOf(30), idOf(35), idOf(50)])
    t.same(await idsAfter(idOf(50)), [idOf(60), idOf(70)])
  })

  void t.test(`${name}: each row of a page is verified, and no other row`, async (t) => {
    const { store, clock, tamper } = await open(t)
    const keys = createKeyAdministration(store, DEMO, clock)
    for (let i = 0; i < 6; i++) await keys.createKey({ keyId: idOf(i), ...BOTH })
    await tamper(`UPDATE external_keys SET can_encrypt = 0 WHERE key_id = '${idOf(4)}'`)
    t.equal((await keys.listKeys({ after: undefined, limit: 4 })).length, 4)
    t.equal(store.fault, undefined)
    const second = keys.listKeys({ after: idOf(3), limit: 4 })
    await t.rejects(second, { code: 'STORE_TAMPERED', message: /key-0004/ })
    t.match(store.fault, { code: 'STORE_TAMPERED' }, 'the handle knows')
    await tamper(`UPDATE key_versions SET created_at = 7 WHERE key_id = '${idOf(1)}'`)
    const first = keys.listKeys({ after: undefined, limit: 4 })
    await t.rejects(first, { code: 'STORE_TAMPERED', message: /key_versions demo key-0001/ })
  })

  void t.test(`${name}: pages of credentials, of all key stores and of some`, async (t) => {
    const { store, clock, tamper } = await open(t)
    const table = createCredentialTable(store, clock)
    for (let i = 0; i < 7; i++) await table.create(i % 3 === 0 ? OTHER : DEMO)
    const whole = await table.list()
    const pages = async (keyStores?: readonly string[]) => {
      const found: (typeof whole)[number][] = []
      let after: AccessKeyId | undefined
      for (;;) {
        const page = await table.page({ after, limit: 2, keyStores })
        t.ok(page.length <= 2)
        found.push(...page)
        after = page.at(-1)?.accessKeyId
        if (page.length < 2) return found
      }
    }
    t.same(await pages(), whole)
    t.same(await pages([DEMO]), await table.list(DEMO))
    t.same(await pages([DEMO, OTHER]), whole)
    t.same(await pages([]), [])
    const [first] = whole
    t.same(await table.find(first?.accessKeyId ?? ''), first)
    t.equal(await table.find('A'.repeat(20)), undefined)
    await tamper(`UPDATE credentials SET key_store = 'demo'`)
    await t.rejects(pages([DEMO]), { code: 'STORE_TAMPERED' }, 'a row moved to another key store')
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
