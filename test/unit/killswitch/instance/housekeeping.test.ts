/** Tests how often an instance reads the other instances' rows and audits the store, depending on the fleet's size. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createHousekeeping } from '../../../../src/killswitch/instance/housekeeping.ts'
import { FakeClock } from '../../../support/fake-clock.ts'

/** Creates housekeeping for a fleet of this size. Time advances in steps of one second, as with the real timer. */
function stage(instances: number) {
  const clock = new FakeClock()
  const due: (() => void)[] = []
  const fleet = { instances, isAlarmed: false }
  const housekeeping = createHousekeeping({
    clock,
    instances: () => fleet.instances,
    isAlarmed: () => fleet.isAlarmed,
    schedule: (run) => {
      due.push(run)
      return () => undefined
    },
  })
  return {
    clock,
    fleet,
    housekeeping,
    async pass(seconds: number) {
      for (let i = 0; i < seconds; i++) {
        clock.advance(1000)
        due.shift()?.()
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  }
}

async function countRuns(instances: number, seconds: number): Promise<number> {
  const { housekeeping, pass } = stage(instances)
  let runs = 0
  housekeeping.often(() => {
    runs += 1
    return Promise.resolve()
  })
  await pass(seconds)
  return runs
}

/** @param tookMs the duration of each audit */
async function countAudits(
  ...[instances, tookMs, seconds, { isAlarmed = false, readMs = 0 } = {}]: readonly [
    instances: number,
    tookMs: number,
    seconds: number,
    options?: { readonly isAlarmed?: boolean; readonly readMs?: number },
  ]
) {
  const { clock, fleet, housekeeping, pass } = stage(instances)
  fleet.isAlarmed = isAlarmed
  let runs = 0
  housekeeping.audits(() => {
    runs += 1
    clock.advance(tookMs)
    return Promise.resolve()
  }, readMs)
  await pass(seconds)
  return runs
}

void t.test('a large fleet reads its rows less often', async (t) => {
  t.equal(await countRuns(1, 20), 20, 'every second')
  t.equal(await countRuns(50, 20), 20, 'up to fifty instances')
  t.equal(await countRuns(500, 20), 2, 'every ten seconds with five hundred')
})

void t.test('an audit takes a tenth of the time, and a fleet shares it', async (t) => {
  t.equal(await countAudits(1, 20, 20), 20, 'a short one every second')
  t.equal(await countAudits(1, 2000, 20), 2, 'a long one after ten times as long')
  t.equal(await countAudits(4, 20, 20), 20, 'four instances do not share')
  t.equal(await countAudits(40, 20, 20), 2, 'forty do')
  t.equal(await countAudits(40, 20, 20, { isAlarmed: true }), 20, 'until one has found a change')
})

void t.test('the first audit leaves time for the first requests', async (t) => {
  t.equal(await countAudits(1, 20, 1, { readMs: 20 }), 1, 'not after a short start')
  t.equal(await countAudits(1, 1500, 9, { readMs: 2000 }), 0, 'after a long one, for ten seconds')
  t.equal(await countAudits(1, 1500, 10, { readMs: 2000 }), 1, 'and no longer')
  t.equal(await countAudits(1, 1500, 9, { readMs: 600_000 }), 0, 'nor after a slow database')
  t.equal(await countAudits(1, 1500, 10, { readMs: 600_000 }), 1, 'which gains no more time')
  const isAlarmed = true
  t.equal(await countAudits(1, 1500, 1, { readMs: 2000, isAlarmed }), 1, 'unless there is an alarm')
})

void t.test('work that failed is repeated at the next interval', async (t) => {
  const { housekeeping, pass } = stage(500)
  let runs = 0
  housekeeping.often(() => {
    runs += 1
    return Promise.reject(new Error('no answer'))
  })
  await pass(3)
  t.equal(runs, 3)
})
