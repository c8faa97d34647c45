/**
 * Tests that every listener refuses a revoked token within a second, on both engines. The test controls the clock and
 * counts store reads, so the result does not depend on the machine.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { toAdminError } from '../../src/app/admin-errors.ts'
import { createCallerTable } from '../../src/admin/operators/caller-table.ts'
import { createDirectory } from '../../src/admin/operators/directory.ts'
import { ok } from '../../src/admin/route.ts'
import { createAdminServer } from '../../src/admin/server.ts'
import { createApiSchemas } from '../../src/openapi/schemas.ts'
import type { Store } from '../../src/store/store.ts'
import type { FakeClock } from '../support/fake-clock.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(120_000)

const BY = 'root'
const schemas = createApiSchemas()

/** Starts the listener of one host. */
async function startListener(t: Test, store: Store, clock: FakeClock) {
  let reads = 0
  const counted: Store = {
    ...store,
    feed(...tables) {
      const feed = store.feed(...tables)
      return {
        ...feed,
        update(apply) {
          reads += 1
          return feed.update(apply)
        },
      }
    },
  }
  const callers = createCallerTable(counted, clock)
  const { app } = await createAdminServer({
    config: { host: '127.0.0.1', port: 0, tokens: [] },
    ...{ schemas, clock, toAdminError, callers },
    routes: [
      {
        ...{ method: 'GET', path: '/admin/v1/about', permission: 'read' },
        handle: ({ principal }) => Promise.resolve(ok({ name: principal.name })),
      },
    ],
    onEvent: () => undefined,
    onRefused: () => undefined,
  })
  app.server.listen(0, '127.0.0.1')
  await once(app.server, 'listening')
  t.teardown(async () => {
    app.server.close()
    await callers.flush()
  })
  const url = `http://127.0.0.1:${String((app.server.address() as AddressInfo).port)}/admin/v1/about`
  return {
    reads: () => reads,
    async status(token: string) {
      const headers = { authorization: `Bearer ${token}`, connection: 'close' }
      return (await fetch(url, { headers })).status
    },
  }
}

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(
    `${name}: a revoked token is refused by every listener within a second`,
    async (t) => {
      const { store, clock, openAgain } = await open(t)
      const listeners = [
        await startListener(t, await openAgain(), clock),
        await startListener(t, await openAgain(), clock),
      ]
      const statuses = (token: string) =>
        Promise.all(listeners.map((listener) => listener.status(token)))
      const reads = () => listeners.map((listener) => listener.reads())
      const directory = createDirectory(store, clock)
      await directory.put({ name: 'alice', kind: 'person', role: 'viewer', groups: [] }, BY)

      for (const revoke of ['revokeToken', 'remove'] as const) {
        await directory.put({ name: 'alice', kind: 'person', role: 'viewer', groups: [] }, BY)
        const { id, token } = await directory.createToken({ operator: 'alice' }, BY)
        const bearer = token.reveal()
        clock.advance(1000)
        t.same(await statuses(bearer), [200, 200])
        // In the worst case, every listener has read the store just before the revocation.
        const before = reads()
        await directory[revoke](revoke === 'remove' ? 'alice' : id, BY)
        clock.advance(999)
        t.same(await statuses(bearer), [401, 401], `${revoke}: refused within a second`)
        const taken = reads().map((count, i) => count - (before[i] ?? 0))
        t.same(taken, [1, 1], `${revoke}: one read of each listener suffices`)
        clock.advance(60_000)
        t.same(await statuses(bearer), [401, 401], `${revoke}: for good`)
      }
    },
  )

  void t.test(`${name}: calls between two reads share them`, async (t) => {
    const { store, clock, openAgain } = await open(t)
    const listener = await startListener(t, await openAgain(), clock)
    const directory = createDirectory(store, clock)
    await directory.put({ name: 'alice', kind: 'person', role: 'viewer', groups: [] }, BY)
    const { token } = await directory.createToken({ operator: 'alice' }, BY)
    const bearer = token.reveal()
    t.equal(await listener.status(bearer), 200)
    const before = listener.reads()
    for (let i = 0; i < 4; i++) {
      clock.advance(100)
      t.equal(await listener.status(bearer), 200)
    }
    t.equal(listener.reads(), before, 'no read for 400 ms')
    clock.advance(100)
    await Promise.all([1, 2, 3].map(() => listener.status(bearer)))
    t.equal(listener.reads(), before + 1, 'one read after half a second, however many calls wait')
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
