/**
 * Tests with a real token and a real store that keys are recognized after a restart. A different key with the same
 * name, or a token restored from an old backup, is refused until an operator trusts it.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Pkcs11BackendConfig } from '../../src/config/config.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { Logger } from '../../src/core/logger.ts'
import { enforceContract } from '../../src/keys/contract.ts'
import { openTokenKeyRecords } from '../../src/keys/pkcs11/key-records.ts'
import { createStore, openStore, type Store, type StoreOptions } from '../../src/store/store.ts'
import { decrypt, encrypt, keyId, refusal } from '../../src/keys/suite/fixture.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import { openKeysOn } from '../support/pkcs11/backend-config.ts'
import { withFaults, type FaultyToken } from '../support/pkcs11/fault-module.ts'
import { createSoftHsm, createTokenKeys, openToken } from '../support/pkcs11/tokens.ts'
import { startPostgres } from '../support/postgres.ts'
import { keyStoreName, storeFolder } from '../support/store.ts'

t.jobs = 1
t.setTimeout(180_000)

const KEY = keyId('key')
const STORE = keyStoreName('demo')
const ORDER = { reason: 'the old key is lost', operator: 'alice' }

/**
 * Starts a serving process with its own token sessions, store and key records. If the test does not close it, it is
 * closed when the test ends.
 */
async function startInstance(
  t: Test,
  token: FaultyToken,
  options: StoreOptions,
  more: Partial<Pkcs11BackendConfig> = {},
) {
  const store = await openStore(options)
  const warnings: object[] = []
  const logger: Logger = {
    info: () => undefined,
    error: () => undefined,
    warn: (message, fields) => warnings.push({ message, ...fields }),
  }
  const keys = await openKeysOn(t, token, { sessions: { min: 1, max: 1 }, ...more })
  const records = await openTokenKeyRecords({ store, clock: systemClock, logger })
  const backend = promised(enforceContract(keys.backend('', records.of(STORE, true))))
  let isStopped = false
  const stop = async () => {
    if (isStopped) return
    isStopped = true
    await records.close()
    keys.close()
    await store.close()
  }
  t.teardown(stop)
  return { store, keys, records, backend, warnings, stop }
}

async function replaceKey(t: Test, token: FaultyToken, label: string, material?: Buffer) {
  const { module, session } = await openToken(t, token)
  for (const key of await module.step({ step: 'find', session, label }))
    await module.step({ step: 'destroy', session, key })
  await module.close()
  if (material !== undefined) await createTokenKeys(t, token, [{ label, material }])
}

async function recordedChecks(store: Store): Promise<readonly unknown[]> {
  return store.database.snapshot((reader) =>
    reader.query(
      'SELECT key_store, key_id, version, reason, operator FROM token_keys ORDER BY key_id',
      [],
    ),
  )
}

const ENGINES: readonly [string, (t: Test) => Promise<StoreOptions>][] = [
  ['SQLite', async (t) => (await storeFolder(t)).options],
  [
    'PostgreSQL',
    async (t) => {
      const { options } = await storeFolder(t)
      const { masterKey, clock } = options
      const { host, port, database, user } = await (await startPostgres(t)).createDatabase()
      const place = { masterKey, clock, postgres: { host, port, database, user } }
      await (await createStore(place)).close()
      return place
    },
  ],
]

for (const [engine, create] of ENGINES) {
  void t.test(
    `a different key with the same name is refused after a restart, on ${engine}`,
    async (t) => {
      const options = await create(t)
      const token = await withFaults(t, await createSoftHsm(t))
      const [right, wrong] = [randomBytes(32), randomBytes(32)]
      await createTokenKeys(t, token, [{ label: 'key', material: right }, { label: 'other' }])
      const first = await startInstance(t, token, options)
      const sealed = await encrypt(first as never, KEY, Buffer.from('before'))
      await first.stop()

      await replaceKey(t, token, 'key', wrong)
      const one = await startInstance(t, token, options)
      const two = await startInstance(t, token, options)
      for (const instance of [one, two]) {
        await t.rejects(encrypt(instance as never, KEY, Buffer.from('x')), refusal('KEY_REPLACED'))
        await t.rejects(decrypt(instance as never, KEY, sealed), refusal('KEY_REPLACED'))
        const mark = token.control.mark()
        for (let round = 0; round < 50; round++)
          await t.rejects(
            encrypt(instance as never, KEY, Buffer.from('x')),
            refusal('KEY_REPLACED'),
          )
        t.same(token.control.log(mark), [], 'the token is not asked again')
        await encrypt(instance as never, keyId('other'), Buffer.from('another key is served'))
        t.equal(instance.warnings.length, 1, 'one warning')
        t.match(instance.warnings[0], { keyStore: 'demo', keyId: 'key', keyVersion: 1 })
      }

      await replaceKey(t, token, 'key', right)
      const again = await startInstance(t, token, options)
      t.same(
        await decrypt(again as never, KEY, sealed),
        Buffer.from('before'),
        'the old key is back',
      )
      await again.stop()

      await replaceKey(t, token, 'key', wrong)
      const administration = one.keys.administration(STORE, '', one.store)
      t.match(await administration.listKeys(), [
        { keyId: 'key', problem: { kind: 'REPLACED' } },
        {},
      ])
      const { changes } = await administration.trustKey(KEY, ORDER)
      t.match(changes, [{ version: 1, recorded: String, found: String }])
      t.same((await administration.trustKey(KEY, ORDER)).changes, [], 'nothing is left to trust')
      t.match(await recordedChecks(one.store), [
        { key_store: 'demo', key_id: 'key', ...ORDER },
        { key_id: 'other', reason: null },
      ])
      for (const { records, backend } of [one, two]) {
        await records.reload()
        const fresh = await encrypt({ backend } as never, KEY, Buffer.from('after'))
        t.same(await decrypt({ backend } as never, KEY, fresh), Buffer.from('after'))
      }
      await t.rejects(decrypt(two as never, KEY, sealed), refusal('INTEGRITY_FAILURE'))
    },
  )
}

