/** Tests the status of a store with many switches on both engines, over the real listener: its parts, pages and text. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { toStoreOptions } from '../../src/app/store.ts'
import { pause } from '../../src/core/deadline.ts'
import type { Direction, Scope } from '../../src/core/scope.ts'
import { SwitchTable } from '../../src/killswitch/switch-table.ts'
import { openStore } from '../../src/store/store.ts'
import { call, codeOf, pki, sha256, startWithAdmin, token } from '../support/admin.ts'
import { latchkeyHere, temporaryFolder } from '../support/cli.ts'
import { follow, type Item } from '../support/pages.ts'
import { startPostgres } from '../support/postgres.ts'
import type { TestServer } from '../support/server.ts'

t.setTimeout(240_000)

const admin = { token: token('admin') }
const limited = { token: 'latchkey_token_of_a_limited_viewer' }
const DAY_MS = 86_400_000
const MANY = 260
const postgres = await startPostgres(t)

async function start(t: Test, engine: 'SQLite' | 'PostgreSQL'): Promise<TestServer> {
  const { host, port, database, user } = await postgres.createDatabase()
  const target = { host, port, database, user, tls: { mode: 'off' } }
  const store = { postgres: target, masterKey: { file: 'master.key' } }
  const grant = { name: 'limited', role: 'viewer', keyStores: ['b'] }
  return startWithAdmin(
    t,
    {
      keyStores: [{ name: 'demo' }, { name: 'b', prefix: '/b' }],
      ...(engine === 'PostgreSQL' && { store }),
    },
    {
      tokens: [
        { name: 'admin-token', role: 'admin', sha256: sha256(admin.token) },
        { ...grant, sha256: sha256(limited.token) },
      ],
    },
  )
}

/** Inserts switches of every width, the narrow ones last, and a restore request for each of some keys. */
async function fill(server: TestServer): Promise<void> {
  const now = Date.now()
  const scopes: Scope[] = [
    { kind: 'all' },
    { kind: 'key-store', keyStore: 'b' },
    { kind: 'match', criteria: { account: '111122223333' } },
    { kind: 'match', keyStore: 'b', criteria: { account: '444455556666' } },
    ...Array.from({ length: MANY }, (_, i) => {
      const keyStore = i % 2 === 0 ? 'demo' : 'b'
      return { kind: 'key', keyStore, keyId: `key-${String(i)}` } as const
    }),
  ]
  const store = await openStore(await toStoreOptions(server.config))
  try {
    await store.change(async (transaction, epoch) => {
      const table = new SwitchTable(transaction, store.sealing)
      for (const [i, scope] of scopes.entries()) {
        const createdAt = i < 20 ? now - 6 * DAY_MS + i : now - 1000 + i
        const about = { reason: 'incident 4711', operator: 'alice', createdAt, epoch }
        await table.insertSwitch({ id: `id-${String(i)}`, scope, direction: 'both', ...about })
      }
      for (let i = 0; i < MANY; i++) {
        const target = { kind: 'switches', switchIds: [`id-${String(i)}`] } as const
        const times = { requestedAt: now, readyAt: now, expiresAt: now + DAY_MS + i, epoch }
        const by = { operator: 'alice', identity: 'os:alice', reason: 'test' }
        await table.insertRequest({ id: `request-${String(i)}`, target, ...by, ...times })
      }
    })
  } finally {
    await store.close()
  }
}

const idsOf = (items: unknown) => (items as readonly Item[]).map(({ id }) => String(id))
const TOTAL = MANY + 4
const counts = {
  switches: { total: TOTAL, all: 1, 'key-store': 1, match: 2, key: MANY },
  deadManSwitches: 0,
  requests: MANY,
  longKills: 20,
}

