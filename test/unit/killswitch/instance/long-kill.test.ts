/** Tests the warning about a kill that has blocked Decrypt for at least five days. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { silentLogger } from '../../../../src/core/logger.ts'
import {
  createLongKillWatch,
  findLongKills,
} from '../../../../src/killswitch/instance/long-kill.ts'
import type { Switch } from '../../../../src/killswitch/model.ts'

const DAY = 86_400_000
const NOW = Date.UTC(2026, 0, 15, 12)

function thrown(days: number, more: Partial<Switch> = {}): Switch {
  return {
    ...{ id: `s${String(days)}`, scope: { kind: 'all' }, direction: 'both', reason: 'r' },
    ...{ operator: 'o', createdAt: NOW - days * DAY, epoch: 1, ...more },
  }
}

void t.test('warns from the fifth day, and after the seventh', (t) => {
  const found = findLongKills([thrown(4), thrown(5), thrown(9)], NOW)
  t.same(
    found.map(({ id, harmAt }) => [id, (harmAt - NOW) / DAY]),
    [
      ['s5', 2],
      ['s9', -2],
    ],
  )
  t.end()
})

void t.test('does not warn about a switch that allows Decrypt, or that is lifted earlier', (t) => {
  const switches = [
    thrown(6, { direction: 'encrypt' }),
    thrown(6, { until: NOW + DAY / 2 }),
    thrown(6, { id: 'late', until: NOW + 2 * DAY }),
    thrown(6, { id: 'reads', direction: 'decrypt' }),
  ]
  t.same(
    findLongKills(switches, NOW).map(({ id }) => id),
    ['late', 'reads'],
  )
  t.end()
})

void t.test('the log says it once a day for each switch', async (t) => {
  let now = NOW
  const said: object[] = []
  const switches = [thrown(6), thrown(1)]
  const watch = createLongKillWatch({
    now: () => now,
    logger: { ...silentLogger, warn: (_message, fields) => said.push(fields ?? {}) },
  })
  watch.look(switches)
  now += DAY - 1
  watch.look(switches)
  t.match(said, [{ switch: 's6', scope: 'all' }])
  t.equal(said.length, 1)
  now += 1
  watch.look(switches)
  t.equal(said.length, 2)
})
