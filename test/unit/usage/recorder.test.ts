/** Tests that requests are counted in memory and written in the background without loss. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { silentLogger } from '../../../src/core/logger.ts'
import {
  type Count,
  type CredentialUse,
  type RecorderDeps,
  createRecorder,
} from '../../../src/usage/recorder.ts'
import { finished } from '../../support/activity.ts'
import { FakeClock } from '../../support/fake-clock.ts'

const NOON = Date.UTC(2026, 0, 15, 12)

function start(more: Partial<RecorderDeps> = {}) {
  const written: Count[] = []
  const uses: CredentialUse[] = []
  const warnings: string[] = []
  const recorder = createRecorder({
    writeCounts: async (counts) => void written.push(...counts),
    writeUses: async (some) => void uses.push(...some),
    purge: async () => undefined,
    clock: new FakeClock(NOON),
    flushIntervalMs: 5000,
    maxSubjects: 100,
    logger: { ...silentLogger, warn: (message) => warnings.push(message) },
    ...more,
  })
  const counts = () => written
  const total = () => counts().reduce((sum, { requests }) => sum + requests, 0)
  return { recorder, written, uses, counts, total, warnings }
}

void t.test(
  'requests of one subject and minute are one count, with the first and last time',
  async (t) => {
    const { recorder, counts } = start()
    for (const at of [100, 50, 300]) recorder.record(finished(NOON + at))
    await recorder.flush()
    t.equal(counts().length, 1)
    t.match(counts()[0], { requests: 3, minute: NOON, firstAt: NOON + 50, lastAt: NOON + 300 })
    t.match(counts()[0]?.subject, { keyStore: 'demo', keyId: 'key-1', outcome: 'ok' })
  },
)

void t.test(
  'callers that differ in any field that a kill switch can match are counted separately',
  async (t) => {
    const { recorder, counts } = start()
    recorder.record(finished(NOON))
    recorder.record(finished(NOON, { keyId: 'key-2' }))
    recorder.record(finished(NOON, { operation: 'Encrypt' }))
    recorder.record(finished(NOON, { keyStore: 'other' }))
    recorder.record(finished(NOON, { errorName: 'InvalidStateException', reason: 'KILLED_KEY' }))
    for (const field of [
      'awsPrincipalArn',
      'kmsKeyArn',
      'kmsViaService',
      'awsSourceVpc',
    ] as const) {
      recorder.record(finished(NOON, { metadata: { [field]: 'x' } }))
    }
    recorder.record(finished(NOON, { metadata: { awsSourceVpce: 'x' } }))
    recorder.record(finished(NOON, { metadata: { kmsOperation: 'x' } }))
    await recorder.flush()
    t.equal(counts().length, 11)
    t.equal(counts().find(({ subject }) => subject.outcome !== 'ok')?.subject.outcome, 'KILLED_KEY')
  },
)

void t.test('each request is counted under its key, whatever the order', async (t) => {
  const few = (...names: string[]) => fc.constantFrom(...names)
  const request = fc.record({
    keyStore: few('demo', 'other'),
    operation: fc.constantFrom('Encrypt' as const, 'Decrypt' as const),
    keyId: few('key-1', 'key-2'),
    errorName: fc.constantFrom(undefined, 'InvalidStateException'),
    principal: few('a', 'b'),
    service: fc.constantFrom(undefined, 's3'),
    minutes: fc.nat({ max: 2 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(request, { maxLength: 30 }), async (unsorted) => {
      const requests = unsorted.sort((a, b) => a.minutes - b.minutes)
      const { recorder, counts } = start()
      const expected = new Map<string, number>()
      for (const {
        keyStore,
        operation,
        keyId,
        errorName,
        principal,
        service,
        minutes,
      } of requests) {
        recorder.record(
          finished(NOON + minutes * 60_000, {
            ...{ keyStore, operation, keyId, ...(errorName && { errorName }) },
            metadata: { awsPrincipalArn: principal, ...(service && { kmsViaService: service }) },
          }),
        )
        const minute = NOON + minutes * 60_000
        const key = [
          minute,
          keyStore,
          operation,
          keyId,
          errorName ?? 'ok',
          principal,
          service,
        ].join()
        expected.set(key, (expected.get(key) ?? 0) + 1)
      }
      await recorder.flush()
      const found = new Map<string, number>()
      for (const { subject, minute, requests: some } of counts()) {
        const { keyStore, operation, keyId, outcome, principal, viaService } = subject
        const key = [minute, keyStore, operation, keyId, outcome, principal, viaService].join()
        found.set(key, (found.get(key) ?? 0) + some)
      }
      const sorted = (counted: Map<string, number>) => [...counted].sort()
      t.strictSame(sorted(found), sorted(expected))
    }),
  )
})

void t.test(
  'unsigned requests are not counted; a credential counts once its signature is valid',
  async (t) => {
    const { recorder, written, uses } = start()
    recorder.record({ at: NOON, keyStore: 'demo', operation: 'Decrypt', errorName: 'x' })
    recorder.record({ at: NOON })
    recorder.record({
      at: NOON,
      keyStore: 'demo',
      operation: 'Decrypt',
      accessKeyId: 'A',
      errorName: 'x',
    })
    await recorder.flush()
    t.same(written, [])
    const at = { firstAt: NOON, lastAt: NOON }
    t.same(uses, [{ accessKeyId: 'A', keyStore: 'demo', uses: 1, ...at }])
  },
)

void t.test('a failed flush loses nothing, and is logged once', async (t) => {
  let fails = true
  const kept: Count[] = []
  const { recorder, warnings, uses } = start({
    writeCounts: async (counts) => {
      if (fails) throw new Error('the store is gone')
      kept.push(...counts)
    },
  })
  recorder.record(finished(NOON))
  await recorder.flush()
  recorder.record(finished(NOON + 10))
  recorder.record(finished(NOON + 60_000))
  await recorder.flush()
  t.equal(recorder.stats().failedFlushes, 2)
  fails = false
  await recorder.flush()
  t.same(
    kept.map(({ minute, requests }) => [minute - NOON, requests]),
    [
      [0, 2],
      [60_000, 1],
    ],
  )
  t.match(uses, [{ uses: 3, firstAt: NOON, lastAt: NOON + 60_000 }])
  t.same(warnings, [
    'could not write activity; keeping it in memory',
    'activity is being written again',
  ])
})

void t.test(
  'an orderly stop writes everything, also after a failure, and logs what it could not write',
  async (t) => {
    let failures = 1
    const kept: Count[] = []
    const first = start({
      writeCounts: async (counts) => {
        if (failures-- > 0) throw new Error('busy')
        kept.push(...counts)
      },
    })
    first.recorder.start()
    first.recorder.record(finished(NOON))
    await first.recorder.stop()
    t.equal(kept.length, 1)
    const second = start({ writeCounts: () => Promise.reject(new Error('gone')) })
    second.recorder.record(finished(NOON))
    await second.recorder.stop()
    t.match(second.warnings.at(-1), /activity lost/)
  },
)

void t.test(
  'beyond the limit callers are counted without their names, and the log says so once an hour',
  async (t) => {
    const { recorder, counts, total, warnings } = start({ maxSubjects: 10 })
    const from = (n: number) => ({
      metadata: { awsPrincipalArn: `arn:aws:iam::1:user/${String(n)}` },
    })
    for (let n = 0; n < 50; n++) recorder.record(finished(NOON + n, from(n)))
    recorder.record(finished(NOON + 60, from(3)))
    await recorder.flush()
    t.equal(total(), 51, 'every request is counted')
    t.equal(counts().length, 11)
    const overflow = counts().find(({ subject }) => subject.isOverflow)
    t.equal(overflow?.requests, 40)
    t.same(Object.keys(overflow?.subject ?? {}).sort(), [
      'isOverflow',
      'keyStore',
      'operation',
      'outcome',
    ])
    t.equal(recorder.stats().overflowed, 40)
    t.equal(warnings.length, 1)
    recorder.record(finished(NOON + 3_600_000, from(77)))
    await recorder.flush()
    t.notOk(counts().at(-1)?.subject.isOverflow, 'the next hour has room again')
  },
)

void t.test('a store that is gone for days costs bounded memory, and no request', async (t) => {
  let fails = true
  const kept: Count[] = []
  const { recorder } = start({
    maxSubjects: 10,
    writeCounts: async (counts) => {
      if (fails) throw new Error('gone')
      kept.push(...counts)
    },
  })
  let sent = 0
  for (let hour = 0; hour < 48; hour++) {
    for (let n = 0; n < 12; n++) {
      const metadata = { awsPrincipalArn: `arn:aws:iam::1:user/${String(hour)}-${String(n)}` }
      recorder.record(finished(NOON + hour * 3_600_000 + n * 60_000, { metadata }))
      sent += 1
    }
    await recorder.flush()
    t.ok(recorder.stats().pending < 130)
  }
  fails = false
  await recorder.flush()
  const total = kept.reduce((sum, one) => sum + one.requests, 0)
  t.equal(total, sent)
})

void t.test(
  'a request that began in the minute before is counted in this one; a clock set back is followed',
  async (t) => {
    const { recorder, counts } = start()
    recorder.record(finished(NOON + 60_001))
    recorder.record(finished(NOON + 59_999))
    recorder.record(finished(NOON - 7_200_000))
    await recorder.flush()
    t.same(
      counts().map(({ minute, requests }) => [minute - NOON, requests]),
      [
        [60_000, 2],
        [-7_200_000, 1],
      ],
    )
  },
)

void t.test('what was written before a flush failed is not written again', async (t) => {
  let calls = 0
  const kept: Count[] = []
  const { recorder } = start({
    maxSubjects: 1000,
    writeCounts: async (counts) => {
      calls += 1
      if (calls === 2) throw new Error('gone')
      kept.push(...counts)
    },
  })
  for (let n = 0; n < 350; n++) recorder.record(finished(NOON, { keyId: `key-${String(n)}` }))
  await recorder.flush()
  t.equal(kept.length, 100)
  await recorder.flush()
  t.equal(kept.length, 350)
  t.equal(new Set(kept.map(({ subject }) => subject.keyId)).size, 350)
})