for (const engine of ['SQLite', 'PostgreSQL'] as const) {
  void t.test(`${engine}: the status has counts and the most important items`, async (t) => {
    const server = await start(t, engine)
    await fill(server)
    const status = async (query: string, as = admin) => {
      const reply = await call(server, 'GET', `/admin/v1/status${query}`, as)
      t.equal(reply.status, 200, JSON.stringify(reply.body).slice(0, 200))
      return reply.body
    }
    const first = await status('')
    t.same(first['counts'], counts)
    t.match(first['latestSwitch'], { id: `id-${String(TOTAL - 1)}` })
    const ids = idsOf(first['switches'])
    t.equal(ids.length, 100)
    const newest = `id-${String(TOTAL - 1)}`
    t.same(ids.slice(0, 5), ['id-0', 'id-1', 'id-3', 'id-2', newest], 'wide, then recent')
    t.equal(idsOf(first['requests']).length, 100)
    t.equal(idsOf(first['requests'])[0], 'request-0', 'what expires first')
    t.equal(idsOf(first['longKills']).length, 20)
    t.ok(JSON.stringify(first).length < 100_000)
    const few = await status('?limit=2&events=0')
    t.same(idsOf(few['switches']), ['id-0', 'id-1'])
    t.same(idsOf(few['longKills']), ['id-0', 'id-1'])
    t.same(few['counts'], counts)
    t.same(idsOf((await status('?limit=0'))['switches']), [])
    for (const query of ['?limit=1001', '?limit=-1', '?limit=x', '?events=1000000']) {
      const refused = await call(server, 'GET', `/admin/v1/status${query}`, admin)
      t.equal(refused.status, 400, query)
      t.equal(codeOf(refused), 'INPUT_INVALID')
    }

    await t.test('a limited caller gets only what concerns its key stores', async (t) => {
      const own = await status('?limit=1000', limited)
      const own2 = MANY / 2
      t.match(own['counts'], {
        switches: { total: own2 + 4, all: 1, 'key-store': 1, match: 2, key: own2 },
        // Requests to lift id-0 to id-3, and every other one of the rest.
        requests: 4 + (MANY - 4) / 2,
      })
      const seen = JSON.stringify(own)
      t.notMatch(seen, /"keyStore":"demo"/)
      const pages = await follow(server, '/admin/v1/switches', 50, limited)
      const paged = pages.flatMap(({ body }) => idsOf(body['switches']))
      t.same([...paged].sort(), idsOf(own['switches']).sort())
      const requests = await follow(server, '/admin/v1/restorations', 50, limited)
      const visible = requests.flatMap(({ body }) => idsOf(body['requests']))
      t.same([...visible].sort(), idsOf(own['requests']).sort())
    })

    await t.test('pages contain every item once, in the order of the ids', async (t) => {
      for (const [path, list, total] of [
        ['/admin/v1/switches', 'switches', TOTAL],
        ['/admin/v1/restorations', 'requests', MANY],
        ['/admin/v1/deadman', 'deadManSwitches', 0],
      ] as const) {
        for (const limit of [7, 100, 1000]) {
          const pages = await follow(server, path, limit)
          const ids = pages.flatMap(({ body }) => idsOf(body[list]))
          t.equal(new Set(ids).size, total, `${path} ${String(limit)}`)
          t.same(ids, [...ids].sort())
          t.equal(pages.length, Math.max(1, Math.ceil(total / limit)))
        }
        const refused = await call(server, 'GET', `${path}?cursor=x`, admin)
        t.equal(codeOf(refused), 'INPUT_INVALID')
      }
    })

    await t.test('the command shows what matters first, and all with --json', async (t) => {
      const folder = await temporaryFolder(t)
      const there = {
        LATCHKEY_ADDR: `https://localhost:${String(server.running.admin?.port)}`,
        ...{ LATCHKEY_CACERT: pki.caFile, LATCHKEY_TOKEN: admin.token, HOME: folder },
      }
      const remotely = (...words: string[]) => latchkeyHere(['status', ...words], there)
      const here = (...words: string[]) =>
        latchkeyHere(['status', ...words, '--config', server.configFile], { HOME: folder })
      for (const status of [remotely, here]) {
        const { stdout } = await status()
        const [headline = ''] = stdout.split('\n')
        t.match(
          headline,
          /^264 switches in force \(everything is stopped, 1 for a key store, 2 for callers, 260 for keys\): the most recent key b\/key-259, since .*, by alice; .*1 instance serving/,
        )
        t.match(stdout, /\n17 more switches are approaching seven days\n/)
        t.match(stdout, /\n254 more: run latchkey status --switches\n/)
        t.match(stdout, /\n250 more: run latchkey status --switches\n/)
        t.match(stdout, /\nid-0 .*\nid-1 .*\nid-3 .*\nid-2 .*\nid-263 /)
        t.ok(stdout.split('\n').length < 60, 'a few screens')
        const json = JSON.parse((await status('--json')).stdout) as Item
        const whole = idsOf(json['switches'])
        t.equal(new Set(whole).size, TOTAL)
        t.same(whole, [...whole].sort(), 'in the order of the ids')
        t.equal(idsOf(json['requests']).length, MANY)
        t.equal(idsOf(json['longKills']).length, 20)
        const all = (await status('--switches')).stdout
        t.notMatch(all, / more: run/)
        t.match(all, /\nid-100 /)
      }
      const preview = [
        'restore',
        '--key-store',
        'b',
        '--key',
        'key-9',
        '--reason',
        'test',
        '--json',
      ]
      const found = await latchkeyHere(preview, there)
      t.match(JSON.parse(found.stdout), { wouldRestore: [{ id: 'id-13' }] }, found.stderr)
    })

    await t.test('no part is shown if a switch was removed, and a kill still works', async (t) => {
      const oncall = { name: 'oncall', kind: 'person', role: 'operator' }
      const added = await call(server, 'POST', '/admin/v1/operators', { ...admin, body: oncall })
      t.equal(added.status, 200, JSON.stringify(added.body))
      const body = { operator: 'oncall' }
      const made = await call(server, 'POST', '/admin/v1/tokens', { ...admin, body })
      const stored = { token: String(made.body['token']) }
      t.equal((await call(server, 'GET', '/admin/v1/about', stored)).status, 200)
      const store = await openStore(await toStoreOptions(server.config))
      t.teardown(() => store.close())
      await store.database.transaction((transaction) =>
        transaction.execute('DELETE FROM switches WHERE id = ?', ['id-9']),
      )
      const paths = ['status?limit=1', 'switches?limit=1', 'restorations?limit=1']
      // The list of requests reads the switches only for a limited caller.
      for (const path of paths) {
        const refused = await call(server, 'GET', `/admin/v1/${path}`, limited)
        t.equal(refused.status, 503, path)
        t.match(refused.body['error'], { reason: 'STORE_TAMPERED' })
      }
      // Callers are read from the store again after half a second.
      await pause(1000)
      t.equal((await call(server, 'GET', '/admin/v1/about', stored)).status, 200)
      const order = { scope: { kind: 'all' }, reason: 'incident 4712', wait: false }
      const killed = await call(server, 'POST', '/admin/v1/switches', { ...stored, body: order })
      t.equal(killed.status, 200, JSON.stringify(killed.body))
    })
  })
}

