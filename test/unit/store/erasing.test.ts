/** Tests that destroyed and revoked values are in none of the store's files, not even in encrypted form. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { createCredentialTable } from '../../../src/sigv4/credential-table.ts'
import type { Store } from '../../../src/store/store.ts'
import { keyId } from '../../support/server.ts'
import { keyStoreName, storeFolder, type StoreFolder } from '../../support/store.ts'

const DEMO = keyStoreName('demo')
const KEY = { keyId: keyId('key'), canEncrypt: true, canDecrypt: true }

/** Returns the store files that contain any part of `text`. The `-wal` file exists only while the store is open. */
function filesWith({ options }: StoreFolder, text: string): readonly string[] {
  const parts = text.match(/.{16}/g) ?? []
  return ['', '-wal'].filter((end) => {
    const bytes = readFileSync(`${options.path}${end}`)
    return parts.some((part) => bytes.includes(part))
  })
}

async function materialOf(store: Store, version: number): Promise<string> {
  const { versions } = await store.contents()
  const row = versions.find((one) => one['key_id'] === 'key' && one['version'] === version)
  return String(row?.['material'])
}

/** Creates a key with two versions and a credential, which are either in the database file or still in its WAL. */
async function filled(t: Test, { inLog }: { readonly inLog: boolean }) {
  const folder = await storeFolder(t)
  const first = await folder.open()
  const keystore = await folder.keystore(first)
  await keystore.administration(DEMO).createKey(KEY)
  await keystore.administration(DEMO).rotateKey(KEY.keyId)
  const credential = await createCredentialTable(first, folder.clock).create(DEMO)
  if (inLog) return { folder, store: first, credential }
  await first.close()
  return { folder, store: await folder.open(), credential }
}

for (const inLog of [true, false]) {
  const where = inLog ? 'in the log' : 'in the database'

  void t.test(`the wrapped material of a destroyed version, ${where}`, async (t) => {
    const { folder, store } = await filled(t, { inLog })
    const [old, current] = [await materialOf(store, 1), await materialOf(store, 2)]
    t.same(filesWith(folder, old), [inLog ? '-wal' : ''], 'it can be found')
    const { administration } = await folder.keystore(store)
    // A second connection keeps the store open, as a running server does.
    await folder.open()
    await administration(DEMO).destroyVersion(KEY.keyId, 1)
    t.same(filesWith(folder, old), [])
    t.ok(filesWith(folder, current).length > 0, 'the other version is there')
    await folder.open()
  })

  void t.test(`the wrapped secret of a revoked credential, ${where}`, async (t) => {
    const { folder, store, credential } = await filled(t, { inLog })
    const [row] = (await store.contents()).credentials
    const wrapped = String(row?.['secret'])
    t.same(filesWith(folder, wrapped), [inLog ? '-wal' : ''])
    await createCredentialTable(store, folder.clock).revoke(credential.accessKeyId)
    t.same(filesWith(folder, wrapped), [])
  })
}

void t.test('a snapshot that is open elsewhere delays it to the next erasure', async (t) => {
  const { folder, store } = await filled(t, { inLog: true })
  const old = await materialOf(store, 1)
  const { administration } = await folder.keystore(store)
  const other = await folder.open()
  await other.database.snapshot(async (reader) => {
    await reader.query('SELECT count(*) AS n FROM facts')
    const { versions } = await administration(DEMO).destroyVersion(KEY.keyId, 1)
    t.match(versions, [{ state: 'DESTROYED' }, { state: 'CURRENT' }], 'the change is done')
  })
  await store.database.erase()
  t.same(filesWith(folder, old), [])
})
