/** Tests which master keys open a store, and the error for a wrong one. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Secret } from '../../../src/core/secret.ts'
import {
  createMasterKey,
  createMasterKeyFile,
  type MasterKeySource,
} from '../../../src/store/master-key.ts'

const STORE_KEY = randomBytes(32)
const WRONG = { name: 'StorageError', code: 'MASTER_KEY_WRONG' }
const UNREADABLE = { name: 'StorageError', code: 'MASTER_KEY_UNREADABLE' }
const TAMPERED = { name: 'StorageError', code: 'STORE_TAMPERED' }

const inFile = (path: string): MasterKeySource => ({ kind: 'file', path })
const inWords = (text: string): MasterKeySource => ({
  kind: 'passphrase',
  passphrase: new Secret(text),
})

void t.test(
  'a new key file has 32 random bytes, is for its owner, and never replaces',
  async (t) => {
    const folder = t.testdir()
    const [first, second] = [join(folder, 'a.key'), join(folder, 'b.key')]
    await createMasterKeyFile(first)
    await createMasterKeyFile(second)
    const bytes = readFileSync(first)
    t.equal(bytes.length, 32)
    t.notOk(bytes.equals(readFileSync(second)))
    t.equal(statSync(first).mode & 0o777, 0o600)
    await t.rejects(createMasterKeyFile(first), { code: 'EEXIST' })
    t.ok(readFileSync(first).equals(bytes))
  },
)

void t.test('a key file opens what it wrapped, and no other does', async (t) => {
  const folder = t.testdir()
  const [right, wrong] = [join(folder, 'a.key'), join(folder, 'b.key')]
  await createMasterKeyFile(right)
  await createMasterKeyFile(wrong)
  const record = await createMasterKey(inFile(right)).wrap(STORE_KEY)
  t.ok((await createMasterKey(inFile(right)).unwrap(record)).equals(STORE_KEY))
  await t.rejects(createMasterKey(inFile(wrong)).unwrap(record), {
    ...WRONG,
    message: 'the master key does not open this store',
    hint: /restore the store and its master key/,
  })
  t.notMatch(record, STORE_KEY.toString('base64').slice(0, 20))
})

void t.test(
  'a key file that others could read is refused, and the hint says what to do',
  async (t) => {
    const path = join(t.testdir(), 'master.key')
    await createMasterKeyFile(path)
    const record = await createMasterKey(inFile(path)).wrap(STORE_KEY)
    for (const mode of [0o640, 0o604, 0o620, 0o602, 0o601, 0o666, 0o777]) {
      chmodSync(path, mode)
      const refused = { ...UNREADABLE, message: /others can read/, hint: `chmod 600 ${path}` }
      await t.rejects(createMasterKey(inFile(path)).unwrap(record), refused, mode.toString(8))
      await t.rejects(createMasterKey(inFile(path)).wrap(STORE_KEY), refused)
    }
    for (const mode of [0o600, 0o400]) {
      chmodSync(path, mode)
      t.ok((await createMasterKey(inFile(path)).unwrap(record)).equals(STORE_KEY))
    }
  },
)

void t.test('a key file of another length, a folder and none at all are refused', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'master.key')
  for (const length of [0, 31, 33, 64]) {
    writeFileSync(path, randomBytes(length), { mode: 0o600 })
    const refused = {
      ...UNREADABLE,
      message: `${path}: expected a master key file of 32 bytes, found ${String(length)}`,
    }
    await t.rejects(createMasterKey(inFile(path)).wrap(STORE_KEY), refused)
  }
  const missing = join(folder, 'missing.key')
  await t.rejects(createMasterKey(inFile(missing)).wrap(STORE_KEY), {
    ...UNREADABLE,
    message: `${missing}: the master key file does not exist`,
  })
  mkdirSync(join(folder, 'folder'), { mode: 0o700 })
  await t.rejects(createMasterKey(inFile(join(folder, 'folder'))).wrap(STORE_KEY), UNREADABLE)
})

void t.test(
  'a passphrase opens what it wrapped, through scrypt with a salt of its own',
  async (t) => {
    const record = await createMasterKey(inWords('correct horse')).wrap(STORE_KEY)
    t.ok((await createMasterKey(inWords('correct horse')).unwrap(record)).equals(STORE_KEY))
    await t.rejects(createMasterKey(inWords('correct horsf')).unwrap(record), WRONG)
    await t.rejects(createMasterKey(inWords('')).unwrap(record), WRONG)
    const parsed = JSON.parse(record) as { kind: string; scrypt: { salt: string } }
    t.match(parsed, { kind: 'passphrase', scrypt: { N: 131_072, r: 8, p: 1 } })
    t.equal(Buffer.from(parsed.scrypt.salt, 'base64').length, 16)
    const again = JSON.parse(await createMasterKey(inWords('correct horse')).wrap(STORE_KEY)) as {
      scrypt: { salt: string }
    }
    t.not(again.scrypt.salt, parsed.scrypt.salt)
  },
)

void t.test('a passphrase is the same however its accents are composed', async (t) => {
  const record = await createMasterKey(inWords('caf\u00e9')).wrap(STORE_KEY)
  t.ok((await createMasterKey(inWords('cafe\u0301')).unwrap(record)).equals(STORE_KEY))
})

void t.test('a store of the other kind of master key is refused by name', async (t) => {
  const path = join(t.testdir(), 'master.key')
  await createMasterKeyFile(path)
  const byFile = await createMasterKey(inFile(path)).wrap(STORE_KEY)
  await t.rejects(createMasterKey(inWords('words')).unwrap(byFile), {
    ...WRONG,
    message:
      'the store has a master key of kind file, but the configuration names one of kind passphrase',
  })
  const byWords = await createMasterKey(inWords('words')).wrap(STORE_KEY)
  await t.rejects(createMasterKey(inFile(path)).unwrap(byWords), WRONG)
})

void t.test(
  'a record that was changed does not open, and is no fault of the program',
  async (t) => {
    const words = createMasterKey(inWords('words'))
    const record = JSON.parse(await words.wrap(STORE_KEY)) as {
      scrypt: Record<string, unknown>
      wrapped: string
    }
    const change = (scrypt: Record<string, unknown>) =>
      JSON.stringify({ ...record, scrypt: { ...record.scrypt, ...scrypt } })
    // Accepting weaker scrypt parameters would make guessing the passphrase cheaper.
    await t.rejects(words.unwrap(change({ N: 2 })), WRONG)
    await t.rejects(words.unwrap(change({ salt: 'AAAA' })), WRONG)
    for (const changed of [
      change({ N: 3 }),
      change({ N: 2 ** 30 }),
      // This is within scrypt's memory limit, but eight times as expensive. A higher p would take hours.
      change({ N: 16_384, p: 64 }),
      change({ N: 'many' }),
      change({ r: -1 }),
      change({ salt: 7 }),
      JSON.stringify({ ...record, scrypt: null }),
      JSON.stringify({ ...record, scrypt: undefined }),
      JSON.stringify({ ...record, wrapped: undefined }),
      JSON.stringify({ ...record, kind: 1 }),
      'null',
      '"text"',
      '',
      '{',
    ]) {
      await t.rejects(words.unwrap(changed), TAMPERED, changed.slice(0, 60))
    }
    const cut = JSON.stringify({ ...record, wrapped: record.wrapped.slice(0, 20) })
    await t.rejects(words.unwrap(cut), WRONG)
  },
)
