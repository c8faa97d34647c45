/** Tests that unusable stores are refused, each with its reason, and that not a single byte in the file changes. */
// SPDX-License-Identifier: Apache-2.0
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { Secret } from '../../../src/core/secret.ts'
import { createMasterKeyFile } from '../../../src/store/master-key.ts'
import { MIGRATIONS } from '../../../src/store/migrations/migrations.ts'
import {
  createStore,
  openStore,
  type StoreOptions as AnyStoreOptions,
} from '../../../src/store/store.ts'
import { sha256, storeFolder } from '../../support/store.ts'

type StoreOptions = AnyStoreOptions & { readonly path: string }

/**
 * Checks twice that opening the store fails with `expected`, and that it changes neither the file nor any other file in
 * its folder.
 */
async function refusesUnchanged(t: Test, options: StoreOptions, expected: object): Promise<void> {
  const folder = dirname(options.path)
  const before = sha256(options.path)
  const files = readdirSync(folder)
  for (let round = 0; round < 2; round++) {
    await t.rejects(openStore(options), { name: 'StorageError', ...expected })
    t.equal(sha256(options.path), before, 'no byte changed')
    t.same(readdirSync(folder), files, 'nothing is left beside it')
  }
}

void t.test('a wrong master key file', async (t) => {
  const { options, masterKeyFile, open } = await storeFolder(t)
  const right = readFileSync(masterKeyFile)
  const other = join(dirname(masterKeyFile), 'other.key')
  await createMasterKeyFile(other)
  const wrong: StoreOptions = { ...options, masterKey: { kind: 'file', path: other } }
  await refusesUnchanged(t, wrong, {
    code: 'MASTER_KEY_WRONG',
    message: 'the master key does not open this store',
    hint: 'restore the store and its master key from the same backup',
  })
  t.ok(readFileSync(masterKeyFile).equals(right))
  t.same((await (await open()).contents()).epoch, 0, 'the right one opens it as before')
})

void t.test('a wrong master key after a crash does not lose the contents of the WAL', async (t) => {
  const { options, masterKeyFile, open, keystore } = await storeFolder(t)
  const store = await open()
  await keystore(store)
  const { epoch } = await store.contents()
  const path = join(dirname(options.path), 'crashed', 'store.db')
  await mkdir(dirname(path))
  for (const end of ['', '-wal', '-shm']) copyFileSync(`${options.path}${end}`, `${path}${end}`)
  const other = `${masterKeyFile}-other`
  await createMasterKeyFile(other)
  const wrong: StoreOptions = { ...options, path, masterKey: { kind: 'file', path: other } }
  await t.rejects(openStore(wrong), { name: 'StorageError', code: 'MASTER_KEY_WRONG' })
  const again = await open({ path })
  t.equal((await again.contents()).epoch, epoch)
})

void t.test('a wrong passphrase, and a passphrase instead of a file', async (t) => {
  const { options } = await storeFolder(t)
  const words = (text: string): StoreOptions => ({
    ...options,
    path: `${options.path}-words`,
    masterKey: { kind: 'passphrase', passphrase: new Secret(text) },
  })
  const store = await createStore(words('right'))
  const { id } = store
  await store.close()
  await refusesUnchanged(t, words('wrong'), { code: 'MASTER_KEY_WRONG' })
  await refusesUnchanged(
    t,
    { ...words('right'), path: options.path },
    { code: 'MASTER_KEY_WRONG', message: /of kind file/ },
  )
  const again = await openStore(words('right'))
  t.equal(again.id, id)
  await again.close()
})

void t.test('a master key file that is missing or that others can read', async (t) => {
  const { options, masterKeyFile } = await storeFolder(t)
  const missing = join(dirname(masterKeyFile), 'missing.key')
  await refusesUnchanged(
    t,
    { ...options, masterKey: { kind: 'file', path: missing } },
    { code: 'MASTER_KEY_UNREADABLE' },
  )
  t.notOk(existsSync(missing), 'opening makes no key')
  chmodSync(masterKeyFile, 0o644)
  await refusesUnchanged(t, options, { code: 'MASTER_KEY_UNREADABLE' })
})

