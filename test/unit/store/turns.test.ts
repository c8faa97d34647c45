/**
 * Tests that a server processes only a few rows of a large store per event loop turn, and that after a change it
 * processes only the changed rows.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../src/core/logger.ts'
import { parseExternalKeyId } from '../../../src/core/ids.ts'
import { openTokenKeyRecords } from '../../../src/keys/pkcs11/key-records.ts'
import { TokenKeyTable } from '../../../src/keys/pkcs11/token-key-table.ts'
import { createKeyAdministration } from '../../../src/keys/software/administration.ts'
import { KeyTable } from '../../../src/keys/software/key-table.ts'
import { createUseReservations } from '../../../src/keys/software/use-reservations.ts'
import { indexRules } from '../../../src/killswitch/gate/rules.ts'
import { createControlFeed } from '../../../src/killswitch/instance/control-feed.ts'
import { SwitchTable } from '../../../src/killswitch/switch-table.ts'
import { createCredentialTable, followCredentials } from '../../../src/sigv4/credential-table.ts'
import { createCredentialSnapshot } from '../../../src/sigv4/credential.ts'
import { CREDENTIALS } from '../../../src/store/sealed-tables.ts'
import { insertRow } from '../../../src/store/sealed-transaction.ts'
import type { Store } from '../../../src/store/store.ts'
import { keyStoreName, storeFolder } from '../../support/store.ts'
import { countRows, countTurns } from '../../support/turns.ts'

/** Number of rows to create: several times the number of rows allowed per turn. */
const MANY = 1200
/** Maximum number of rows per turn. Verifying or parsing this many takes well under two milliseconds. */
const MOST = 200
/** Number of rows that changing one row may touch: the row itself, the state, and the store's keys. */
const FEW = 12
const DEMO = keyStoreName('demo')

function keyIdOf(i: number | string) {
  const keyId = parseExternalKeyId(`key-${String(i)}`)
  if (keyId === undefined) throw new TypeError('not a key id')
  return keyId
}

const switchOf = (i: number) => ({
  ...({ id: `switch-${String(i)}`, direction: 'both', reason: 'test', operator: 'test' } as const),
  scope: { kind: 'key', keyStore: DEMO, keyId: `key-${String(i)}` } as const,
  ...{ createdAt: 1, epoch: 1 },
})

async function fill(store: Store): Promise<void> {
  const { sealing } = store
  await store.change(async (transaction) => {
    const keys = new KeyTable(transaction, sealing)
    const tokenKeys = new TokenKeyTable(transaction, sealing)
    const switches = new SwitchTable(transaction, sealing)
    for (let i = 0; i < MANY; i++) {
      const at = { keyStore: DEMO, keyId: keyIdOf(i), version: 1, createdAt: 1 }
      await keys.insertKey({
        ...{ keyStore: DEMO, keyId: at.keyId, status: 'ENABLED', currentVersion: 1, createdAt: 1 },
        ...{ canEncrypt: true, canDecrypt: true },
      })
      await keys.insertVersion(at, randomBytes(32))
      await tokenKeys.put({ ...at, check: 'AAAA', seenAt: 1, reason: null, operator: null })
      await switches.insertSwitch(switchOf(i))
      const digits = i.toString(8).padStart(20, '0')
      const id = digits.replaceAll(/\d/g, (digit) => 'ABCDEFGH'.charAt(Number(digit)))
      await insertRow(transaction, sealing, CREDENTIALS, {
        access_key_id: id,
        key_store: DEMO,
        secret: sealing.wrap(['credential', id, DEMO], Buffer.from('s'.repeat(44))),
        ...{ created_at: 1, expires_at: null, revoked_at: null },
      })
    }
  })
}

async function open(t: Test) {
  const folder = await storeFolder(t)
  const store = await folder.open()
  await fill(store)
  const counter = countTurns()
  t.teardown(counter.stop)
  return { store, counter, counting: countRows(store, counter), clock: folder.clock, folder }
}

