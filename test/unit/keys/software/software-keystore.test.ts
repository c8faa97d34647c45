/** Tests software keys in their store: health, tampering, use counts and reloads. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../../src/core/logger.ts'
import type { SoftwareKeystoreDeps } from '../../../../src/keys/software/software-keystore.ts'
import { enforceContract } from '../../../../src/keys/contract.ts'
import { systemClock } from '../../../../src/core/clock.ts'
import { Deadline } from '../../../../src/core/deadline.ts'
import { Secret } from '../../../../src/core/secret.ts'
import { promised } from '../../../../src/keys/suite/promised-backend.ts'
import { keyId } from '../../../support/server.ts'
import { keyStoreName, storeFolder } from '../../../support/store.ts'

const ID = keyId('key')
const AAD = Buffer.from('aad')
const PLAINTEXT = Buffer.from('a data key of thirty-two bytes!!')
const soon = () => new Deadline(systemClock, 20_000)

async function open(t: Test, deps: Partial<SoftwareKeystoreDeps> = {}) {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const keystore = await folder.keystore(store, deps)
  const name = keyStoreName('demo')
  const administration = keystore.administration(name)
  await administration.createKey({ keyId: ID, canEncrypt: true, canDecrypt: true })
  await keystore.reload()
  return {
    folder,
    store,
    keystore,
    administration,
    backend: promised(enforceContract(keystore.backend(name))),
    name,
  }
}

const request = (version = 1) => ({
  ...{ keyId: ID, version, plaintext: PLAINTEXT, aad: AAD },
  deadline: soon(),
})

void t.test('health of a store that was changed by others is UNAVAILABLE', async (t) => {
  const { folder, backend, store, keystore } = await open(t, { version: '1.2.3' })
  const manager = { id: store.id, model: 'Latchkey software keystore 1.2.3' }
  t.same(await backend.health(soon()), [{ ...manager, status: 'ACTIVE' }])
  folder.tamper("UPDATE external_keys SET status = 'DISABLED' WHERE key_id = 'key'")
  await t.rejects(store.audit(), { code: 'STORE_TAMPERED' })
  t.same(await backend.health(soon()), [{ ...manager, status: 'UNAVAILABLE' }])

  await t.rejects(keystore.reload(), { code: 'STORE_TAMPERED' })
  const refused = { name: 'BackendError', code: 'UNAVAILABLE' }
  await t.rejects(backend.describe(ID, soon()), refused)
  await t.rejects(backend.encrypt(request()), refused)
  t.same(await backend.health(soon()), [{ ...manager, status: 'UNAVAILABLE' }])

  folder.tamper("UPDATE external_keys SET status = 'ENABLED' WHERE key_id = 'key'")
  t.match(await backend.health(soon()), [{ status: 'UNAVAILABLE' }], 'it is not served from yet')
  await store.audit()
  await keystore.reload()
  t.match(await backend.describe(ID, soon()), { enabled: true })
  t.match(await backend.health(soon()), [{ status: 'ACTIVE' }])
})

void t.test(
  'health of a store that does not respond is DEGRADED, and keys continue to work',
  async (t) => {
    const { backend, store, keystore } = await open(t)
    const sealed = await backend.encrypt(request())
    await store.close()
    t.match(await backend.health(soon()), [{ status: 'DEGRADED' }])
    await t.rejects(keystore.reload(), { code: 'STORE_CLOSED' })
    const opened = await backend.decrypt({ ...request(), ...sealed })
    t.ok(opened.equals(PLAINTEXT))
    await backend.encrypt(request())
  },
)

void t.test('a closed keystore forgets its keys', async (t) => {
  const { backend, keystore } = await open(t)
  await keystore.close()
  const closed = { name: 'BackendError', code: 'UNAVAILABLE' }
  await t.rejects(backend.describe(ID, soon()), closed)
  await t.rejects(backend.encrypt(request()), closed)
})

void t.test(
  'the last use of a version is counted, warned of before, and refused after',
  async (t) => {
    const warnings: (readonly [string, object])[] = []
    const { backend, administration, keystore } = await open(t, {
      uses: { blockUses: 2, maxUses: 8 },
      logger: {
        ...silentLogger,
        warn: (message, fields) => warnings.push([message, fields ?? {}]),
      },
    })
    const encrypt = () => backend.encrypt(request())
    const sealed = await encrypt()
    for (let use = 1; use < 8; use++) await encrypt()
    await t.rejects(encrypt(), {
      name: 'BackendError',
      code: 'KEY_EXHAUSTED',
      hint: 'rotate the key',
    })
    const message = 'a key version is approaching its encryption limit; rotate the key'
    const fields = { keyStore: 'demo', keyId: 'key', keyVersion: 1, limit: 8 }
    t.same(warnings, [
      [message, { ...fields, encryptions: 6 }],
      [message, { ...fields, encryptions: 8 }],
    ])
    t.match(await administration.listKeys(), [{ versions: [{ encryptions: 8 }] }])
    t.ok((await backend.decrypt({ ...request(), ...sealed })).equals(PLAINTEXT))

    await administration.rotateKey(ID)
    await keystore.reload()
    await backend.encrypt(request(2))
    await t.rejects(encrypt(), { code: 'KEY_EXHAUSTED' }, 'a rotation does not reset the count')
  },
)

void t.test('a reload keeps the rest of a block, and a restart discards it', async (t) => {
  const { folder, backend, administration, keystore } = await open(t, {
    uses: { blockUses: 10, maxUses: 1000 },
  })
  const counted = async () => (await administration.listKeys())[0]?.versions[0]?.encryptions
  await backend.encrypt(request())
  t.equal(await counted(), 10)
  for (let round = 0; round < 3; round++) {
    await administration.setKeyStatus(ID, round % 2 === 0 ? 'DISABLED' : 'ENABLED')
    await keystore.reload()
  }
  await administration.setKeyStatus(ID, 'ENABLED')
  await keystore.reload()
  await backend.encrypt(request())
  t.equal(await counted(), 10)
  const uses = { blockUses: 10, maxUses: 1000 }
  const again = await folder.keystore(await folder.open(), { uses })
  await promised(again.backend(keyStoreName('demo'))).encrypt(request())
  t.equal(await counted(), 20)
})

void t.test('uses do not raise the epoch: no server reloads for them', async (t) => {
  const { store, backend, administration } = await open(t, {
    uses: { blockUses: 1, maxUses: 1000 },
  })
  const epoch = await store.database.epoch()
  for (let use = 0; use < 5; use++) await backend.encrypt(request())
  t.equal(await store.database.epoch(), epoch)
  await administration.setKeyStatus(ID, 'DISABLED')
  t.equal(await store.database.epoch(), epoch + 1)
})

void t.test('a count of uses that was changed from outside grants none', async (t) => {
  const { folder, backend } = await open(t, { uses: { blockUses: 1, maxUses: 1000 } })
  const encrypt = () => backend.encrypt(request())
  const before = folder.read('SELECT reserved_uses, mac FROM key_uses')
  t.same(before, [])
  await encrypt()
  const [first] = folder.read('SELECT reserved_uses, mac FROM key_uses')
  await encrypt()
  const refused = { name: 'BackendError', code: 'UNAVAILABLE', cause: { code: 'STORE_TAMPERED' } }
  const [last] = folder.read('SELECT reserved_uses, mac FROM key_uses')
  for (const { what, sql } of [
    { what: 'another count', sql: 'UPDATE key_uses SET reserved_uses = 0' },
    {
      what: 'an earlier row, with its code',
      sql: `UPDATE key_uses SET reserved_uses = ${String(first?.['reserved_uses'])}, mac = '${String(first?.['mac'])}'`,
    },
    { what: 'no row', sql: 'DELETE FROM key_uses' },
  ]) {
    folder.tamper(sql)
    await t.rejects(encrypt(), refused, what)
    folder.tamper(
      `UPDATE key_uses SET reserved_uses = ${String(last?.['reserved_uses'])}, mac = '${String(last?.['mac'])}'`,
    )
  }
})

void t.test('first uses of many keys share statements, and warm keys wait for none', async (t) => {
  const { administration, keystore, name, store } = await open(t)
  const ids = Array.from({ length: 250 }, (_, i) => keyId(`many-${String(i)}`))
  for (const id of ids)
    await administration.createKey({ keyId: id, canEncrypt: true, canDecrypt: true })
  await keystore.reload()
  const writes: number[] = []
  const { database } = store
  const write = database.write.bind(database)
  database.write = (sql, parameters = []) => {
    writes.push(parameters.length)
    return write(sql, parameters)
  }
  await keystore.warm(ids.map((id) => ({ keyStore: name, keyId: id })))
  t.equal(writes.length, 2, 'two hundred rows each')
  const warm = keystore.backend(name)
  for (const id of ids) {
    const found = warm.find(id, soon())
    if (found instanceof Promise) throw new TypeError('a software key is found at once')
    const sealed = found.encrypt({ version: 1, plaintext: PLAINTEXT, aad: AAD, deadline: soon() })
    t.notOk(sealed instanceof Promise, 'the use is available immediately')
  }
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.ok(
    (await administration.listKeys()).every(
      ({ keyId: id, versions }) => id === ID || (versions[0]?.encryptions ?? 0) > 0,
    ),
  )
})

void t.test('administration refuses, and then nothing has changed', async (t) => {
  const { store, administration } = await open(t)
  const before = await administration.listKeys()
  const epoch = await store.database.epoch()
  const stranger = keyId('nobody')
  const key = { keyId: keyId('new'), canEncrypt: true, canDecrypt: true }
  const short = new Secret(Buffer.alloc(31))
  for (const [attempt, code] of [
    [() => administration.createKey({ ...key, keyId: ID }), 'KEY_EXISTS'],
    [() => administration.createKey({ ...key, material: short }), 'KEY_USAGE'],
    [() => administration.rotateKey(stranger), 'KEY_NOT_FOUND'],
    [() => administration.setKeyStatus(stranger, 'DISABLED'), 'KEY_NOT_FOUND'],
    [() => administration.destroyVersion(stranger, 1), 'KEY_NOT_FOUND'],
    [() => administration.destroyVersion(ID, 1), 'KEY_USAGE'],
    [() => administration.destroyVersion(ID, 2), 'VERSION_NOT_FOUND'],
  ] as const) {
    await t.rejects(attempt(), { name: 'BackendError', code }, code)
    t.same(await administration.listKeys(), before)
    t.equal(await store.database.epoch(), epoch)
  }
})

void t.test('a version is destroyed once, and its record stays', async (t) => {
  const { folder, store, administration } = await open(t)
  await administration.rotateKey(ID)
  folder.clock.advance(1000)
  const { versions } = await administration.destroyVersion(ID, 1)
  t.match(versions, [
    { version: 1, state: 'DESTROYED' },
    { version: 2, state: 'CURRENT' },
  ])
  await t.rejects(administration.destroyVersion(ID, 1), { code: 'VERSION_NOT_FOUND' })
  const row = (await store.contents()).versions.find(
    (one) => one['key_id'] === 'key' && one['version'] === 1,
  )
  t.match(row, { material: null, destroyed_at: folder.clock.now() })
})

void t.test('health reserves no uses', async (t) => {
  const { backend, store } = await open(t)
  for (let round = 0; round < 3; round++) await backend.health(soon())
  const { versions } = await store.contents()
  t.ok(versions.length >= 2)
  t.ok(versions.every((row) => row['reserved_uses'] === 0))
})

void t.test('a verified encryption hashes, decrypts and compares what it returns', async (t) => {
  const { keystore, administration, backend } = await open(t)
  const prefix = Buffer.from('what is hashed before')
  const seal = (id = ID, digestPrefix?: Buffer) =>
    backend.encryptVerified({ ...request(), keyId: id, digestPrefix })
  const { iv, ciphertext, tag, digest, verifyMs } = await seal(ID, prefix)
  const hash = createHash('sha256')
    .update(Buffer.concat([prefix, iv, ciphertext, tag]))
    .digest()
  t.ok(digest?.equals(hash))
  t.ok(verifyMs >= 0)
  const opened = await backend.decrypt({ ...request(), iv, ciphertext, tag })
  t.ok(opened.equals(PLAINTEXT))
  t.equal((await seal()).digest, undefined)

  const oneWay = keyId('one-way')
  await administration.createKey({ keyId: oneWay, canEncrypt: true, canDecrypt: false })
  await keystore.reload()
  await t.rejects(seal(oneWay), { code: 'KEY_USAGE' }, 'there is no way to verify it')
})
