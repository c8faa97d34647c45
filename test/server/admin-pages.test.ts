/** Tests the pages of the admin listener's lists, over TLS: limits, cursors, roles, and clients that follow them. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import Sqlite from 'better-sqlite3'
import t from 'tap'
import { toStoreOptions } from '../../src/app/store.ts'
import { KeyTable } from '../../src/keys/software/key-table.ts'
import { putRetirement } from '../../src/retirement/retirement-table.ts'
import { openStore } from '../../src/store/store.ts'
import { call, codeOf, pki, type Reply, sha256, startWithAdmin, token } from '../support/admin.ts'
import { latchkeyHere, temporaryFolder } from '../support/cli.ts'
import { checkPages, follow, type Item, itemsOf } from '../support/pages.ts'
import { eventually, keyId, type TestServer } from '../support/server.ts'

t.setTimeout(180_000)

const admin = { token: token('admin') }
const keys = '/admin/v1/keys/demo'

async function addKeys(server: TestServer, names: readonly string[]): Promise<void> {
  const store = await openStore(await toStoreOptions(server.config))
  try {
    await store.change(async (transaction) => {
      const table = new KeyTable(transaction, store.sealing)
      for (const name of names) {
        const at = { keyStore: 'demo', keyId: keyId(name), createdAt: 1 }
        const usage = { canEncrypt: true, canDecrypt: true }
        await table.insertKey({ ...at, ...usage, status: 'ENABLED', currentVersion: 1 })
        await table.insertVersion({ ...at, version: 1 }, randomBytes(32))
      }
    })
  } finally {
    await store.close()
  }
}

/** A request for a retirement would need a usage record of a day. */
async function addRetirements(server: TestServer, names: readonly string[]): Promise<void> {
  const store = await openStore(await toStoreOptions(server.config))
  const requestedBy = { operator: 'alice', identity: 'os:alice' }
  const order = { reason: 'test', requestedBy, requestedAt: 1, quietForMs: 1, waitForMs: 1 }
  try {
    await store.change(async (transaction) => {
      for (const keyId of names) {
        const retirement = { keyStore: 'demo', keyId, version: 1, ...order }
        await putRetirement(transaction, store.sealing, retirement)
      }
    })
  } finally {
    await store.close()
  }
}

void t.test('each list that grows with the store has pages', async (t) => {
  const server = await startWithAdmin(t, {
    keyStores: [{ name: 'demo' }, { name: 'b', prefix: '/b' }],
  })
  const post = async (path: string, body: unknown) => {
    const reply = await call(server, 'POST', path, { ...admin, body })
    t.equal(reply.status, 200, `${path}: ${JSON.stringify(reply.body)}`)
  }
  for (const keyId of ['one', 'two', 'three', 'four']) {
    await post(keys, { keyId, canEncrypt: true, canDecrypt: true })
    await post(`${keys}/${keyId}`, { action: 'rotate' })
    await post('/admin/v1/credentials', { keyStore: 'demo' })
    await post('/admin/v1/operators', { name: keyId, kind: 'person', role: 'viewer' })
    await post('/admin/v1/tokens', { operator: keyId })
    const text = `@id("${keyId}") permit (principal, action, resource);`
    const documents = { [keyId]: text }
    await post('/admin/v1/policies', { kind: 'put', documents, reason: 'test' })
  }
  await checkPages(t, server, keys, 'keys')
  await checkPages(t, server, '/admin/v1/credentials', 'credentials')
  await checkPages(t, server, '/admin/v1/operators', 'operators')
  await checkPages(t, server, '/admin/v1/tokens', 'tokens')
  await checkPages(t, server, '/admin/v1/policies/history', 'revisions')
  await addRetirements(server, ['one', 'two', 'three', 'four'])
  await checkPages(t, server, '/admin/v1/retirements/demo', 'retirements')
})

