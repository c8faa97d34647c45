/** Tests what the store knows about the control log, which consists of the store's events. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type AuditLogs, findKnown } from '../../../src/app/audit-logs.ts'
import { EMPTY_ROOT, hashLeaf, nodesOf, rootOf } from '../../../src/core/tlog/merkle.ts'
import { type ControlEvent, encodeEvent } from '../../../src/store/event-log.ts'

const COUNT = 5000
const events = Array.from({ length: COUNT }, (_, i): ControlEvent => ({
  ...{ seq: i + 1, at: i, epoch: i, kind: 'killed', operator: 'alice', detail: { i } },
}))
const logs: AuditLogs = {
  ...{ folders: [], publicKey: '', isFromStore: true, known: new Map(), events },
  ...{ hashPrincipal: undefined, record: undefined, reread: () => Promise.resolve(undefined) },
}
const rootAt = (size: number) =>
  rootOf(nodesOf(events.slice(0, size).map((one) => hashLeaf(encodeEvent(one)))), size)

void t.test('the head of the control log, at the size of the log or of the store', async (t) => {
  for (const size of [1, 2, 100, 777, COUNT]) {
    t.same(await findKnown(logs, 'latchkey/test/control', size), {
      heads: [{ size, root: rootAt(size), source: 'the store' }],
    })
  }
  t.same(await findKnown(logs, 'latchkey/test/control', COUNT + 1), {
    heads: [{ size: COUNT, root: EMPTY_ROOT, source: 'the store' }],
  })
  t.same(await findKnown(logs, 'latchkey/test/audit/other', 10), { heads: [] })
  t.same(await findKnown({ ...logs, events: [] }, 'latchkey/test/control', 10), { heads: [] })
})

void t.test('many events are hashed in short turns', async (t) => {
  let turns = 0
  let isDone = false
  const count = () => {
    turns += 1
    if (!isDone) setImmediate(count)
  }
  setImmediate(count)
  await findKnown(logs, 'latchkey/test/control', COUNT)
  isDone = true
  t.ok(turns >= COUNT / 200, `${String(turns)} turns`)
})
