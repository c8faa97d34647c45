/** Tests that searches of audit logs run one at a time, and how many may wait. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { AdminPrincipal } from '../../../src/admin/principal.ts'
import type { GuardedRoute } from '../../../src/admin/route.ts'
import { auditRoutes } from '../../../src/admin/routes/audit.ts'
import type { EntryPage } from '../../../src/audit/reader/search.ts'

const principal: AdminPrincipal = {
  ...{ name: 'eve', person: 'eve', role: 'auditor', by: 'token' },
  grants: [{ role: 'auditor' }],
  isPersonal: true,
}

/** Returns the entries route with a reader whose searches finish only when the test ends them. */
function setUp() {
  const running: ((page: EntryPage) => void)[] = []
  const routes = auditRoutes({
    readAudit: () => Promise.reject(new Error('not used')),
    readLogFile: () => Promise.reject(new Error('not used')),
    reader: {
      logs: () => Promise.resolve([]),
      prove: () => Promise.resolve(''),
      page: () => new Promise((resolve) => running.push(resolve)),
    },
  })
  const route = routes.find(({ path }) => path === '/admin/v1/audit/entries') as GuardedRoute
  const ask = (isGone = () => false) => {
    const query = new URLSearchParams({ log: 'one' })
    return route.handle({ principal, parameters: {}, query, body: undefined, isGone })
  }
  const page = { entries: [], next: undefined } as unknown as EntryPage
  /** Ends the running search, and lets the next one begin. */
  const finish = async () => {
    running.shift()?.(page)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { ask, finish, running }
}

void t.test('sixteen searches wait, and one more is told when to come again', async (t) => {
  const { ask, finish, running } = setUp()
  const first = ask()
  await finish()
  const waiting = Array.from({ length: 16 }, () => ask())
  const refused = { code: 'UNAVAILABLE', status: 503, retryAfterSeconds: 5 }
  await t.rejects(ask(), refused)
  t.equal(running.length, 1, 'one at a time')
  await finish()
  waiting.push(ask())
  await t.rejects(ask(), refused)
  for (let i = 0; i < 17; i++) await finish()
  for (const answer of await Promise.all([first, ...waiting])) t.equal(answer.status, 200)
})

void t.test('the search of a caller who has gone away is skipped', async (t) => {
  const { ask, finish, running } = setUp()
  const first = ask()
  await finish()
  const gone = t.rejects(
    ask(() => true),
    { code: 'UNAVAILABLE' },
  )
  const last = ask()
  await finish()
  await gone
  t.equal(running.length, 1, 'only the last search runs')
  await finish()
  t.match(await Promise.all([first, last]), [{ status: 200 }, { status: 200 }])
})
