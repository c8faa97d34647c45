/**
 * Tests that a reservation's MAC is computed when the reservation is sent, because a store key may be dropped while a
 * reservation is queued.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createUseReservations } from '../../../../src/keys/software/use-reservations.ts'
import type { Sealing } from '../../../../src/store/sealing.ts'
import { storeFolder } from '../../../support/store.ts'

void t.test('a reservation is authenticated when it is sent, not when it queues', async (t) => {
  const store = await (await storeFolder(t)).open()
  let codes = 0
  const sealing: Sealing = {
    ...store.sealing,
    authenticate(fields) {
      codes += 1
      return store.sealing.authenticate(fields)
    },
  }
  const { database } = store
  const { reserve } = createUseReservations({ database, sealing }, 100)
  const at = { keyStore: 'demo', keyId: 'key', version: 1, floor: 0 }
  let waiting = false
  let end = () => {
    waiting = false
  }
  const blocked = database.transaction(
    () =>
      new Promise<void>((resolve) => {
        waiting = true
        end = resolve
      }),
  )
  await database.snapshot((reader) => reader.query('SELECT 1 AS one'))
  const reserved = reserve(at, 10, () => true)
  for (let i = 0; i < 3; i++) await database.snapshot((reader) => reader.query('SELECT 1 AS one'))
  t.ok(waiting, 'a change of this process runs')
  t.equal(codes, 0)
  end()
  await blocked
  t.match(await reserved, { granted: 10, total: 10 })
  t.equal(codes, 1)
})
