/** Tests the metrics about the control state. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { silentLogger } from '../../../../src/core/logger.ts'
import { createControlWatch } from '../../../../src/killswitch/instance/control-watch.ts'
import type { ControlState } from '../../../../src/killswitch/switch-table.ts'

const one = (createdAt: number, direction: 'both' | 'encrypt' | 'decrypt') => ({
  ...{ id: String(createdAt), scope: { kind: 'all' }, direction, reason: 'r', operator: 'o' },
  ...{ createdAt, epoch: 1 },
})
const state = (more: object) =>
  ({ switches: [], requests: [], deadManSwitches: [], ...more }) as unknown as ControlState

void t.test(
  'reports the oldest kill of Decrypt, the pending requests and the deadlines',
  async (t) => {
    let next = state({
      switches: [one(5, 'encrypt'), one(70, 'both'), one(60, 'decrypt')],
      requests: [{ expiresAt: 101 }, { expiresAt: 100 }],
      deadManSwitches: [{ keyStore: 'demo', openUntil: 200, reason: 'not shown' }],
    })
    const load = () => Promise.resolve(next)
    const watch = createControlWatch({ load, now: () => 100, logger: silentLogger })
    t.equal(watch.figures(), undefined)
    await watch.look()
    t.strictSame(watch.figures(), {
      oldestKillAt: 60,
      restoreRequests: 1,
      deadlines: [{ keyStore: 'demo', openUntil: 200 }],
    })
    next = state({})
    await watch.look()
    t.strictSame(watch.figures(), { restoreRequests: 0, deadlines: [] })
  },
)

void t.test('if the store cannot be read, the figures stay', async (t) => {
  const load = () => Promise.reject(new Error('gone'))
  const watch = createControlWatch({ load, now: () => 100, logger: silentLogger })
  await t.rejects(watch.look(), /gone/)
  t.equal(watch.figures(), undefined)
})
