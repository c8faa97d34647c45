/** Compares logs with KMS's record of each key's last use. */
// SPDX-License-Identifier: Apache-2.0
import { utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  createLastUsageCheck,
  type KeyLastUsage,
  loadLastUsages,
} from '../../../src/audit/cloudtrail/last-usage.ts'
import { decodeEntry } from '../../../src/audit/record.ts'
import { encodeRequest } from '../../../src/audit/request-entry.ts'
import type { RequestRecord } from '../../../src/core/request.ts'
import { decryptRecord } from '../../support/audit.ts'
import { temporaryFolder } from '../../support/cli.ts'

const KEY = '1234abcd-12ab-34cd-56ef-1234567890ab'
const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE
const start = decryptRecord('').at

function check(usage: KeyLastUsage, records: readonly RequestRecord[], takenAt = start + DAY) {
  const check = createLastUsageCheck({ takenAt, keys: [usage] })
  for (const record of records) {
    const entry = decodeEntry(Buffer.from(encodeRequest(record, { seq: 0, lost: 0 })))
    if (entry !== undefined) check.take(entry)
  }
  return check.findings()
}

const at = (minutes: number, id: string) => ({ ...decryptRecord(id), at: start + minutes * MINUTE })
const used = (minutes: number, kmsRequestId: string): KeyLastUsage => ({
  ...{ kmsKeyId: KEY, trackedSince: start - DAY },
  last: { operation: 'Decrypt', at: start + minutes * MINUTE, kmsRequestId },
})

void t.test('the last use of a key is the last request in the logs', (t) => {
  const records = [at(0, 'a'), at(10, 'b')]
  t.same(check(used(10, 'b'), records), [])
  t.match(check(used(10, 'c'), records), [{ kind: 'last-use-not-in-log', kmsRequestId: 'c' }])
  t.same(check(used(11, 'c'), records), [], 'after the end of the logs')
  t.same(check(used(-1, 'c'), [at(0, 'a')]), [], 'before their beginning, and a minute of slack')
  t.match(check(used(0, 'a'), records), [
    { kind: 'after-last-use', kmsRequestId: 'b', key: KEY, principal: /user\/Alice$/ },
  ])
  t.same(
    check(used(0, 'a'), records, start + 20 * MINUTE),
    [],
    'too recent for the response to include',
  )
  t.end()
})

void t.test('a key that KMS reports as never used', (t) => {
  const never = { kmsKeyId: KEY, trackedSince: start + 5 * MINUTE }
  t.same(check(never, [at(0, 'a')]), [], 'before KMS recorded uses')
  t.match(check(never, [at(0, 'a'), at(10, 'b')]), [
    { kind: 'after-last-use', kmsRequestId: 'b', other: 'never used' },
  ])
  const refused = { ...at(10, 'b'), status: 403 }
  t.same(check(never, [at(0, 'a'), refused]), [])
  t.same(check({ ...never, kmsKeyId: 'another' }, [at(10, 'b')]), [])
  t.end()
})

void t.test('responses in the format of the AWS CLI', async (t) => {
  const file = join(await temporaryFolder(t), 'last-usage.json')
  const answer = {
    KeyId: `arn:aws:kms:us-east-1:123456789012:key/${KEY}`,
    KeyLastUsage: {
      ...{ Operation: 'Decrypt', Timestamp: '2026-05-01T12:00:00.123000+00:00' },
      ...{ CloudTrailEventId: 'x', KmsRequestId: 'a' },
    },
    ...{ TrackingStartDate: 1_777_000_000.5, KeyCreationDate: '2026-01-01T00:00:00+00:00' },
  }
  const unused = { ...answer, KeyId: KEY, KeyLastUsage: {} }
  writeFileSync(file, `${JSON.stringify(answer, undefined, 4)}\n${JSON.stringify(unused)}\n`)
  utimesSync(file, 1_780_000_000, 1_780_000_000)
  t.strictSame(await loadLastUsages(file), {
    takenAt: 1_780_000_000_000,
    keys: [
      {
        ...{ kmsKeyId: KEY, trackedSince: 1_777_000_000_500 },
        last: {
          ...{ operation: 'Decrypt', kmsRequestId: 'a' },
          at: Date.UTC(2026, 4, 1, 12, 0, 0, 123),
        },
      },
      { kmsKeyId: KEY, trackedSince: 1_777_000_000_500 },
    ],
  })
  writeFileSync(file, JSON.stringify([answer, unused]))
  t.equal((await loadLastUsages(file)).keys.length, 2)
  const wrong = [
    ...['', '{"KeyId":"x"', '{"KeyId":"x"}', '{"KeyId":"x","TrackingStartDate":"soon"}'],
    '{"KeyId":"x","TrackingStartDate":1,"KeyLastUsage":{"Timestamp":1}}',
  ]
  for (const text of wrong) {
    writeFileSync(file, text)
    await t.rejects(loadLastUsages(file), { code: 'AUDIT_INVALID' }, text)
  }
})
