/** Tests backups made as docs/store.md describes: even a backup made during changes opens in a consistent state. */
// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, existsSync, rmSync } from 'node:fs'
import Sqlite from 'better-sqlite3'
import t from 'tap'
import { keyId } from '../../support/server.ts'
import { keyStoreName, storeFolder } from '../../support/store.ts'

const DEMO = keyStoreName('demo')
const ID = keyId('key')

void t.test('an online backup during changes is a consistent store of one moment', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const administration = (await folder.keystore(store)).administration(DEMO)
  await administration.createKey({ keyId: ID, canEncrypt: true, canDecrypt: true })
  const stop = new AbortController()
  const changing = (async () => {
    while (!stop.signal.aborted) await administration.rotateKey(ID)
  })()

  const source = new Sqlite(folder.options.path, { readonly: true })
  for (const round of [1, 2, 3]) {
    const path = `${folder.options.path}-backup-${String(round)}`
    // The sqlite3 program's `.backup` command uses the same API.
    await source.backup(path)
    const copy = await folder.open({ path })
    const { keys, versions, epoch } = await copy.contents()
    const key = keys.find((row) => row['key_id'] === 'key')
    const own = versions.filter((row) => row['key_id'] === 'key')
    t.equal(key?.['current_version'], own.length)
    t.equal(epoch, own.length + 1, 'epoch and versions are of one moment')
    t.equal(copy.id, store.id)
  }
  source.close()
  stop.abort()
  await changing
})

void t.test('a copy of the file of a store that is closed is a backup', async (t) => {
  const folder = await storeFolder(t)
  const { path } = folder.options
  const store = await folder.open()
  const keystore = await folder.keystore(store)
  const administration = keystore.administration(DEMO)
  await administration.createKey({ keyId: ID, canEncrypt: true, canDecrypt: true })
  const before = await administration.listKeys()
  await store.close()
  t.notOk(existsSync(`${path}-wal`), 'closing leaves one file')
  copyFileSync(path, `${path}-backup`)

  const again = await folder.open()
  await (await folder.keystore(again)).administration(DEMO).rotateKey(ID)
  await again.close()
  for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true })
  copyFileSync(`${path}-backup`, path)
  const restored = await folder.keystore(await folder.open())
  t.same(await restored.administration(DEMO).listKeys(), before)
})
