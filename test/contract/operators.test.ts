/** Tests the control store's operator and token rows on both engines. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { createCallerTable } from '../../src/admin/operators/caller-table.ts'
import { createDirectory } from '../../src/admin/operators/directory.ts'
import type { StorageError } from '../../src/store/database.ts'
import { readEvents } from '../../src/store/event-log.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(120_000)

const BY = 'root'
const hashOf = (token: string) => createHash('sha256').update(token).digest('hex')
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: unknown) => (error as StorageError).code,
  )

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(
    `${name}: a token identifies its operator until it is revoked, expires or is deleted`,
    async (t) => {
      const { store, clock } = await open(t)
      const directory = createDirectory(store, clock)
      // Each table represents the admin listener on one host.
      const tables = [createCallerTable(store, clock), createCallerTable(store, clock)]
      const find = (token: string) =>
        Promise.all(tables.map((table) => table.findByToken(hashOf(token))))
      await directory.put({ name: 'night', kind: 'group', role: 'operator', groups: [] }, BY)
      const alice = { name: 'alice', kind: 'person', role: 'viewer', groups: ['night'] } as const
      await directory.put({ ...alice, keyStores: ['payroll'] }, BY)
      const first = await directory.createToken({ operator: 'alice' }, BY)
      const token = first.token.reveal()
      const grants = [{ role: 'viewer', keyStores: ['payroll'] }, { role: 'operator' }]
      t.same(await find(token), [
        { name: 'alice', grants, isPersonal: true },
        { name: 'alice', grants, isPersonal: true },
      ])
      t.same(await find(`${token}x`), [undefined, undefined])

      await Promise.all(tables.map((table) => table.flush()))
      const [used] = await directory.tokens()
      t.match(used, { id: first.id, operator: 'alice', status: 'ACTIVE', uses: 2 })
      t.equal(used?.lastUsedAt, clock.now())

      await directory.put({ ...alice, groups: [] }, BY)
      clock.advance(500)
      const viewer = { name: 'alice', grants: [{ role: 'viewer' }], isPersonal: true }
      t.same(await find(token), [viewer, viewer])
      await directory.revokeToken(first.id, BY)
      clock.advance(500)
      t.same(await find(token), [undefined, undefined], 'refused everywhere after half a second')

      const expiresAt = clock.now() + 60_000
      const second = await directory.createToken({ operator: 'alice', expiresAt }, BY)
      clock.advance(1000)
      t.match(await find(second.token.reveal()), [{ name: 'alice' }, { name: 'alice' }])
      clock.advance(60_000)
      t.same(await find(second.token.reveal()), [undefined, undefined], 'expired')

      const third = await directory.createToken({ operator: 'alice' }, BY)
      await directory.remove('alice', BY)
      await directory.put(alice, BY)
      clock.advance(1000)
      t.same(await find(third.token.reveal()), [undefined, undefined], 'a new alice is another one')
      t.same(
        (await directory.tokens()).map(({ status }) => status),
        ['REVOKED', 'REVOKED', 'REVOKED'],
      )
      const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
      t.match(
        events.map(({ kind, operator }) => `${kind} by ${operator}`),
        [
          ...['operator-put by root', 'operator-put by root', 'token-created by root'],
          ...['operator-put by root', 'token-revoked by root', 'token-created by root'],
          ...['token-created by root', 'operator-removed by root', 'operator-put by root'],
        ],
      )
      t.notMatch(JSON.stringify(events), hashOf(token).slice(0, 16), 'events hold no hash')
    },
  )

  void t.test(`${name}: rejects invalid input and modified rows`, async (t) => {
    const { store, clock, tamper } = await open(t)
    const directory = createDirectory(store, clock)
    const person = (name: string, groups: readonly string[] = []) =>
      codeOf(directory.put({ name, kind: 'person', groups }, BY))
    t.equal(await person('alice'), 'OPERATOR_INVALID', 'without a role')
    t.equal(await person('../alice', ['x']), 'OPERATOR_INVALID')
    t.equal(await person('alice', ['typo']), 'OPERATOR_NOT_FOUND')
    t.equal(await codeOf(directory.remove('alice', BY)), 'OPERATOR_NOT_FOUND')
    t.equal(await codeOf(directory.createToken({ operator: 'alice' }, BY)), 'OPERATOR_NOT_FOUND')
    t.equal(await codeOf(directory.revokeToken('abc', BY)), 'TOKEN_NOT_FOUND')
    await directory.put({ name: 'g', kind: 'group', role: 'admin', groups: [] }, BY)
    t.equal(await codeOf(directory.createToken({ operator: 'g' }, BY)), 'OPERATOR_INVALID')
    await directory.put({ name: 'bob', kind: 'person', role: 'viewer', groups: [] }, BY)
    t.equal(await person('carol', ['bob']), 'OPERATOR_INVALID', 'not a group')
    const { token } = await directory.createToken({ operator: 'bob' }, BY)
    await tamper("UPDATE operators SET role = 'admin' WHERE name = 'bob'")
    const table = createCallerTable(store, clock)
    t.equal(await codeOf(table.findByToken(hashOf(token.reveal()))), 'STORE_TAMPERED')
  })
}

void t.test('a token that another caller created through a listener is marked', async (t) => {
  const { store, clock } = await openSqlite(t)
  const directory = createDirectory(store, clock)
  await directory.put({ name: 'alice', kind: 'person', role: 'viewer', groups: [] }, BY)
  const { token } = await directory.createToken({ operator: 'alice', isPersonal: false }, 'bob')
  const table = createCallerTable(store, clock)
  t.match(await table.findByToken(hashOf(token.reveal())), { name: 'alice', isPersonal: false })
  t.match(await table.findByName('alice'), { isPersonal: true }, 'by an identity provider')
  t.match(await directory.tokens(), [{ createdBy: 'bob', isPersonal: false }])
  const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
  t.match(events.at(-1), { operator: 'bob', detail: { operator: 'alice', isPersonal: false } })
})

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
