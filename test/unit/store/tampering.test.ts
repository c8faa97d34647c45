/** Tests that changes made to the file without the store key are detected and never acted on. */
// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { createCredentialTable } from '../../../src/sigv4/credential-table.ts'
import { openStore, type StoreOptions as AnyStoreOptions } from '../../../src/store/store.ts'
import { keyId } from '../../support/server.ts'
import { keyStoreName, storeFolder } from '../../support/store.ts'

type StoreOptions = AnyStoreOptions & { readonly path: string }

const TAMPERED = { name: 'StorageError', code: 'STORE_TAMPERED' }
const DEMO = keyStoreName('demo')
const OTHER = keyStoreName('other')

/** Returns a store with several rows in each table, and a copy of its earlier state. */
async function history(t: Test): Promise<{ options: StoreOptions; earlier: string }> {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const keystore = await folder.keystore(store)
  const credentials = createCredentialTable(store, folder.clock)
  for (const [keyStore, name] of [
    [DEMO, 'a'],
    [DEMO, 'b'],
    [OTHER, 'a'],
  ] as const) {
    const key = { keyId: keyId(name), canEncrypt: true, canDecrypt: name === 'a' }
    await keystore.administration(keyStore).createKey(key)
  }
  const revoked = await credentials.create(DEMO)
  await credentials.create(DEMO, { expiresAt: folder.clock.now() + 1000 })
  await credentials.create(OTHER)
  await keystore.administration(DEMO).rotateKey(keyId('a'))
  await store.close()
  const earlier = `${folder.options.path}-earlier`
  copyFileSync(folder.options.path, earlier)

  const later = await folder.open()
  const administration = (await folder.keystore(later)).administration(DEMO)
  folder.clock.advance(60_000)
  await administration.setKeyStatus(keyId('b'), 'DISABLED')
  await administration.destroyVersion(keyId('a'), 1)
  await createCredentialTable(later, folder.clock).revoke(revoked.accessKeyId)
  await later.close()
  return { options: folder.options, earlier }
}

const TABLES = ['facts', 'external_keys', 'key_versions', 'credentials', 'removed_rows']

/** Returns the contents of the tables in TABLES from a database file. */
function dump(path: string): unknown {
  const database = new Sqlite(path, { readonly: true })
  const rows = TABLES.map((table) => database.prepare(`SELECT * FROM ${table}`).all())
  database.close()
  return rows
}

/** Returns SQL that restores the first row matching `where` from the earlier file. */
const replay = (table: string, where: string) =>
  `DELETE FROM ${table} WHERE ${where};
   INSERT INTO ${table} SELECT * FROM earlier.${table} WHERE ${where}`

/** Returns SQL that swaps a column between two rows. */
const swap = (table: string, column: string, one: string, two: string) =>
  `CREATE TEMP TABLE kept AS SELECT ${column} AS x FROM ${table} WHERE ${one};
   UPDATE ${table} SET ${column} = (SELECT ${column} FROM ${table} WHERE ${two}) WHERE ${one};
   UPDATE ${table} SET ${column} = (SELECT x FROM kept) WHERE ${two};
   DROP TABLE kept`

const A = "key_store = 'demo' AND key_id = 'a'"
const B = "key_store = 'demo' AND key_id = 'b'"
const A2 = `${A} AND version = 2`
const REVOKED = 'revoked_at IS NOT NULL'
const EXPIRED = 'expires_at IS NOT NULL'
const LASTING = "key_store = 'other'"