void t.test('a list without limit has 100 items, and no list has more than 1,000', async (t) => {
  const server = await startWithAdmin(t)
  await addKeys(
    server,
    Array.from({ length: 1100 }, (_, i) => `key-${String(i)}`),
  )
  const first = await call(server, 'GET', keys, admin)
  t.equal((first.body['keys'] as readonly Item[]).length, 100)
  t.ok(JSON.stringify(first.body).length < 64 * 1024)
  const cursor = String(first.body['nextCursor'])
  const second = await call(server, 'GET', `${keys}?cursor=${cursor}`, admin)
  t.equal((second.body['keys'] as readonly Item[]).length, 100)
  const longest = await call(server, 'GET', `${keys}?limit=1000`, admin)
  t.equal((longest.body['keys'] as readonly Item[]).length, 1000)
  for (const limit of ['0', '1001', '-1', '1.5', '', 'x', '10000000000']) {
    const refused = await call(server, 'GET', `${keys}?limit=${limit}`, admin)
    t.equal(refused.status, 400, `limit ${limit}`)
    t.equal(codeOf(refused), 'INPUT_INVALID')
  }
  await t.test('commands show all pages', async (t) => {
    const folder = await temporaryFolder(t)
    const remote = { LATCHKEY_ADDR: `https://localhost:${String(server.running.admin?.port)}` }
    const list = async (...words: string[]) => {
      const place = { ...remote, LATCHKEY_CACERT: pki.caFile, LATCHKEY_TOKEN: token('viewer') }
      const there = await latchkeyHere(['keys', 'list', ...words], { ...place, HOME: folder })
      const config = ['--config', server.configFile]
      const here = await latchkeyHere(['keys', 'list', ...words, ...config], { HOME: folder })
      t.equal(there.code, 0, there.stderr)
      t.equal(there.stdout, here.stdout, `keys list ${words.join(' ')}`)
      return there.stdout
    }
    t.equal((JSON.parse(await list('--json')) as readonly Item[]).length, 1101)
    const some = await list('--limit', '7', '--after', 'key-500')
    t.match(some, /key-501\b[^]*key-507\b/)
    t.notMatch(some, /key-500\b|key-508\b/)
  })
})

void t.test('a cursor that no page of this list returned is refused', async (t) => {
  const server = await startWithAdmin(t, {
    keyStores: [{ name: 'demo' }, { name: 'b', prefix: '/b' }],
  })
  await addKeys(server, ['one', 'two'])
  const { body } = await call(server, 'GET', `${keys}?limit=1`, admin)
  const cursor = String(body['nextCursor'])
  t.equal((await call(server, 'GET', `${keys}?cursor=${cursor}`, admin)).status, 200)
  const forge = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const bad = [
    ...[
      '',
      'x',
      'one',
      `${cursor}x`,
      `${cursor}=`,
      cursor.slice(1),
      'e30',
      '%00',
      'a'.repeat(5000),
    ],
    ...[forge(['keys demo']), forge(['keys demo', 1]), forge(['keys demo', 'a b'])],
    ...[forge(['keys demo', 'a\u0000']), forge(['keys demo', 'one', 1]), forge(null), forge({})],
    ...[forge(['credentials', 'one']), forge(['keys b', 'one'])],
  ]
  for (const text of bad) {
    const path = `${keys}?cursor=${encodeURIComponent(text)}`
    const refused = await call(server, 'GET', path, admin)
    t.equal(refused.status, 400, text.slice(0, 80))
    t.match(refused.body['error'], {
      code: 'INPUT_INVALID',
      message: /cursor: expected the nextCursor/,
    })
  }
  const elsewhere = await call(server, 'GET', `/admin/v1/keys/b?cursor=${cursor}`, admin)
  t.equal(elsewhere.status, 400, 'the cursor of another key store')
  for (const query of [
    `limit=1&cursor=${cursor}&cursor=x`,
    'limit=1&limit=1',
    'limit=1&%6cimit=2',
  ]) {
    const repeated = await call(server, 'GET', `${keys}?${query}`, admin)
    t.match(repeated.body['error'], { code: 'INPUT_INVALID', message: /^repeated parameter / })
  }
  const second = await call(server, 'GET', `${keys}?limit=1?limit=2`, admin)
  t.match(second.body['error'], { code: 'INPUT_INVALID', message: /^limit: expected/ })
  const unknown = await call(server, 'GET', `${keys}?after=one`, admin)
  t.match(unknown.body['error'], { code: 'INPUT_INVALID', message: 'unknown parameter after' })
})