void t.test('a store of a later schema', async (t) => {
  const { options, tamper } = await storeFolder(t)
  const later = MIGRATIONS.length + 1
  tamper(
    `PRAGMA user_version = ${String(later)}`,
    'ALTER TABLE external_keys ADD COLUMN novelty TEXT',
  )
  await refusesUnchanged(t, options, {
    code: 'STORE_NEWER',
    message: `${options.path} has schema version ${String(later)}; this release supports up to ${String(MIGRATIONS.length)}`,
    hint: 'use the release that wrote the store, or a later release',
  })
})

void t.test('a file that is not a database, or is empty, truncated or overwritten', async (t) => {
  const { options } = await storeFolder(t)
  const whole = readFileSync(options.path)
  const corrupt = { code: 'STORE_CORRUPT' }
  const overwritten = Buffer.from(whole)
  // The second page is a table's root page.
  overwritten.fill(0xa5, 4096, 3 * 4096)
  for (const [name, bytes] of [
    [
      'text',
      Buffer.from('this is no database, and it is longer than a header has to be\n'.repeat(20)),
    ],
    ['empty', Buffer.alloc(0)],
    ['one byte', Buffer.from('S')],
    ['cut off', whole.subarray(0, whole.length - 4096)],
    ['a page overwritten', overwritten],
  ] as const) {
    const path = `${options.path}-${name.replaceAll(' ', '-')}`
    writeFileSync(path, bytes, { mode: 0o600 })
    await t.test(name, (t) => refusesUnchanged(t, { ...options, path }, corrupt))
  }
})

void t.test('a database of another program', async (t) => {
  const { options } = await storeFolder(t)
  const path = `${options.path}-foreign`
  const foreign = new Sqlite(path)
  foreign.exec('CREATE TABLE facts (name TEXT, value TEXT)')
  foreign.close()
  await refusesUnchanged(
    t,
    { ...options, path },
    { code: 'STORE_CORRUPT', message: `${path} is not a Latchkey store` },
  )
})

void t.test('a store without its facts, as an interrupted init leaves it', async (t) => {
  const { options, tamper } = await storeFolder(t)
  tamper("DELETE FROM facts WHERE name = 'store_id'")
  await refusesUnchanged(t, options, {
    code: 'STORE_CORRUPT',
    message: /lacks the required fact "store_id"/,
  })
  tamper('DELETE FROM facts')
  await refusesUnchanged(t, options, { code: 'STORE_CORRUPT' })
})

void t.test('a missing file or a folder is refused, and no store is created', async (t) => {
  const { options } = await storeFolder(t)
  const path = `${options.path}-missing`
  await t.rejects(openStore({ ...options, path }), {
    name: 'StorageError',
    code: 'STORE_MISSING',
    message: `${path}: there is no store`,
    hint: /latchkey init/,
  })
  t.notOk(existsSync(path))
  await mkdir(path)
  await t.rejects(openStore({ ...options, path }), { name: 'StorageError' })
  t.same(readdirSync(path), [])
})

void t.test(
  'a new store never replaces what is there, and a failed one leaves nothing',
  async (t) => {
    const { options } = await storeFolder(t)
    const before = sha256(options.path)
    await t.rejects(createStore(options), { name: 'StorageError', code: 'STORE_EXISTS' })
    t.equal(sha256(options.path), before)
    const path = `${options.path}-new`
    const masterKey = { kind: 'file', path: `${path}.key` } as const
    await t.rejects(createStore({ ...options, path, masterKey }), { code: 'MASTER_KEY_UNREADABLE' })
    t.notOk(existsSync(path))
  },
)

void t.test(
  'every file of a store is for its owner only, while it is open and after',
  async (t) => {
    const before = process.umask(0)
    t.teardown(() => process.umask(before))
    const { options, open, keystore } = await storeFolder(t)
    const store = await open()
    await keystore(store)
    const modes = () =>
      readdirSync(dirname(options.path)).map(
        (name) => [name, statSync(join(dirname(options.path), name)).mode & 0o777] as const,
      )
    const expected = (...names: readonly string[]) => names.map((name) => [name, 0o600])
    t.same(modes(), expected('master.key', 'store.db', 'store.db-shm', 'store.db-wal'))
    await store.close()
    t.same(modes(), expected('master.key', 'store.db'))
  },
)