void t.test('keys, credentials, token keys and switches are loaded in small slices', async (t) => {
  const { store, counter, counting, clock, folder } = await open(t)
  const { sealing } = store
  const checkAll = (what: string) => {
    const { most, total } = counter.take()
    t.ok(total >= MANY, `${what}: all rows were counted, ${String(total)}`)
    t.ok(most <= MOST, `${what}: ${String(most)} rows in one turn`)
  }
  const checkOne = (what: string) => {
    const { total } = counter.take()
    t.ok(total > 0 && total <= FEW, `${what}: a change touches ${String(total)} rows`)
  }

  counter.take()
  const keystore = await folder.keystore(counting)
  checkAll('software keys')
  await store.change((transaction) =>
    new KeyTable(transaction, sealing).insertVersion(
      { keyStore: DEMO, keyId: keyIdOf(7), version: 2, createdAt: 2 },
      randomBytes(32),
    ),
  )
  counter.take()
  await keystore.reload()
  checkOne('software keys')

  const credentials = createCredentialSnapshot(followCredentials(counting))
  await credentials.reload()
  checkAll('credentials')
  t.equal(credentials.all().length, MANY)
  await createCredentialTable(store, clock).create(DEMO)
  counter.take()
  await credentials.reload()
  checkOne('credentials')
  t.equal(credentials.all().length, MANY + 1)

  const records = await openTokenKeyRecords({ store: counting, clock, logger: silentLogger })
  t.teardown(() => records.close())
  checkAll('token keys')
  t.same(records.of(DEMO, false).versions(keyIdOf(MANY - 1)), [1])
  await store.change((transaction) =>
    new KeyTable(transaction, sealing).updateKey({
      ...{ keyStore: DEMO, keyId: keyIdOf(3), status: 'DISABLED', currentVersion: 1, createdAt: 1 },
      ...{ canEncrypt: true, canDecrypt: true },
    }),
  )
  counter.take()
  await records.reload()
  checkOne('token keys')
  t.equal(records.of(DEMO, false).status(keyIdOf(3)), 'DISABLED')

  const feed = createControlFeed(counting)
  const { switches } = await counting.database.snapshot((reader) => feed.read(reader))
  t.equal(switches.length, MANY)
  checkAll('switches')
  await store.change((transaction) =>
    new SwitchTable(transaction, sealing).insertSwitch(switchOf(MANY)),
  )
  counter.take()
  const after = await counting.database.snapshot((reader) => feed.read(reader))
  t.equal(after.switches.length, MANY + 1)
  checkOne('switches')
})

void t.test('the rules of the gate are built in small slices', async (t) => {
  const counter = countTurns()
  t.teardown(counter.stop)
  const switches = Array.from({ length: 5000 }, (_, i) => counter.counted(switchOf(i)))
  counter.take()
  const rules = await indexRules(switches, new Map())
  const { most, total } = counter.take()
  t.equal(total, 5000)
  t.ok(most <= 500, `${String(most)} switches in one turn`)
  t.equal(rules.size, 5000)
  const operation = 'Decrypt'
  t.equal(rules.refusal({ operation, keyStore: DEMO, keyId: 'key-4999' }), 'KILLED_KEY')
  t.equal(rules.refusal({ operation, keyStore: DEMO, keyId: 'key-5000' }), undefined)
})

void t.test('a list of keys takes their uses in small slices', async (t) => {
  const { store, counter, counting, clock } = await open(t)
  const { reserve } = createUseReservations(store, 1_000_000)
  await Promise.all(
    Array.from({ length: MANY }, (_, i) =>
      reserve({ keyStore: DEMO, keyId: keyIdOf(i), version: 1, floor: 0 }, 5, () => false),
    ),
  )
  counter.take()
  const keys = await createKeyAdministration(counting, DEMO, clock).listKeys()
  const { most, total } = counter.take()
  t.equal(keys.length, MANY)
  t.ok(keys.every(({ versions }) => versions[0]?.encryptions === 5))
  t.ok(total >= MANY, String(total))
  t.ok(most <= MOST, `${String(most)} rows in one turn`)
})

void t.test('pages of keys and credentials take their rows in small slices', async (t) => {
  const { store, counter, counting, clock } = await open(t)
  // In a store of this size, a page also verifies its whole tables.
  const check = (what: string, rows: number, tables: number) => {
    const { most, total } = counter.take()
    const all = rows + tables * MANY
    t.ok(total >= all && total <= all + (tables + 1) * FEW, `${what}: ${String(total)} rows`)
    t.ok(most <= MOST, `${what}: ${String(most)} rows in one turn`)
  }
  counter.take()
  const keys = createKeyAdministration(counting, DEMO, clock)
  t.equal((await keys.listKeys({ after: keyIdOf(1), limit: 1000 })).length, 1000)
  check('keys and their versions', 2000, 2)
  t.equal((await keys.listKeys({ after: keyIdOf(2), limit: 10 })).length, 10)
  check('a short page', 20, 2)
  const credentials = createCredentialTable(counting, clock)
  const page = { after: undefined, limit: 1000, keyStores: undefined }
  t.equal((await credentials.page(page)).length, 1000)
  check('credentials', 1000, 1)
  t.equal(store.fault, undefined)
})

void t.test(
  'a store counts the time that its feeds read, so that the first audit can wait',
  async (t) => {
    const folder = await storeFolder(t)
    let now = 0
    const clock = { now: () => 0, monotonic: () => (now += 100), sinceBoot: () => 0 }
    const store = await folder.open({ clock })
    t.equal(store.readMs, 0)
    await store.feed(CREDENTIALS).update(() => undefined)
    const { readMs } = store
    t.ok(readMs >= 100, String(readMs))
    await store.feed(CREDENTIALS).update(() => undefined)
    t.ok(store.readMs > readMs)
  },
)