void t.test('pages do not skip or repeat a key while others come and go', async (t) => {
  const server = await startWithAdmin(t)
  await addKeys(server, ['a', 'c', 'e', 'g', 'i'])
  const names = ({ body }: Reply) => (body['keys'] as readonly Item[]).map((key) => key['keyId'])
  const first = await call(server, 'GET', `${keys}?limit=2`, admin)
  t.same(names(first), ['a', 'c'])
  await addKeys(server, ['b', 'd', 'h'])
  const cursor = String(first.body['nextCursor'])
  const second = await call(server, 'GET', `${keys}?limit=4&cursor=${cursor}`, admin)
  t.same(names(second), ['d', 'e', 'g', 'h'])
})

void t.test('each page is limited to the key stores of the caller', async (t) => {
  const limited = 'latchkey_token_of_a_limited_viewer'
  const tokens = [
    { name: 'admin', role: 'admin', sha256: sha256(token('admin')) },
    { name: 'limited', role: 'viewer', keyStores: ['b'], sha256: sha256(limited) },
  ]
  const keyStores = [{ name: 'demo' }, { name: 'b', prefix: '/b' }]
  const server = await startWithAdmin(t, { keyStores }, { tokens })
  for (let i = 0; i < 8; i++) {
    const body = { keyStore: i % 2 === 0 ? 'demo' : 'b' }
    t.equal((await call(server, 'POST', '/admin/v1/credentials', { ...admin, body })).status, 200)
  }
  const as = { token: limited }
  const pages = await follow(server, '/admin/v1/credentials', 2, as)
  const items = itemsOf(pages, 'credentials')
  t.same(new Set(items.map((one) => one['keyStore'])), new Set(['b']))
  t.equal(items.length, 4)
  t.same(
    pages.map(({ body }) => (body['credentials'] as readonly Item[]).length),
    [2, 2],
    'each page but the last is full',
  )
  const whole = itemsOf(await follow(server, '/admin/v1/credentials', 1000), 'credentials')
  t.same(
    items,
    whole.filter((one) => one['keyStore'] === 'b'),
  )
  await addKeys(server, ['one', 'two'])
  const { body } = await call(server, 'GET', `${keys}?limit=1`, admin)
  const path = `${keys}?cursor=${String(body['nextCursor'])}`
  t.equal((await call(server, 'GET', path, as)).status, 403, 'a cursor gives no access')
})

void t.test('pages are refused while the server finds its store tampered with', async (t) => {
  const server = await startWithAdmin(t)
  await addKeys(server, ['one'])
  const path = '/admin/v1/credentials'
  t.equal((await call(server, 'GET', path, admin)).status, 200)
  const database = new Sqlite(String(server.config.store.path), { timeout: 60_000 })
  t.teardown(() => database.close())
  // The list of credentials does not read this table, so only the server's audit can notice.
  database.exec("DELETE FROM key_versions WHERE key_id = 'one'")
  await eventually(async () => (await call(server, 'GET', path, admin)).status !== 200)
  for (const list of [path, keys]) {
    const refused = await call(server, 'GET', list, admin)
    t.equal(refused.status, 503, list)
    t.match(refused.body['error'], { code: 'UNAVAILABLE', reason: 'STORE_TAMPERED' })
  }
})
