/** Tests the four steps of `latchkey rotate-credentials`, and resuming after an interruption at each step. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { openAdministration } from '../../src/app/administration.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createKmsSideClient } from '../../src/kms/client/client.ts'
import { ENDPOINT, keepPolling, registration, type Registration } from '../support/registration.ts'
import { CLIENT_TIMEOUT_MS, eventually } from '../support/server.ts'

interface Summary {
  readonly accessKeyId: string
  readonly status: string
}

const REGISTER = ['register', '--endpoint', ENDPOINT, '--key-id', 'payroll']
const ROTATE = ['rotate-credentials', '--yes']

async function registered(r: Registration) {
  const made = (await r.json(...REGISTER, ...r.checkFlags)) as {
    readonly customKeyStoreId: string
    readonly key: { readonly keyId: string }
  }
  const id = made.customKeyStoreId
  return { id, keyId: made.key.keyId, signer: () => r.kms.kms.stores.get(id).proxy.accessKeyId }
}

const list = async (r: Registration) =>
  (await r.workspace.json('credentials', 'list')) as readonly Summary[]

void t.test('the old credential is revoked only once it is unused', async (t) => {
  const r = await registration(t)
  const { id, keyId, signer } = await registered(r)
  const old = signer()
  const plan = await r.latchkey('rotate-credentials')
  t.equal(plan.code, 0)
  t.match(plan.stdout, `KMS signs requests to demo with ${old}.`)
  t.match(plan.stdout, 'Add --yes to do it.')
  t.equal((await list(r)).length, 1, 'nothing was done')

  // Simulates a KMS host that has not yet received the new credential.
  const { rawSecretAccessKey } = r.kms.kms.stores.get(id).proxy
  const late = createKmsSideClient({
    endpoint: ENDPOINT,
    connectTo: { host: '127.0.0.1', port: r.target.port },
    caFile: r.workspace.caFile,
    timeoutMs: CLIENT_TIMEOUT_MS,
    uriPath: '/demo/kms/xks/v1',
    accessKeyId: old,
    secretAccessKey: rawSecretAccessKey,
    region: 'us-east-1',
  })
  t.teardown(() => late.close())
  const stopPolling = keepPolling(r, id)
  let isRotated = false
  const rotating = r.latchkey(...ROTATE, '--quiet', '6s', '--timeout', '90s').finally(() => {
    isRotated = true
  })
  await eventually(() => signer() !== old)
  const until = Date.now() + 3000
  while (Date.now() < until) {
    t.equal((await late.getHealthStatus()).status, 200, 'the old one is good as long as it is used')
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
  t.notOk(isRotated)
  const { code, stdout, stderr } = await rotating
  t.equal(code, 0, stderr)
  t.match(stdout, `✓ UpdateCustomKeyStore   KMS signs with ${signer()}`)
  t.match(stdout, `✓ revoked                ${old}`)
  t.match(stdout, `Rotated: KMS now signs with ${signer()}.`)
  t.match(await list(r), [
    ...[old, signer()]
      .sort()
      .map((accessKeyId) => ({ accessKeyId, status: accessKeyId === old ? 'REVOKED' : 'ACTIVE' })),
  ])
  await eventually(async () => (await late.getHealthStatus()).status === 401)
  await r.kms.kms.generateDataKey({ principalArn: 'arn:aws:iam::1:user/a' }, { keyId })
  await stopPolling()
})

void t.test('an interrupted rotation is continued', async (t) => {
  const r = await registration(t)
  const { id, signer } = await registered(r)
  const old = signer()
  const stopPolling = keepPolling(r, id)

  await t.test('before KMS had the new credential', async (t) => {
    r.kms.failNext('UpdateCustomKeyStore', 'AccessDeniedException')
    const { code, stderr } = await r.latchkey(...ROTATE)
    t.equal(code, 1)
    t.match(stderr, 'AccessDeniedException')
    t.equal(signer(), old)
    t.equal((await list(r)).length, 2)
    t.match((await r.latchkey('rotate-credentials')).stdout, 'A rotation is in progress')
  })

  await t.test('while it waited until the old one was unused', async (t) => {
    const { code, stderr } = await r.latchkey(...ROTATE, '--quiet', '1h', '--timeout', '1ms')
    t.equal(code, 1)
    t.match(stderr, /is still in use|has not been used yet/)
    t.match(stderr, 'hint: nothing is lost: run the same command later to continue')
    t.not(signer(), old)
    const all = await list(r)
    t.equal(all.length, 2, 'the credential of the first run')
    t.ok(all.every(({ status }) => status === 'ACTIVE'))
  })

  await t.test('and in the end the old one is revoked', async (t) => {
    const { code, stderr } = await r.latchkey(...ROTATE, '--quiet', '1s', '--timeout', '60s')
    t.equal(code, 0, stderr)
    const all = await list(r)
    t.equal(all.find(({ accessKeyId }) => accessKeyId === old)?.status, 'REVOKED')
    t.equal(all.find(({ accessKeyId }) => accessKeyId === signer())?.status, 'ACTIVE')
  })

  await t.test('after a credential was created but not recorded', async (t) => {
    const before = signer()
    const administration = await openAdministration(await loadConfig(r.workspace.configFile, {}))
    const [first] = await administration.credentials.list()
    if (first === undefined) throw new TypeError('no credential')
    await administration.rotations.save({
      region: 'us-east-1',
      customKeyStoreId: id,
      keyStore: first.keyStore,
      oldAccessKeyId: before,
      startedAt: Date.now() - 1000,
    })
    const made = await administration.credentials.create(first.keyStore)
    await administration.close()
    const { code, stderr } = await r.latchkey(...ROTATE, '--quiet', '1s', '--timeout', '60s')
    t.equal(code, 0, stderr)
    t.equal(signer(), made.accessKeyId, 'it is taken, and no other made')
    t.equal((await list(r)).length, 3)
  })

  await t.test('after KMS was given another credential', async (t) => {
    r.kms.failNext('UpdateCustomKeyStore', 'AccessDeniedException')
    await r.latchkey(...ROTATE)
    const administration = await openAdministration(await loadConfig(r.workspace.configFile, {}))
    const [first] = await administration.credentials.list()
    if (first === undefined) throw new TypeError('no credential')
    const other = await administration.credentials.create(first.keyStore)
    await administration.close()
    await eventually(() =>
      r.kms.kms.stores
        .update(id, {
          accessKeyId: other.accessKeyId,
          rawSecretAccessKey: other.secretAccessKey,
        })
        .then(
          () => true,
          () => false,
        ),
    )
    const { code, stderr } = await r.latchkey(...ROTATE)
    t.equal(code, 1)
    t.match(stderr, 'which is neither the old nor the new credential of this rotation')
    const again = await r.latchkey(...ROTATE, '--restart', '--quiet', '1s', '--timeout', '60s')
    t.equal(again.code, 0, again.stderr)
    t.not(signer(), other.accessKeyId)
  })

  await stopPolling()
  const none = await r.latchkey(...ROTATE, '--name', 'other')
  t.equal(none.code, 1)
  t.match(none.stderr, 'KMS in us-east-1 has no key store other')
})
