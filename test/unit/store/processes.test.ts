/**
 * Tests a store that several processes share: no change is lost, every use is counted, and each process sees the
 * other processes' changes.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { rotate, rotateElsewhere, type Rotations } from '../../support/rotations.ts'
import { eventually, keyId } from '../../support/server.ts'
import { keyStoreName, storeFolder } from '../../support/store.ts'

const DEMO = keyStoreName('demo')
const ROUNDS = 12

void t.test('two processes and this one change one key at a time', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const keystore = await folder.keystore(store)
  const administration = keystore.administration(DEMO)
  const key = { keyId: keyId('shared'), canEncrypt: true, canDecrypt: true }
  await administration.createKey(key)
  const epoch = await store.database.epoch()
  const work: Rotations = {
    path: folder.options.path,
    masterKeyFile: folder.masterKeyFile,
    keyId: 'shared',
    rounds: ROUNDS,
    blockUses: 1,
  }
  const [one, two] = await Promise.all([rotateElsewhere(work), rotateElsewhere(work), rotate(work)])
  t.same(
    [one, two],
    [
      { code: 0, stderr: '' },
      { code: 0, stderr: '' },
    ],
  )

  const [summary] = await administration.listKeys()
  t.same(
    summary?.versions.map(({ version }) => version),
    Array.from({ length: 1 + 3 * ROUNDS }, (_, i) => i + 1),
    'each rotation has its own version',
  )
  t.equal(await store.database.epoch(), epoch + 3 * ROUNDS, 'each raised the epoch, uses did not')
  const uses = summary?.versions[0]?.encryptions ?? 0
  t.ok(uses >= 3 * ROUNDS, `${String(uses)} uses are counted, ${String(3 * ROUNDS)} were made`)
  t.ok(uses <= 3 * (ROUNDS + 2), 'and hardly more are set aside')
  await store.contents()
  await keystore.reload()
})

void t.test('what another handle changed is seen by its epoch', async (t) => {
  const folder = await storeFolder(t)
  const [reader, writer] = [await folder.open(), await folder.open()]
  const keystore = await folder.keystore(writer)
  const before = await reader.database.epoch()
  await keystore.administration(DEMO).createKey({
    keyId: keyId('new'),
    canEncrypt: true,
    canDecrypt: true,
  })
  await eventually(async () => (await reader.database.epoch()) > before)
  t.ok((await reader.contents()).keys.some((row) => row['key_id'] === 'new'))
})

void t.test('two processes that open a store without a test key make one', async (t) => {
  const folder = await storeFolder(t)
  const stores = [await folder.open(), await folder.open()]
  await Promise.all(stores.map((store) => folder.keystore(store)))
  const { keys } = await (await folder.open()).contents()
  t.same(
    keys.map((row) => row['key_store']),
    ['.health'],
  )
})