const TAMPERINGS: Readonly<Record<string, string>> = {
  'a disabled key is enabled': `UPDATE external_keys SET status = 'ENABLED' WHERE ${B}`,
  'a key is disabled': `UPDATE external_keys SET status = 'DISABLED' WHERE ${A}`,
  'a key may encrypt': `UPDATE external_keys SET can_encrypt = 0 WHERE ${A}`,
  'a key may decrypt': `UPDATE external_keys SET can_decrypt = 1 WHERE ${B}`,
  'the current version is set back': `UPDATE external_keys SET current_version = 1 WHERE ${A}`,
  'the time of creation is another': `UPDATE external_keys SET created_at = 0 WHERE ${A}`,
  'a key has another id': `UPDATE external_keys SET key_id = 'c' WHERE ${B}`,
  'a key is in another key store': `UPDATE external_keys SET key_store = 'other' WHERE ${B}`,
  'the code of a key is another': `UPDATE external_keys SET mac = 'AAAA' WHERE ${A}`,
  'two keys have swapped codes': swap('external_keys', 'mac', A, B),
  'two keys have swapped their ids': `UPDATE external_keys SET key_id = 'c' WHERE ${A};
     UPDATE external_keys SET key_id = 'a' WHERE ${B};
     UPDATE external_keys SET key_id = 'b' WHERE key_id = 'c'`,
  'a key is gone': `DELETE FROM external_keys WHERE ${B}`,
  'a key was added': `INSERT INTO external_keys SELECT key_store, 'c', status, can_encrypt, can_decrypt,
     current_version, created_at, mac, changed_epoch FROM external_keys WHERE ${A}`,
  'the row of a key is an older one': replay('external_keys', B),
  'the test key of health is gone': "DELETE FROM external_keys WHERE key_store = '.health'",

  'material is swapped between keys': swap('key_versions', 'material', A2, B),
  'material and code are swapped': `${swap('key_versions', 'material', A2, B)};
     ${swap('key_versions', 'mac', A2, B)}`,
  'material is swapped between key stores': swap(
    'key_versions',
    'material',
    B,
    "key_store = 'other'",
  ),
  'material is another': `UPDATE key_versions SET material = 'AAAA' WHERE ${B}`,
  'material is erased': `UPDATE key_versions SET material = NULL WHERE ${B}`,
  'uses are counted down': `UPDATE key_versions SET reserved_uses = reserved_uses - 1 WHERE ${A2}`,
  'a version has another number': `UPDATE key_versions SET version = 3 WHERE ${A2}`,
  'a version was made at another time': `UPDATE key_versions SET created_at = 0 WHERE ${A2}`,
  'a destroyed version was not': `UPDATE key_versions SET destroyed_at = NULL WHERE ${A}`,
  'a version is gone': `DELETE FROM key_versions WHERE ${A2}`,
  'a destroyed version is back': replay('key_versions', `${A} AND version = 1`),
  'a version was added': `INSERT INTO key_versions SELECT key_store, key_id, 3, created_at,
     destroyed_at, reserved_uses, material, mac, changed_epoch FROM key_versions WHERE ${A2}`,

  'a credential expires later': `UPDATE credentials SET expires_at = expires_at + 1 WHERE ${EXPIRED}`,
  'a credential does not expire': `UPDATE credentials SET expires_at = NULL WHERE ${EXPIRED}`,
  'a credential is not revoked': `UPDATE credentials SET revoked_at = NULL WHERE ${REVOKED}`,
  'a credential is for another key store': `UPDATE credentials SET key_store = 'demo' WHERE ${LASTING}`,
  'a credential has another id': `UPDATE credentials SET access_key_id = 'AAAAAAAAAAAAAAAAAAAA' WHERE ${LASTING}`,
  'two credentials have swapped secrets': swap('credentials', 'secret', EXPIRED, LASTING),
  'the time of a credential is another': `UPDATE credentials SET created_at = 0 WHERE ${LASTING}`,
  'a credential is gone': `DELETE FROM credentials WHERE ${LASTING}`,
  'a revoked credential is gone': `DELETE FROM credentials WHERE ${REVOKED}`,
  'a revoked credential is back': `DELETE FROM credentials WHERE ${REVOKED};
     INSERT INTO credentials SELECT * FROM earlier.credentials WHERE access_key_id NOT IN
     (SELECT access_key_id FROM credentials)`,
  'all credentials are gone': 'DELETE FROM credentials',

  'the epoch is another': "UPDATE facts SET value = value + 1 WHERE name = 'epoch'",
  'the state is another': "UPDATE facts SET value = 'AAAA' WHERE name = 'state'",
  'the state is an older one': replay('facts', "name = 'state'"),
  'epoch and state are older ones': replay('facts', "name IN ('epoch', 'state')"),
  'the epoch is beyond all bounds':
    "UPDATE facts SET value = '9007199254740993' WHERE name = 'epoch'",
  'the id of the store is another': "UPDATE facts SET value = 'another' WHERE name = 'store_id'",
  'the time of the store is another': "UPDATE facts SET value = '0' WHERE name = 'created_at'",
  'a fact is gone': "DELETE FROM facts WHERE name = 'created_at'",
  'a fact was added': "INSERT INTO facts (name, value) VALUES ('receipt_key', 'AAAA')",
  'a row of before is written at a later epoch': `UPDATE credentials SET changed_epoch = 1 WHERE ${LASTING}`,
  'a removal was added': "INSERT INTO removed_rows VALUES ('switches', '[]', 1, 'AAAA')",
  'a trigger was planted': `CREATE TRIGGER planted AFTER INSERT ON switches
     BEGIN DELETE FROM switches; END`,
  'a view was planted': 'CREATE VIEW planted AS SELECT * FROM facts',
  'an index was planted': 'CREATE INDEX planted ON facts (value)',
  'a table was planted': 'CREATE TABLE planted (x TEXT)',
  'an index is gone': 'DROP INDEX switches_changed',
  'a column was added': 'ALTER TABLE switches ADD COLUMN planted TEXT',
  'keys are older ones': replay('external_keys', '1 = 1'),
  'all rows are older ones, without their digest': ['external_keys', 'key_versions', 'credentials']
    .map((table) => replay(table, '1 = 1'))
    .join(';'),
}