void t.test('a token restored from before a rotation does not encrypt', async (t) => {
  const { options } = await storeFolder(t)
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: 'key' }])
  const before = await startInstance(t, token, options)
  const sealed = await encrypt(before as never, KEY, Buffer.from('version 1'))
  await before.keys.administration(STORE, '', before.store).rotateKey(KEY)
  await before.records.reload()
  t.equal((await encrypt(before as never, KEY, Buffer.from('x'))).version, 2)
  await before.stop()

  await replaceKey(t, token, 'key@2')
  const after = await startInstance(t, token, options)
  await t.rejects(encrypt(after as never, KEY, Buffer.from('x')), refusal('KEY_REPLACED'))
  t.same(await decrypt(after as never, KEY, sealed), Buffer.from('version 1'), 'it decrypts')
  t.match(after.warnings, [{ keyVersion: 2, found: 'no key' }])
  const administration = after.keys.administration(STORE, '', after.store)
  await t.rejects(
    administration.createKey({ keyId: KEY, canEncrypt: true, canDecrypt: true }),
    refusal('KEY_EXISTS'),
  )
  const { changes } = await administration.trustKey(KEY, ORDER)
  t.match(changes, [{ version: 2, recorded: String, found: undefined }])
  await after.records.reload()
  t.equal((await encrypt(after as never, KEY, Buffer.from('x'))).version, 1)
})

void t.test('the first observation counts, whichever of two processes made it', async (t) => {
  const { options } = await storeFolder(t)
  const token = await withFaults(t, await createSoftHsm(t))
  const [material, other] = [randomBytes(32), randomBytes(32)]
  await createTokenKeys(t, token, [{ label: 'key', material }])
  const one = await startInstance(t, token, options)
  await encrypt(one as never, KEY, Buffer.from('x'))
  await replaceKey(t, token, 'key', other)
  const two = await startInstance(t, token, options)
  await encrypt(two as never, KEY, Buffer.from('x')).catch(() => undefined)
  await Promise.all([one.stop(), two.stop()])
  const three = await startInstance(t, token, options)
  t.equal((await recordedChecks(three.store)).length, 1)
})

for (const by of ['label', 'id'] as const) {
  void t.test(`a rotation by another process interrupts nothing, with keys by ${by}`, async (t) => {
    const { options } = await storeFolder(t)
    const token = await withFaults(t, await createSoftHsm(t))
    await createTokenKeys(t, token, [{ label: 'key', id: 'ab' }])
    const key = by === 'id' ? keyId('ab') : KEY
    const instance = await startInstance(t, token, options, { keys: { by, refreshMs: 300 } })
    await encrypt(instance as never, key, Buffer.from('before'))
    await instance.keys.administration(STORE, '', instance.store).rotateKey(key)
    // The next run reads the key again, because it is used, but not the version that has appeared.
    await encrypt(instance as never, key, Buffer.from('before the rotation is noticed'))
    await instance.records.reload()
    const versions = new Set<number>()
    const searches = () => token.control.count('C_FindObjectsInit').calls
    const [before, endAt] = [searches(), systemClock.monotonic() + 3000]
    while (systemClock.monotonic() < endAt || searches() < before + 4) {
      const sealed = await encrypt(instance as never, key, Buffer.from('after'))
      versions.add(sealed.version)
      t.same(await decrypt(instance as never, key, sealed), Buffer.from('after'))
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    t.same([...versions], [2])
    t.same(instance.warnings, [])
  })
}
