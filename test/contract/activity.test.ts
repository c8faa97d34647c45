/**
 * Tests stored usage counters on both engines: concurrent writes add up, minutes are merged into hours, and old rows
 * are deleted.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import {
  loadActivity,
  loadActivitySpans,
  loadCredentialUses,
  purgeActivity,
  toPeriod,
  writeCounts,
  writeUses,
} from '../../src/usage/usage-table.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { createRecorder } from '../../src/usage/recorder.ts'
import type { CountedRequest } from '../../src/usage/usage-key.ts'
import type { Database } from '../../src/store/database.ts'
import { openPostgres } from '../../src/store/postgres/database.ts'
import { ALICE, finished } from '../support/activity.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startPostgres } from '../support/postgres.ts'
import { storeFolder } from '../support/store.ts'

const NOON = Date.UTC(2026, 0, 15, 12)
const HOUR = 3_600_000

async function write(database: Database, ...requests: readonly CountedRequest[]): Promise<void> {
  const recorder = createRecorder({
    writeCounts: (counts) => writeCounts(database, counts),
    writeUses: (uses) => writeUses(database, uses),
    purge: async () => undefined,
    clock: new FakeClock(NOON),
    flushIntervalMs: 5000,
    maxSubjects: 2000,
    logger: {
      ...silentLogger,
      warn: (message) => {
        throw new Error(message)
      },
    },
  })
  for (const request of requests) recorder.record(request)
  await recorder.flush()
}

t.setTimeout(300_000)
const server = await startPostgres(t)

const ENGINES: Readonly<Record<string, (t: Test) => Promise<Database>>> = {
  SQLite: async (t) => (await (await storeFolder(t)).open()).database,
  PostgreSQL: async (t) => {
    const target = await server.createDatabase()
    const database = await openPostgres({
      loadTarget: () => Promise.resolve(target),
      deadlineMs: 5000,
    })
    t.teardown(() => database.close())
    return database
  },
}

for (const [engine, open] of Object.entries(ENGINES)) suite(engine, open)

function suite(engine: string, open: (t: Test) => Promise<Database>): void {
  void t.test(
    `${engine}: counts from several instances add up and are read back unchanged`,
    async (t) => {
      const database = await open(t)
      const metadata = {
        awsPrincipalArn: ALICE,
        awsSourceVpc: 'vpc-1',
        awsSourceVpce: 'vpce-1',
        kmsKeyArn: 'arn:aws:kms:eu-west-1:111122223333:key/1',
        kmsViaService: 'ebs',
      }
      await write(database, finished(NOON, { metadata }), finished(NOON + 1000, { metadata }))
      await write(
        database,
        finished(NOON - 500, { metadata }),
        finished(NOON + 70_000, { metadata }),
      )
      const period = toPeriod({ since: NOON - HOUR, until: NOON + 70_001 }, NOON + 70_000)
      t.equal(period.spanMs, 60_000)
      const found = await database.snapshot((reader) => loadActivity(reader, period))
      t.same(found, [
        {
          subject: {
            ...{ keyStore: 'demo', operation: 'Decrypt', keyId: 'key-1', kmsOperation: 'Decrypt' },
            ...{ principal: ALICE, kmsKeyArn: metadata.kmsKeyArn, viaService: 'ebs' },
            ...{ vpc: 'vpc-1', vpce: 'vpce-1', outcome: 'ok', isOverflow: false },
          },
          ...{ requests: 4, firstAt: NOON - 500, lastAt: NOON + 70_000 },
        },
      ])
      const hours = toPeriod({ since: NOON - 20 * HOUR, until: NOON + 1 }, NOON)
      t.same(hours, { since: NOON - 20 * HOUR, until: NOON + HOUR, spanMs: HOUR })
      const byHour = await database.snapshot((reader) => loadActivity(reader, hours))
      t.equal(byHour[0]?.requests, 4, 'hours have the same requests')
    },
  )

  void t.test(`${engine}: only the requested minutes are summed`, async (t) => {
    const database = await open(t)
    await write(database, finished(NOON), finished(NOON + 60_000), finished(NOON + 120_000))
    const period = { since: NOON + 60_000, until: NOON + 120_000, spanMs: 60_000 }
    const found = await database.snapshot((reader) => loadActivity(reader, period))
    t.equal(found[0]?.requests, 1)
    const all = { since: NOON, until: NOON + 180_000, spanMs: 60_000 }
    const spans = await database.snapshot((reader) => loadActivitySpans(reader, all))
    t.same(
      spans.map(({ startsAt, requests }) => [startsAt - NOON, requests]),
      [
        [0, 1],
        [60_000, 1],
        [120_000, 1],
      ],
    )
  })

  void t.test(`${engine}: uses of credentials add up over the fleet`, async (t) => {
    const database = await open(t)
    await write(database, finished(NOON), finished(NOON + 5000))
    await write(database, finished(NOON - 5000), finished(NOON, { accessKeyId: 'B' }))
    const uses = await database.snapshot(loadCredentialUses)
    t.same(uses.get('AKIAEXAMPLEEXAMPLEEXAMPLE2'), {
      ...{ accessKeyId: 'AKIAEXAMPLEEXAMPLEEXAMPLE2', keyStore: 'demo', uses: 3 },
      ...{ firstAt: NOON - 5000, lastAt: NOON + 5000 },
    })
    t.equal(uses.get('B')?.uses, 1)
    t.equal(uses.get('C'), undefined)
  })

  void t.test(
    'NUL and control characters from one caller do not prevent writing the others',
    async (t) => {
      const database = await open(t)
      const named = (name: string) => finished(NOON, { metadata: { awsPrincipalArn: name } })
      await write(
        database,
        named('a\u0000b'),
        named('a\u0001b'),
        named('c'.repeat(5000)),
        finished(NOON),
      )
      const period = { since: NOON, until: NOON + 60_000, spanMs: 60_000 }
      const found = await database.snapshot((reader) => loadActivity(reader, period))
      const names = found.map(({ subject, requests }) => [subject.principal?.slice(0, 5), requests])
      t.same(
        names.sort(),
        [
          ['a?b', 2],
          ['arn:a', 1],
          ['ccccc', 1],
        ].sort(),
      )
    },
  )

  void t.test(`${engine}: too many rows for one statement are split across several`, async (t) => {
    const database = await open(t)
    const many = Array.from({ length: 1500 }, (_, n) =>
      finished(NOON, { keyId: `key-${String(n)}` }),
    )
    await write(database, ...many)
    const period = { since: NOON, until: NOON + 60_000, spanMs: 60_000 }
    t.equal((await database.snapshot((reader) => loadActivity(reader, period))).length, 1500)
  })

  void t.test(
    'minutes are deleted after two hours, hours and usage keys after the retention period',
    async (t) => {
      const database = await open(t)
      await write(database, finished(NOON, { keyId: 'old' }))
      const later = NOON + 30 * 24 * HOUR
      await write(database, finished(later, { keyId: 'new' }))
      const count = async (sql: string) =>
        Number((await database.snapshot((reader) => reader.query(sql)))[0]?.['n'])
      const retentionMs = 30 * 24 * HOUR
      await purgeActivity(database, { now: later, retentionMs })
      t.equal(await count('SELECT count(*) AS n FROM activity WHERE span_ms = 60000'), 1)
      t.equal(await count('SELECT count(*) AS n FROM activity WHERE span_ms = 3600000'), 2)
      await purgeActivity(database, { now: later + 3 * HOUR, retentionMs })
      t.equal(await count('SELECT count(*) AS n FROM activity WHERE span_ms = 60000'), 0)
      t.equal(await count('SELECT count(*) AS n FROM activity WHERE span_ms = 3600000'), 1)
      t.equal(await count('SELECT count(*) AS n FROM activity_subjects'), 1)
    },
  )
}
