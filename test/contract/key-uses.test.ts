/** Tests reservations of uses by several processes on both engines: each needs as few statements as it can. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createUseReservations } from '../../src/keys/software/use-reservations.ts'
import type { Store } from '../../src/store/store.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(180_000)
const VERSIONS = Array.from({ length: 250 }, (_, i) => ({
  ...{ keyStore: 'demo', keyId: `key-${String(i).padStart(3, '0')}`, version: 1, floor: 0 },
}))

/** Simulates a separate process. Returns its reservations, and records the statements that they send. */
function processOn(store: Store) {
  const sent: string[] = []
  const { database, sealing } = store
  const reservations = createUseReservations(
    {
      database: {
        ...database,
        snapshot: (work) => database.snapshot(work),
        read(sql, parameters) {
          sent.push('read')
          return database.read(sql, parameters)
        },
        write(sql, parameters) {
          sent.push('write')
          return database.write(sql, parameters)
        },
      },
      sealing,
    },
    1000,
  )
  return {
    readAhead: reservations.readAhead,
    settle: (isUrgent: boolean, versions: typeof VERSIONS) =>
      Promise.allSettled(versions.map((at) => reservations.reserve(at, 5, () => isUrgent))),
    /** Returns the totals after the reservation, and the statements that it took. */
    async reserve(isUrgent: boolean, versions = VERSIONS) {
      sent.length = 0
      const all = versions.map((at) => reservations.reserve(at, 5, () => isUrgent))
      const totals = new Set((await Promise.all(all)).map(({ total }) => total))
      return { totals: [...totals], sent: [...sent] }
    },
  }
}

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(`${name}: what a process has seen or read ahead is not read again`, async (t) => {
    const { store, openAgain } = await open(t)
    const one = processOn(store)
    t.same(await one.readAhead(1000), [])
    t.same(await one.reserve(true), { totals: [5], sent: ['write', 'write'] }, 'no use ever')
    t.same(await one.reserve(false), { totals: [10], sent: ['write', 'write'] }, 'seen')

    const other = processOn(await openAgain())
    const found = await other.readAhead(1000)
    t.same(
      found,
      VERSIONS.map(({ keyStore, keyId }) => ({ keyStore, keyId })),
    )
    t.same(await other.reserve(false), { totals: [15], sent: ['write', 'write'] }, 'read ahead')
    t.same((await other.readAhead(10)).length, 10)

    const wrong = await one.reserve(true, VERSIONS.slice(0, 3))
    t.same(
      wrong,
      { totals: [20], sent: ['write', 'read', 'write'] },
      'a wrong guess writes nothing',
    )
  })

  void t.test(`${name}: only reservations of a changed row fail`, async (t) => {
    const { store, openAgain, tamper } = await open(t)
    const some = VERSIONS.slice(0, 9)
    const hasSeen = processOn(store)
    await hasSeen.reserve(true, some)
    const hasNot = processOn(await openAgain())
    const hasReadAhead = processOn(await openAgain())
    await hasReadAhead.readAhead(1000)
    await tamper("UPDATE key_uses SET reserved_uses = 1 WHERE key_id = 'key-003'")
    await tamper("UPDATE key_uses SET mac = 'x' WHERE key_id = 'key-005'")
    await tamper("UPDATE key_uses SET reserved_uses = 9007199254740993 WHERE key_id = 'key-007'")
    for (const one of [hasSeen, hasNot, hasReadAhead, processOn(store)]) {
      for (const isUrgent of [true, false]) {
        const results = await one.settle(isUrgent, some)
        for (const [i, result] of results.entries()) {
          const key = `key-00${String(i)}`
          if (![3, 5, 7].includes(i)) t.equal(result.status, 'fulfilled', key)
          else {
            const reason = {
              code: 'STORE_TAMPERED',
              message: new RegExp(`key_uses demo ${key} 1$`),
            }
            t.match(result, { status: 'rejected', reason }, key)
          }
        }
      }
    }
  })

  void t.test(`${name}: a row that was removed is not made again`, async (t) => {
    const { store, tamper } = await open(t)
    const one = processOn(store)
    const some = VERSIONS.slice(0, 2)
    await one.reserve(true, some)
    await tamper('DELETE FROM key_uses')
    await t.rejects(one.reserve(true, some), { code: 'STORE_TAMPERED' })
    t.same(await store.database.read('SELECT 1 AS found FROM key_uses'), [])
  })

  void t.test(
    `${name}: a row with a changed code is refused, whichever count it has`,
    async (t) => {
      const { store, openAgain, tamper } = await open(t)
      const idle = processOn(store)
      const busy = processOn(await openAgain())
      const some = VERSIONS.slice(0, 2)
      await idle.reserve(true, some)
      await busy.reserve(false, some)
      await busy.reserve(false, some)
      await tamper("UPDATE key_uses SET reserved_uses = 5, mac = 'none'")
      await t.rejects(idle.reserve(true, some), { code: 'STORE_TAMPERED' }, 'the count it has seen')
      await tamper("UPDATE key_uses SET reserved_uses = 0, mac = 'none'")
      const fresh = processOn(await openAgain())
      await t.rejects(fresh.reserve(true, some), { code: 'STORE_TAMPERED' }, 'the count it guesses')
      await tamper('UPDATE key_uses SET reserved_uses = 15')
      await t.rejects(busy.reserve(true, some), { code: 'STORE_TAMPERED' }, 'only the code changed')
    },
  )
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
