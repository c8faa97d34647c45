/** Tests that the store counts encryptions with a token key, up to the limit for random IVs. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { systemClock } from '../../src/core/clock.ts'
import { enforceContract } from '../../src/keys/contract.ts'
import { openTokenKeyRecords } from '../../src/keys/pkcs11/key-records.ts'
import { decrypt, encrypt, keyId, refusal } from '../../src/keys/suite/fixture.ts'
import { openKeysOn } from '../support/pkcs11/backend-config.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import { keyStoreName, storeFolder } from '../support/store.ts'

t.setTimeout(120_000)

const KEY = keyId('key')
const STORE = keyStoreName('demo')
const USES = { blockUses: 4, maxUses: 20 }

void t.test('encryptions are counted over restarts, with warnings before the limit', async (t) => {
  const token = await createSoftHsm(t)
  await createTokenKeys(t, token, [{ label: 'key' }])
  const store = await (await storeFolder(t)).open()
  const keys = await openKeysOn(t, token)
  const warnings: object[] = []
  const start = async () => {
    const records = await openTokenKeyRecords({
      ...{ store, clock: systemClock, uses: USES },
      logger: {
        info: () => undefined,
        error: () => undefined,
        warn: (message, fields) => warnings.push({ message, ...fields }),
      },
    })
    t.teardown(() => records.close())
    return {
      records,
      backend: promised(enforceContract(keys.backend('', records.of(STORE, true)))),
    }
  }
  const first = await start()
  const sealed = await encrypt(first as never, KEY, Buffer.from('x'))
  for (let i = 1; i < 10; i++) await encrypt(first as never, KEY, Buffer.from('x'))
  const second = await start()
  let made = 10
  await t.rejects(async () => {
    for (; made <= USES.maxUses; made++) await encrypt(second as never, KEY, Buffer.from('x'))
  }, refusal('KEY_EXHAUSTED'))
  t.ok(made < USES.maxUses, 'the block of the process before is not used again')
  t.same(await decrypt(second as never, KEY, sealed), Buffer.from('x'), 'it still decrypts')
  t.match(warnings, [
    { keyStore: 'demo', keyId: 'key', keyVersion: 1, encryptions: Number, limit: USES.maxUses },
    { keyId: 'key' },
  ])
  const administration = keys.administration(STORE, '', store)
  t.match(await administration.listKeys(), [{ versions: [{ encryptions: USES.maxUses }] }])
  await administration.rotateKey(KEY)
  await second.records.reload()
  t.equal((await encrypt(second as never, KEY, Buffer.from('x'))).version, 2, 'a rotation helps')
})
