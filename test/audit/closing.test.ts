/** Tests entries that arrive while a log closes: none may be lost once it has been reported as durable. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { encodeBundle } from '../../src/audit/log/tiles.ts'
import type { AuditThreadData, FromThread, ToThread } from '../../src/audit/writer/protocol.ts'
import { decryptRecord, longRecord, looseLog, readPlainly } from '../support/audit.ts'
import { temporaryFolder } from '../support/cli.ts'

void t.test('no entry follows the stop entry, and later ones count as lost', async (t) => {
  const { log, folder, stop, verify } = await looseLog(t)
  log.record(decryptRecord('in time'))
  const stopped = stop()
  log.record(decryptRecord('late'))
  await t.rejects(log.recordDurably(decryptRecord('late, too')), {
    code: 'AUDIT_UNWRITABLE',
    message: 'cannot write the audit log: the log is closed',
  })
  await stopped
  t.match(await verify(), { problems: [], requests: 1, isOpen: false })
  t.match(readPlainly(folder).at(-1), { kind: 'stop' })
  t.match(log.stats(), { written: 3, lost: 2, queued: 0 })
})

const QUEUES = [
  { name: 'the queue has its maximum number of entries', record: decryptRecord('queued') },
  // The stop entry is so long that it does not fit into what is left of the memory.
  { name: "the queue's memory is full", record: longRecord('queued'), time: 'x'.repeat(20_000) },
]
for (const { name, record, time = '' } of QUEUES)
  void t.test(`${name}: the stop entry counts the lost ones`, async (t) => {
    const { log, folder, verify } = await looseLog(t)
    // No entry reaches the disk until the event loop continues, as if the disk hung.
    while (log.stats().lost < 3) log.record(record)
    const { queued } = log.stats()
    t.ok(await log.stop(time))
    t.match(await verify(), { problems: [], requests: queued, lost: 3 })
    t.match(readPlainly(folder).at(-1), { kind: 'stop', lost: 3 })
  })

void t.test('a log without its stop entry stays open, and recovery marks the gap', async (t) => {
  const { log, folder, recover, verify } = await looseLog(t)
  log.record(decryptRecord('written'))
  // This entry is too long for a bundle.
  t.equal(await log.stop('x'.repeat(70_000)), undefined)
  t.match(await verify(), { isOpen: true })
  await recover()
  t.match(await verify(), { problems: [], requests: 1, isOpen: false })
  t.match(readPlainly(folder), [{ kind: 'start' }, { kind: 'request' }, { kind: 'recovered' }])
})

void t.test('the thread reports no batch as durable that the last checkpoint lacks', async (t) => {
  const folder = await temporaryFolder(t)
  const workerData: AuditThreadData = {
    ...{ folder, origin: 'latchkey/test/audit/log', seed: randomBytes(32) },
    checkpointMs: 3_600_000,
  }
  // With this many entries, the last sync covers so many tiles that another batch arrives while it runs.
  const count = 10_000
  const url = new URL('../../src/audit/writer/thread.js', import.meta.url)
  const thread = new Worker(url, { workerData })
  const send = (message: ToThread) => {
    thread.postMessage(message)
  }
  const append = (ticket: number, entries: readonly string[]) => {
    const bytes = encodeBundle(entries.map((text) => Buffer.from(text)))
    send({ kind: 'append', ticket, bytes, count: entries.length })
  }
  const said: FromThread[] = []
  thread.on('message', (message: FromThread) => {
    said.push(message)
    if (message.kind === 'published') append(2, ['late'])
  })
  append(
    1,
    Array.from({ length: count }, (_, i) => String(i)),
  )
  send({ kind: 'close', endsInGap: false })
  await once(thread, 'exit')
  const durable = said.flatMap((one) => (one.kind === 'durable' ? [one.upTo] : []))
  t.same(durable, [1])
  const [, size] = readFileSync(join(folder, 'checkpoint'), 'utf8').split('\n')
  t.equal(size, String(count))
  t.match(said.at(-1), { kind: 'closed', size: count })
})