void t.test('tampering', async (t) => {
  const { options, earlier } = await history(t)
  for (const [name, sql] of Object.entries(TAMPERINGS)) {
    await t.test(name, async (t) => {
      const path = join(t.testdir(), 'store.db')
      copyFileSync(options.path, path)
      const store = await openStore({ ...options, path })
      t.teardown(() => store.close())

      const before = dump(path)
      const others = new Sqlite(path)
      others.pragma('foreign_keys = OFF')
      others.exec(`ATTACH '${earlier}' AS earlier; ${sql.trim()}`)
      others.close()
      const after = dump(path)
      if (!/^(CREATE|DROP|ALTER)/.test(sql)) {
        t.strictNotSame(after, before, 'there is something to notice')
      }

      t.equal(store.fault, undefined)
      await t.rejects(store.audit(), TAMPERED)
      t.match(store.fault, TAMPERED)
      await t.rejects(openStore({ ...options, path }), TAMPERED)
      t.strictSame(dump(path), after, 'nothing was changed, for better or worse')
      // Later changes to other rows may succeed, but must not hide the tampering.
      await store.change(() => Promise.resolve()).catch(() => undefined)
      await t.rejects(store.audit(), TAMPERED, 'no change makes it look genuine')
      await t.rejects(openStore({ ...options, path }), TAMPERED)
    })
  }
  t.ok(Object.keys(TAMPERINGS).length > 40)
})

void t.test('the master key record of another store does not open this one', async (t) => {
  const { options } = await history(t)
  await t.test('nor does the key of that other store', async (t) => {
    const other = await storeFolder(t)
    const database = new Sqlite(options.path)
    const record = new Sqlite(other.options.path)
      .prepare("SELECT value FROM facts WHERE name = 'master_key'")
      .pluck()
      .get()
    database.prepare("UPDATE facts SET value = ? WHERE name = 'master_key'").run(record)
    database.close()
    // The other store's master key decrypts the record, but the rows were sealed with a different store key.
    await t.rejects(openStore({ ...other.options, path: options.path }), TAMPERED)
  })
  await t.rejects(openStore(options), { code: 'MASTER_KEY_WRONG' })
})

void t.test('what is not promised: an older copy of the whole file is consistent', async (t) => {
  const { options, earlier } = await history(t)
  const now = readFileSync(options.path)
  copyFileSync(earlier, options.path)
  const store = await openStore(options)
  const { keys, credentials } = await store.contents()
  t.equal(keys.find((row) => row['key_id'] === 'b')?.['status'], 'ENABLED')
  t.ok(credentials.every((row) => row['revoked_at'] === null))
  await store.close()
  t.notOk(now.equals(readFileSync(options.path)))
})
