/** Tests pages of keys and credentials on both engines: their contents, changes between them, and planted rows. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import type { AccessKeyId, ExternalKeyId } from '../../src/core/ids.ts'
import { createKeyAdministration } from '../../src/keys/software/administration.ts'
import { TokenKeyTable } from '../../src/keys/pkcs11/token-key-table.ts'
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
/** So many keys that a page does not verify their whole table. */
const LARGE = 2001
const idOf = (i: number) => keyId(`key-${String(i).padStart(4, '0')}`)

async function fill(store: Store, count = MANY): Promise<void> {
  await store.change(async (transaction) => {
    const table = new KeyTable(transaction, store.sealing)
    for (let i = 0; i < count; i++) {
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

  void t.test(`${name}: of a large table, the rows of the page are verified`, async (t) => {
    const { store, clock, tamper } = await open(t)
    const keys = createKeyAdministration(store, DEMO, clock)
    await fill(store, LARGE)
    await tamper(`UPDATE external_keys SET can_encrypt = 0 WHERE key_id = '${idOf(4)}'`)
    t.equal((await keys.listKeys({ after: undefined, limit: 4 })).length, 4)
    t.equal(store.fault, undefined)
    const second = keys.listKeys({ after: idOf(3), limit: 4 })
    await t.rejects(second, { code: 'STORE_TAMPERED', message: /key-0004/ })
    t.match(store.fault, { code: 'STORE_TAMPERED' }, 'the handle knows')
    await tamper(`UPDATE key_versions SET created_at = 7 WHERE key_id = '${idOf(1)}'`)
    const first = keys.listKeys({ after: undefined, limit: 4 })
    await t.rejects(first, { code: 'STORE_TAMPERED', message: /key_versions demo key-0001/ })
    t.equal((await keys.listKeys({ after: idOf(40), limit: 4 })).length, 4)
  })

  void t.test(
    `${name}: a page of a key store that was on a token shows its old keys, rotated or not`,
    async (t) => {
      const { store, clock } = await open(t)
      await store.change(async (transaction) => {
        const at = { keyStore: DEMO, keyId: idOf(1) }
        const status = 'DISABLED'
        const table = new KeyTable(transaction, store.sealing)
        await table.insertKey({ ...at, ...BOTH, status, currentVersion: 2, createdAt: 1 })
        const tokenKeys = new TokenKeyTable(transaction, store.sealing)
        const seen = { seenAt: 1, reason: null, operator: null }
        await tokenKeys.put({ ...at, version: 2, check: 'A'.repeat(8), ...seen })
      })
      const page = createKeyAdministration(store, DEMO, clock).listKeys({
        after: undefined,
        limit: 4,
      })
      t.match(await page, [{ keyId: idOf(1), versions: [] }])
      const keys = createKeyAdministration(store, DEMO, clock)
      await keys.rotateKey(idOf(1))
      const [rotated] = await keys.listKeys({ after: undefined, limit: 4 })
      t.same(
        rotated?.versions.map(({ version }) => version),
        [3],
      )
    },
  )

  void t.test(`${name}: a page is refused if a row was removed from a small table`, async (t) => {
    const { store, clock, tamper } = await open(t)
    const keys = createKeyAdministration(store, DEMO, clock)
    const table = createCredentialTable(store, clock)
    for (let i = 0; i < 6; i++) {
      await keys.createKey({ keyId: idOf(i), ...BOTH })
      await keys.setKeyDates(idOf(i), { activateAt: clock.now() + 1000 })
      await table.create(DEMO)
    }
    const removed = { code: 'STORE_TAMPERED', message: /rows were added, removed or restored/ }
    const ids = (await table.list()).map(({ accessKeyId }) => accessKeyId)
    await tamper(`DELETE FROM credentials WHERE access_key_id = '${ids.at(-1) ?? ''}'`)
    await t.rejects(table.page({ after: undefined, limit: 2, keyStores: undefined }), removed)
    t.match(await table.find(ids[0] ?? ''), { accessKeyId: ids[0] }, 'which can still be revoked')
    t.equal((await keys.listKeys({ after: undefined, limit: 2 })).length, 2)
    await tamper(`DELETE FROM key_dates WHERE key_id = '${idOf(5)}'`)
    await t.rejects(keys.listKeys({ after: undefined, limit: 2 }), removed)
  })

  void t.test(`${name}: a page is refused if a credential is an older copy`, async (t) => {
    const { store, clock, tamper } = await open(t)
    const table = createCredentialTable(store, clock)
    const { accessKeyId } = await table.create(DEMO)
    const [old] = await store.database.snapshot((reader) =>
      reader.query('SELECT secret, changed_epoch, mac FROM credentials'),
    )
    await table.revoke(accessKeyId)
    const page = () => table.page({ after: undefined, limit: 2, keyStores: [DEMO] })
    t.match(await page(), [{ accessKeyId, status: 'REVOKED' }])
    const copy = `secret = '${String(old?.['secret'])}', mac = '${String(old?.['mac'])}'`
    const epoch = String(old?.['changed_epoch'])
    await tamper(`UPDATE credentials SET ${copy}, changed_epoch = ${epoch}, revoked_at = NULL`)
    const restored = { code: 'STORE_TAMPERED', message: /rows were added, removed or restored/ }
    await t.rejects(page(), restored)
  })

  void t.test(`${name}: a text that is not an access key id is not found`, async (t) => {
    const { store, clock } = await open(t)
    const table = createCredentialTable(store, clock)
    for (const text of ['', '\0', 'A'.repeat(31), 'a'.repeat(20)]) {
      t.equal(await table.find(text), undefined)
      await t.rejects(table.revoke(text), { code: 'CREDENTIAL_NOT_FOUND' })
      await t.rejects(table.expire(text, 1), { code: 'CREDENTIAL_NOT_FOUND' })
    }
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
