/** Tests that finished requests are recorded in batches and in order, and that none is lost. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createFinishedRequests } from '../../../src/app/finished-requests.ts'
import type { RequestRecord } from '../../../src/core/request.ts'
import { decryptRecord } from '../../support/audit.ts'
import { eventually } from '../../support/server.ts'

const BATCH = 32
const records = Array.from({ length: BATCH }, (_, i) => decryptRecord(String(i)))
const [one = decryptRecord('one'), two = decryptRecord('two')] = records

function open(middle: (record: RequestRecord) => void = () => undefined) {
  const first: RequestRecord[] = []
  const last: RequestRecord[] = []
  const errors: unknown[] = []
  const finished = createFinishedRequests({
    recorders: [(record) => first.push(record), middle, (record) => last.push(record)],
    onError: (error) => errors.push(error),
  })
  return { finished, first, last, errors }
}

void t.test('a full batch is recorded immediately, in order', (t) => {
  const { finished, first, last } = open()
  for (const record of records.slice(1)) finished.add(record)
  t.same([first.length, last.length], [0, 0], 'nothing before the batch is full')
  finished.add(one)
  for (const received of [first, last]) {
    t.equal(received.length, BATCH)
    t.ok([...records.slice(1), one].every((record, i) => record === received[i]))
  }
  finished.settle()
  t.equal(first.length, BATCH, 'each request is recorded once')
  t.end()
})

void t.test('a batch that is not full is recorded soon', async (t) => {
  const { finished, last } = open()
  finished.add(one)
  finished.add(two)
  t.equal(last.length, 0)
  // The timer does not keep this process alive, but the polling does.
  await eventually(() => last.length === 2)
  finished.add(one)
  await eventually(() => last.length === 3)
})

void t.test('settle records everything that is queued', (t) => {
  const { finished, first, last } = open()
  finished.add(one)
  finished.settle()
  t.same([first, last], [[one], [one]])
  t.end()
})

void t.test('after close, requests are recorded as soon as they are added', (t) => {
  const { finished, last } = open()
  finished.add(one)
  finished.close()
  t.same(last, [one])
  finished.add(two)
  t.same(last, [one, two])
  t.end()
})

void t.test('a request that failed because of an error in Latchkey is recorded at once', (t) => {
  const { finished, last } = open()
  const failed = { ...two, fault: new Error('a bug') }
  finished.add(one)
  finished.add(failed)
  t.ok(last.length === 2 && last[0] === one && last[1] === failed, 'after those before it')
  t.end()
})

void t.test('a recorder that throws withholds no request from itself or the others', (t) => {
  const seen: RequestRecord[] = []
  const { finished, first, last, errors } = open((record) => {
    seen.push(record)
    if (record === one) throw new Error('a bug')
  })
  finished.add(one)
  finished.add(two)
  finished.settle()
  for (const received of [first, seen, last]) t.same(received, [one, two])
  t.match(errors, [{ message: 'a bug' }])
  t.end()
})
