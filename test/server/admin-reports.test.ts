/** Tests rehearsals, exposure reports and a kill of an unknown key through the admin listener. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { toStoreOptions } from '../../src/app/store.ts'
import { SwitchTable } from '../../src/killswitch/switch-table.ts'
import { openStore } from '../../src/store/store.ts'
import { call, codeOf, sha256, startWithAdmin, token, type Reply } from '../support/admin.ts'
import { eventually, KEY_ID } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { encryptBody, requestMetadata } from '../support/wire.ts'

const ALICE = 'arn:aws:iam::123456789012:user/Alice'
const READ = { token: token('viewer') }
const STOP = { token: token('operator') }

async function startRecorded(t: Test) {
  const server = await startWithAdmin(t, { activity: { flushInterval: '100ms' } })
  const client = server.client()
  const encrypt = async () => (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  const rehearse = (body: object) => call(server, 'POST', '/admin/v1/rehearsals', { ...READ, body })
  const exposure = (query = '') => call(server, 'GET', `/admin/v1/exposure${query}`, READ)
  await eventually(async () => {
    const { body } = await rehearse({ scope: { kind: 'all' } })
    return body['requests'] === 1
  })
  return { server, encrypt, rehearse, exposure }
}

void t.test('a rehearsal lists whom a kill would refuse, and refuses no request', async (t) => {
  const { server, encrypt, rehearse } = await startRecorded(t)
  const scope = { kind: 'key', keyStore: 'demo', keyId: KEY_ID }
  t.match(await rehearse({ scope }), {
    status: 200,
    body: {
      ...{ scope, direction: 'both', requests: 1, wouldBeRefused: 1, period: { spanMs: 60_000 } },
      principals: [{ name: ALICE, requests: 1 }],
      keys: [{ name: `demo/${KEY_ID}` }],
    },
  })
  t.match((await rehearse({ scope, direction: 'decrypt' })).body, { wouldBeRefused: 0 })
  const account = { kind: 'match', criteria: { account: '999999999999' } }
  t.match((await rehearse({ scope: account })).body, { requests: 1, wouldBeRefused: 0 })
  const now = Date.now()
  const past = { scope, since: now - 3_600_000, until: now - 1_800_000 }
  t.match((await rehearse(past)).body, { requests: 0, wouldBeRefused: 0 })
  t.equal(await encrypt(), 200)
  const status = await call(server, 'GET', '/admin/v1/status', READ)
  t.same(status.body['switches'], [])
  for (const wrong of [{}, { scope, since: now, until: now }, { scope, reason: 'x' }]) {
    t.equal(codeOf(await rehearse(wrong)), 'INPUT_INVALID', JSON.stringify(wrong))
  }
})

void t.test(
  'exposure lists holders of data keys: for everything, a key, or a switch',
  async (t) => {
    const { server, exposure, encrypt } = await startRecorded(t)
    // For GenerateDataKey, KMS sends an Encrypt request, and returns the plaintext data key to its caller.
    const found = (reply: Reply) => reply.body['exposures'] as readonly object[]
    const { body, status } = await exposure()
    t.equal(status, 200)
    t.match(body, { scope: { kind: 'all' }, longKills: [] })
    const all = found(await exposure())
    t.same(found(await exposure(`?keyStore=demo&keyId=${KEY_ID}`)), all)
    t.same(found(await exposure('?keyStore=demo')), all)
    t.same(found(await exposure(`?since=${String(Date.now() + 3_600_000)}`)), [])
    const order = { scope: { kind: 'key-store', keyStore: 'demo' }, reason: 'test' }
    const stopped = await call(server, 'POST', '/admin/v1/switches', { ...STOP, body: order })
    t.equal(await encrypt(), 400)
    const { id } = stopped.body['switch'] as { id: string }
    t.match((await exposure(`?switch=${id}`)).body, { scope: order.scope })
    t.equal(codeOf(await exposure('?switch=abcdef')), 'NOT_FOUND')
    for (const wrong of [
      '?key=x',
      '?keyId=x',
      '?keyStore=typo',
      '?since=1h',
      '?switch=a&keyStore=demo',
    ]) {
      t.equal(codeOf(await exposure(wrong)), 'INPUT_INVALID', wrong)
    }
  },
)

void t.test('a kill of an unknown key succeeds with a warning', async (t) => {
  const { server } = await startRecorded(t)
  const stop = async (keyId: string) => {
    const scope = { kind: 'key', keyStore: 'demo', keyId }
    const body = { scope, reason: 'test' }
    return (await call(server, 'POST', '/admin/v1/switches', { ...STOP, body })).body
  }
  const misspelt = await stop('tset-key')
  t.match(misspelt, { state: 'revoked', warning: /the key store demo has no known key tset-key/ })
  const known = await stop(KEY_ID)
  t.match(known, { state: 'revoked' })
  t.notOk('warning' in known)
})

void t.test('a caller limited to one key store learns nothing of the others', async (t) => {
  const viewer = { token: 'latchkey_token_of_a_limited_viewer' }
  const grant = { name: 'limited', role: 'viewer', keyStores: ['b'] }
  const server = await startWithAdmin(
    t,
    {
      keyStores: [{ name: 'demo' }, { name: 'b', prefix: '/b' }],
      activity: { flushInterval: '100ms', maxSubjects: 10 },
    },
    {
      tokens: [
        { ...grant, sha256: sha256(viewer.token) },
        { name: 'viewer', role: 'viewer', sha256: sha256(READ.token) },
      ],
    },
  )
  const session = await openSession(t, server)
  // The last two callers are counted without their names, because ten are counted separately.
  for (let user = 0; user < 12; user++) {
    const awsPrincipalArn = `arn:aws:iam::123456789012:user/${String(user)}`
    const metadata = requestMetadata('GenerateDataKey', { awsPrincipalArn })
    const body = encryptBody({ requestMetadata: metadata })
    t.equal((await session.call(`/keys/${KEY_ID}/encrypt`, body)).status, 200)
  }
  const store = await openStore(await toStoreOptions(server.config))
  t.teardown(() => store.close())
  const createdAt = Date.now() - 6 * 86_400_000
  for (const keyStore of ['demo', 'b']) {
    await store.change((transaction, epoch) =>
      new SwitchTable(transaction, store.sealing).insertSwitch({
        ...{ id: `of-${keyStore}`, scope: { kind: 'key-store', keyStore }, direction: 'both' },
        ...{ reason: 'test', operator: 'alice', createdAt, epoch },
      }),
    )
  }
  const exposure = (query: string, as: { token: string }) =>
    call(server, 'GET', `/admin/v1/exposure${query}`, as)
  await eventually(async () =>
    JSON.stringify((await exposure('', READ)).body).includes('(unnamed)'),
  )
  const { status, body } = await exposure('?keyStore=b', viewer)
  t.equal(status, 200)
  t.match(body, { exposures: [], longKills: [{ id: 'of-b' }] })
  t.notMatch(JSON.stringify(body), /demo/)
  const order = { scope: { kind: 'key-store', keyStore: 'b' } }
  const rehearsed = await call(server, 'POST', '/admin/v1/rehearsals', { ...viewer, body: order })
  t.match(rehearsed.body, { requests: 0, notToldApart: 0 })
  t.notMatch(JSON.stringify(rehearsed.body), /demo/)
})