void t.test('the status says what is stopped everywhere, and in which direction', async (t) => {
  const server = await start(t, 'SQLite')
  const store = await openStore(await toStoreOptions(server.config))
  t.teardown(() => store.close())
  const there = {
    LATCHKEY_ADDR: `https://localhost:${String(server.running.admin?.port)}`,
    ...{ LATCHKEY_CACERT: pki.caFile, LATCHKEY_TOKEN: admin.token },
    HOME: await temporaryFolder(t),
  }
  const add = (id: string, scope: Scope, direction: Direction) =>
    store.change((transaction, epoch) =>
      new SwitchTable(transaction, store.sealing).insertSwitch({
        ...{ id, scope, direction, epoch, createdAt: Date.now() },
        ...{ reason: 'test', operator: 'alice' },
      }),
    )
  const headline = async () => (await latchkeyHere(['status'], there)).stdout.split('\n')[0] ?? ''
  const status = async () => (await call(server, 'GET', '/admin/v1/status', admin)).body
  await add('id-1', { kind: 'key-store', keyStore: 'b' }, 'both')
  t.notOk('stopsEverything' in (await status()))
  await add('id-2', { kind: 'all' }, 'encrypt')
  t.match(await status(), { stopsEverything: 'encrypt' })
  t.match(await headline(), /^2 switches in force \(every Encrypt is stopped, 1 for a key store\)/)
  await add('id-3', { kind: 'all' }, 'decrypt')
  t.match(await status(), { stopsEverything: 'both' })
  t.match(await headline(), /^3 switches in force \(everything is stopped, 1 for a key store\)/)
})
