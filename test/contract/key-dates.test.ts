/** Tests the activation and deactivation dates of keys on both engines. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { followKeyDates } from '../../src/keys/key-dates.ts'
import { createKeyAdministration } from '../../src/keys/software/administration.ts'
import { rotateDueKeys } from '../../src/keys/software/scheduled-rotation.ts'
import { readEvents } from '../../src/store/event-log.ts'
import { keyId } from '../support/server.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(180_000)

const DAY = 86_400_000
const ID = keyId('payroll')
const BOTH = { canEncrypt: true, canDecrypt: true }

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(`${name}: dates take effect by the clock, and events record them`, async (t) => {
    const { store, clock, openAgain } = await open(t)
    const keys = createKeyAdministration(store, 'demo', clock, 'alice')
    const now = clock.now()
    const dates = { activateAt: now + DAY, deactivateAt: now + 3 * DAY }
    t.match(await keys.createKey({ keyId: ID, ...BOTH, dates }), {
      ...{ ...dates, dateState: 'PRE_ACTIVE' },
    })
    await keys.createKey({ keyId: keyId('plain'), ...BOTH })
    const served = followKeyDates(await openAgain(), clock)
    await served.reload()
    t.equal(served.stateOf('demo', ID), 'PRE_ACTIVE')
    t.equal(served.stateOf('demo', 'plain'), undefined)
    t.equal(served.stateOf('other', ID), undefined)
    clock.advance(DAY - 1)
    t.equal(served.stateOf('demo', ID), 'PRE_ACTIVE')
    clock.advance(1)
    t.equal(served.stateOf('demo', ID), undefined, 'at the date, without a reload')
    clock.advance(2 * DAY)
    t.equal(served.stateOf('demo', ID), 'DEACTIVATED')
    t.match(await keys.listKeys(), [
      { keyId: ID, ...dates, dateState: 'DEACTIVATED' },
      { keyId: 'plain', activateAt: undefined, dateState: undefined },
    ])

    const later = now + 9 * DAY
    t.match(await keys.setKeyDates(ID, { deactivateAt: later }), {
      ...{ activateAt: dates.activateAt, deactivateAt: later, dateState: undefined },
    })
    await served.reload()
    t.equal(served.stateOf('demo', ID), undefined)
    await keys.setKeyDates(ID, { activateAt: null, deactivateAt: null })
    await served.reload()
    clock.advance(30 * DAY)
    t.equal(served.stateOf('demo', ID), undefined, 'the row is gone')
    await keys.setKeyDates(ID, { activateAt: null })
    const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
    t.match(
      events.flatMap(({ kind, detail }) => (kind === 'key-dates-changed' ? [detail] : [])),
      [
        { keyStore: 'demo', keyId: ID, before: {}, after: dates },
        { before: dates, after: { ...dates, deactivateAt: later } },
        { before: { ...dates, deactivateAt: later }, after: {} },
      ],
      'an unchanged date is no event',
    )
    await store.audit()
  })

  void t.test(`${name}: dates that contradict each other change nothing`, async (t) => {
    const { store, clock } = await open(t)
    const keys = createKeyAdministration(store, 'demo', clock, 'alice')
    const activateAt = clock.now() + DAY
    const invalid = { name: 'BackendError', code: 'KEY_DATES_INVALID' }
    await t.rejects(
      keys.createKey({ keyId: ID, ...BOTH, dates: { activateAt, deactivateAt: activateAt } }),
      invalid,
    )
    t.same(await keys.listKeys(), [], 'nor is the key created')
    await keys.createKey({ keyId: ID, ...BOTH, dates: { activateAt } })
    await t.rejects(keys.setKeyDates(ID, { deactivateAt: activateAt - 1 }), invalid)
    await t.rejects(keys.setKeyDates(keyId('missing'), { activateAt }), { code: 'KEY_NOT_FOUND' })
    t.match(await keys.listKeys(), [{ keyId: ID, activateAt, deactivateAt: undefined }])
  })

  void t.test(`${name}: dates outside the years 1970 to 9999 change nothing`, async (t) => {
    const { store, clock } = await open(t)
    const keys = createKeyAdministration(store, 'demo', clock, 'alice')
    await keys.createKey({ keyId: ID, ...BOTH })
    for (const at of [-1, 253_402_300_800_000, 9e15, NaN]) {
      const invalid = { code: 'KEY_DATES_INVALID', message: /expected a date in the years 1970 to/ }
      const dates = { activateAt: at }
      await t.rejects(keys.createKey({ keyId: keyId('new'), ...BOTH, dates }), invalid)
      await t.rejects(keys.setKeyDates(ID, { deactivateAt: at }), invalid)
    }
    t.match(await keys.listKeys(), [{ keyId: ID, activateAt: undefined, deactivateAt: undefined }])
    const deactivateAt = 253_402_300_799_999
    t.match(await keys.setKeyDates(ID, { activateAt: 0, deactivateAt }), { deactivateAt })
  })

  void t.test(`${name}: a changed row is noticed, and the dates stay in force`, async (t) => {
    const { store, clock, openAgain, tamper } = await open(t)
    const keys = createKeyAdministration(store, 'demo', clock, 'alice')
    await keys.createKey({ keyId: ID, ...BOTH, dates: { activateAt: clock.now() + DAY } })
    const served = followKeyDates(await openAgain(), clock)
    await served.reload()
    await tamper('UPDATE key_dates SET activate_at = 1')
    await keys.createKey({ keyId: keyId('other'), ...BOTH, dates: { activateAt: 2 } })
    await t.rejects(
      served.reload().then(() => followKeyDates(store, clock).reload()),
      { code: 'STORE_TAMPERED' },
    )
    t.equal(served.stateOf('demo', ID), 'PRE_ACTIVE')
  })

  void t.test(`${name}: a deactivated key is not rotated on schedule`, async (t) => {
    const { store, clock } = await open(t)
    const keys = createKeyAdministration(store, 'demo', clock, 'alice')
    await keys.createKey({ keyId: ID, ...BOTH, dates: { deactivateAt: clock.now() + DAY } })
    clock.advance(2 * DAY)
    const order = { keyStore: 'demo', maxAgeMs: DAY }
    t.same(await rotateDueKeys(store, clock, order), [])
    await keys.setKeyDates(ID, { deactivateAt: null })
    t.same(await rotateDueKeys(store, clock, order), [{ keyId: ID, version: 2 }])
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
