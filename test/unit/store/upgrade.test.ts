/**
 * Tests that a store written by an earlier release is verified by that release's rules, and upgraded completely and
 * only once.
 */
// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { systemClock } from '../../../src/core/clock.ts'
import { Deadline } from '../../../src/core/deadline.ts'
import { openSoftwareKeystore } from '../../../src/keys/software/software-keystore.ts'
import { loadStatus } from '../../../src/killswitch/operator/status.ts'
import { openSigner } from '../../../src/killswitch/receipt/signing-key.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { createCredentialTable } from '../../../src/sigv4/credential-table.ts'
import { openStore } from '../../../src/store/store.ts'
import { promised } from '../../../src/keys/suite/promised-backend.ts'
import { read } from '../../support/repository.ts'
import { keyId } from '../../support/server.ts'
import { keyStoreName } from '../../support/store.ts'

const FIXTURE = read('test/fixtures/store/schema-3-sqlite.sql')
/** Values in the store, as recorded by the release that wrote it. */
const WRITTEN = {
  id: '435f7dfd-2a70-4aad-8061-f89cd1c2143c',
  publicKey: 'GxJkDd/jNUgu22K37aDut4gD5/UgeVu3ppMzqKedPYA=',
  active: 'ZG6OA247B2QRBGOP3PVSZKEPDA',
  epoch: 13,
  sealed: {
    version: 1,
    iv: Buffer.from('UqWYlV/8WjJ4bKpc', 'base64'),
    ciphertext: Buffer.from('YQiRw+36dt1KtJvzIAZhtwVuMA+JsOZOTBEdoeWtOeQ=', 'base64'),
    tag: Buffer.from('DJl+lsj8+D24LPsnX/qgfQ==', 'base64'),
  },
}

function oldStore(t: Test, ...changes: readonly string[]) {
  const folder = t.testdir()
  const path = join(folder, 'store.db')
  const masterKeyFile = join(folder, 'master.key')
  writeFileSync(masterKeyFile, Buffer.alloc(32, 0x4c), { mode: 0o600 })
  const database = new Sqlite(path)
  for (const sql of [FIXTURE, ...changes]) database.exec(sql)
  database.close()
  const open = async () => {
    const masterKey = { kind: 'file', path: masterKeyFile } as const
    const store = await openStore({ path, masterKey, clock: systemClock })
    t.teardown(() => store.close())
    return store
  }
  return { path, open }
}

void t.test('all of its content is kept, and sealed in the current form', async (t) => {
  const { open } = oldStore(t)
  await (await open()).close()
  const store = await open()
  await store.audit()
  t.equal(store.id, WRITTEN.id)
  t.equal((await openSigner(store)).publicKey, WRITTEN.publicKey, 'receipts of before still verify')
  const status = await loadStatus(store, 10)
  t.equal(status.epoch, WRITTEN.epoch, 'no server has to reload anything')
  t.match(status.switches, [{ scope: { kind: 'key', keyId: 'b' }, reason: 'a kill of before' }])
  t.match(status.deadManSwitches, [{ keyStore: 'demo', ttlMs: 3_600_000 }])
  t.same(status.requests, [], 'requests without an identity are asked for again')
  t.equal(status.events.length, 3)
  const credentials = createCredentialTable(store, systemClock)
  t.same(
    (await credentials.loadActive()).map(({ accessKeyId }) => accessKeyId),
    [WRITTEN.active],
  )
  const keystore = await openSoftwareKeystore({
    ...{ store, clock: systemClock, version: '0', logger: silentLogger },
  })
  const name = keyStoreName('demo')
  const plaintext = await promised(keystore.backend(name)).decrypt({
    ...{ ...WRITTEN.sealed, keyId: keyId('a'), aad: Buffer.from('aad') },
    deadline: new Deadline(systemClock, 20_000),
  })
  t.equal(plaintext.toString(), 'a data key of thirty-two bytes!!')
  const [a, b] = await keystore.administration(name).listKeys()
  t.match(a?.versions, [
    { state: 'PREVIOUS', encryptions: 65_536 },
    { state: 'DESTROYED' },
    { state: 'CURRENT' },
  ])
  t.equal(b?.status, 'DISABLED')
})

void t.test('a store changed from outside is refused and not sealed again', async (t) => {
  for (const [name, sql] of Object.entries({
    'a row': "UPDATE external_keys SET status = 'ENABLED' WHERE key_id = 'b'",
    'a row is gone': 'DELETE FROM switches',
    'the digest': "UPDATE facts SET value = 'AAAA' WHERE name = 'digest'",
    'a planted trigger': `CREATE TRIGGER planted AFTER UPDATE ON facts BEGIN DELETE FROM switches; END`,
    'a state that nobody sealed': "INSERT INTO facts VALUES ('state', 'AAAA')",
  })) {
    await t.test(name, async (t) => {
      const { open, path } = oldStore(t, sql)
      await t.rejects(open(), { code: 'STORE_TAMPERED' })
      const database = new Sqlite(path, { readonly: true })
      const states = database.prepare("SELECT value FROM facts WHERE name = 'state'").pluck().all()
      database.close()
      t.ok(states.every((value) => value === 'AAAA'))
    })
  }
})

void t.test('two processes that start at once upgrade it once', async (t) => {
  const { open } = oldStore(t)
  const stores = await Promise.all([open(), open(), open()])
  for (const store of stores) await store.audit()
  t.pass('each of them verifies')
})
