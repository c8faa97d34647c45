/** Tests several key stores on one listener: requests to one never reach another. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { checkError } from '../support/answers.ts'
import { KEY_ID, eventually, startTestServer, type TestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const DECRYPT = `/keys/${KEY_ID}/decrypt`
const METADATA = `/keys/${KEY_ID}/metadata`
const metadataBody = { requestMetadata: requestMetadata('DescribeKey') }
const health = { requestMetadata: requestMetadata('KmsHealthCheck') }

/** Key stores, including one without a prefix and one whose prefix is the beginning of another's. */
const KEY_STORES = [
  { name: 'bare' },
  { name: 'one', prefix: '/one' },
  { name: 'nested', prefix: '/one/kms/xks/v1' },
  { name: 'two', prefix: '/two' },
]

/** Starts a server, and returns a view of it for each key store, in configuration order. */
async function startStores(
  t: Test,
  keyStores: readonly { readonly name: string; readonly [more: string]: unknown }[],
): Promise<readonly TestServer[]> {
  const server = await startTestServer(t, { config: { keyStores }, stopped: true })
  const views: TestServer[] = []
  for (const { name, prefix } of server.config.keyStores) {
    const credential = await server.administration.credentials.create(name)
    views.push(
      Object.create(server, {
        uriPath: { value: `${prefix}/kms/xks/v1` },
        credential: { value: credential },
      }) as TestServer,
    )
  }
  await server.start()
  return views
}

void t.test('[API-6] one key id names another key in each key store', async (t) => {
  const stores = await startStores(t, KEY_STORES)
  for (const store of stores) {
    const { json } = await call(store, ENCRYPT, encryptBody())
    for (const other of stores) {
      const answer = await call(other, DECRYPT, decryptBody(json))
      if (other === store) t.equal(answer.status, 200)
      else checkError(t, answer, 'InvalidCiphertextException')
    }
  }
})

void t.test('[API-6] a credential of one key store is unknown to every other', async (t) => {
  const stores = await startStores(t, KEY_STORES)
  const bodies = new Set<string>()
  const [first = stores[0]] = stores
  if (first === undefined) throw new TypeError('no key store')
  for (const store of stores) {
    for (const other of stores) {
      const { accessKeyId, secretAccessKey } = other.credential
      const signing = { accessKeyId, secretAccessKey: secretAccessKey.reveal() }
      for (const [path, body] of [
        [METADATA, metadataBody],
        [ENCRYPT, encryptBody()],
        ['/health', health],
      ] as const) {
        const answer = await call(store, path, body, signing)
        if (other === store) t.equal(answer.status, 200)
        else {
          checkError(t, answer, 'AuthenticationFailedException')
          bodies.add(answer.body)
        }
      }
    }
  }
  t.equal(bodies.size, 1, 'and the answer does not tell why')
  const lines = await first.stopAndReadLog()
  const refused = lines.filter(({ status }) => status === 401)
  t.equal(refused.length, 36)
  t.same(new Set(refused.map(({ reason }) => reason)), new Set(['CREDENTIAL_UNKNOWN']))
})

void t.test('[API-6] a key created in one key store is in no other', async (t) => {
  const stores = await startStores(t, KEY_STORES)
  const [bare] = stores
  if (bare === undefined) throw new TypeError('no key store')
  await bare.createKey('only-here')
  const path = '/keys/only-here/metadata'
  await eventually(async () => (await call(bare, path, metadataBody)).status === 200)
  for (const other of stores.slice(1)) {
    checkError(t, await call(other, path, metadataBody), 'KeyNotFoundException')
  }
})

void t.test('[API-6] a request signed for one path is not valid on another', async (t) => {
  const [, one, nested, two] = await startStores(t, KEY_STORES)
  if (one === undefined || nested === undefined || two === undefined) throw new TypeError('missing')
  const { accessKeyId, secretAccessKey } = one.credential
  const signing = { accessKeyId, secretAccessKey: secretAccessKey.reveal() }
  // /one/kms/xks/v1 + /kms/xks/v1/health is a path in the nested key store, not in the first.
  checkError(t, await call(one, '/kms/xks/v1/health', health), 'AuthenticationFailedException')
  t.equal((await call(nested, '/health', health)).status, 200)
  checkError(t, await call(two, '/health', health, signing), 'AuthenticationFailedException')
})

const QUOTA = { requestsPerSecond: 1, burst: 3 }

void t.test(
  '[API-5] [API-6] [HLT-3] an exhausted quota affects one key store, but not its health check',
  async (t) => {
    const [limited, free] = await startStores(t, [
      { name: 'limited', prefix: '/limited', quota: QUOTA },
      { name: 'free', prefix: '/free' },
    ])
    if (limited === undefined || free === undefined) throw new TypeError('missing')
    const busy = await openSession(t, limited)
    const requests = Array.from({ length: 40 }, (_, i) =>
      i % 2 === 0 ? { path: ENCRYPT, body: encryptBody() } : { path: METADATA, body: metadataBody },
    )
    const answers = await busy.callAll(requests)
    const refused = answers.filter(({ status }) => status !== 200)
    t.same(
      answers.slice(0, 3).map(({ status }) => status),
      [200, 200, 200],
      'the burst is served',
    )
    t.ok(refused.length >= 20, `${String(refused.length)} of 40 refused`)
    for (const answer of refused) {
      checkError(t, answer, 'ThrottlingException', {
        message: 'The request quota of this key store is exceeded.',
      })
    }
    const healths = Array.from({ length: 20 }, () => ({ path: '/health', body: health }))
    for (const { status } of await busy.callAll(healths)) t.equal(status, 200, 'health goes on')
    const other = await openSession(t, free)
    for (const { status } of await other.callAll(requests))
      t.equal(status, 200, 'the other goes on')
    await eventually(async () => (await busy.call(ENCRYPT, encryptBody())).status === 200)
  },
)

void t.test(
  '[API-5] unauthenticated and invalid requests do not count against the quota',
  async (t) => {
    const [limited] = await startStores(t, [{ name: 'limited', prefix: '/limited', quota: QUOTA }])
    if (limited === undefined) throw new TypeError('missing')
    const { callAll } = await openSession(t, limited)
    const wrong = { secretAccessKey: 'x'.repeat(44) }
    const answers = await callAll([
      ...Array.from({ length: 10 }, () => ({ path: ENCRYPT, body: encryptBody(), signing: wrong })),
      ...Array.from({ length: 10 }, () => ({ path: ENCRYPT, body: {} })),
      ...Array.from({ length: 10 }, () => ({ path: '/health', body: health })),
      ...Array.from({ length: 3 }, () => ({ path: METADATA, body: metadataBody })),
    ])
    const counts = new Map<number, number>()
    for (const { status } of answers) counts.set(status, (counts.get(status) ?? 0) + 1)
    t.same(Object.fromEntries(counts), { 401: 10, 400: 10, 200: 13 })
  },
)
