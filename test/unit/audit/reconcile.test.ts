/** Compares logs with real CloudTrail events: forged, dropped and modified requests are reported, and no others. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import {
  findCloudTrailFiles,
  type KmsEvent,
  readKmsEvents,
  RecordSplitter,
} from '../../../src/audit/cloudtrail/events.ts'
import { reconcile, type ReconcileOptions } from '../../../src/audit/cloudtrail/reconcile.ts'
import { type AuditEntry, decodeEntry } from '../../../src/audit/record.ts'
import { encodeRequest } from '../../../src/audit/request-entry.ts'
import type { RequestRecord } from '../../../src/core/request.ts'
import { decryptRecord } from '../../support/audit.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { ROOT } from '../../support/repository.ts'

/** `CLOUDTRAIL=FOLDER` uses other files, such as the complete dataset. */
const EVENTS = process.env['CLOUDTRAIL'] ?? join(ROOT, 'test/vectors/cloudtrail/kms-events.json')

async function readAll(path: string): Promise<readonly KmsEvent[]> {
  const events: KmsEvent[] = []
  for (const file of await findCloudTrailFiles(path)) {
    for await (const event of readKmsEvents(file)) events.push(event)
  }
  return events
}

/** Returns the record that the proxy would have written for a KMS event. */
function toRecord(event: KmsEvent, more: Partial<RequestRecord['metadata']> = {}): RequestRecord {
  const [kmsKeyArn] = event.keyArns
  return {
    ...decryptRecord(event.kmsRequestId),
    at: event.at + 120,
    operation: event.operation === 'Decrypt' ? 'Decrypt' : 'Encrypt',
    metadata: {
      ...{ kmsRequestId: event.kmsRequestId, kmsOperation: event.operation },
      ...(event.principal === undefined ? {} : { awsPrincipalArn: event.principal }),
      ...(kmsKeyArn === undefined ? {} : { kmsKeyArn }),
      ...more,
    },
  }
}

const toEntry = (record: RequestRecord, seq = 0): AuditEntry => {
  const entry = decodeEntry(Buffer.from(encodeRequest(record, { seq, lost: 0 })))
  if (entry === undefined) throw new TypeError('the entry is not canonical')
  return entry
}

async function* toStream(events: readonly KmsEvent[]): AsyncGenerator<KmsEvent> {
  for (const event of events) yield await Promise.resolve(event)
}

const run = (
  records: readonly RequestRecord[],
  events: readonly KmsEvent[],
  options?: ReconcileOptions,
) => reconcile(records.map(toEntry), toStream(events), options)

void t.test('real events that were all served: nothing is found', async (t) => {
  const events = await readAll(EVENTS)
  t.ok(events.length >= 26, `${String(events.length)} events`)
  const result = await run(
    events.map((one) => toRecord(one)),
    events,
  )
  t.match(result, { matched: events.length, findings: [], findingCount: 0, notCompared: 0 })
  const [first] = result.principals
  t.match(first?.principal, /^arn:aws:iam::/)
})

void t.test('exactly the forged, dropped and changed events are found', async (t) => {
  const events = await readAll(EVENTS)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('keep', 'drop', 'forge', 'principal', 'key', 'operation'), {
        minLength: events.length,
        maxLength: events.length,
      }),
      async (actions) => {
        // Keep the first and the last event, so that both sides cover the same period.
        const kinds = actions.map((one, i) => (i === 0 || i === actions.length - 1 ? 'keep' : one))
        const expected: string[] = []
        const records = events.flatMap((event, i) => {
          const expect = (kind: string, id = event.kmsRequestId) => expected.push(`${kind} ${id}`)
          switch (kinds[i]) {
            case 'drop':
              expect('not-in-log')
              return []
            case 'forge':
              expect('not-in-cloudtrail', `forged-${String(i)}`)
              return [toRecord(event), toRecord({ ...event, kmsRequestId: `forged-${String(i)}` })]
            case 'principal':
              expect('principal-differs')
              return [toRecord(event, { awsPrincipalArn: 'arn:aws:iam::999999999999:user/x' })]
            case 'key':
              expect('key-differs')
              return [toRecord(event, { kmsKeyArn: `${String(event.keyArns[0])}-other` })]
            case 'operation':
              expect('operation-differs')
              return [toRecord(event, { kmsOperation: 'ReEncrypt' })]
            case 'keep':
            case undefined:
              break
          }
          return [toRecord(event)]
        })
        const keyArns = events.flatMap((event) => event.keyArns)
        const { findings } = await run(records, events, { keyArns })
        t.strictSame(
          findings.map(({ kind, kmsRequestId }) => `${kind} ${kmsRequestId}`).sort(),
          expected.sort(),
        )
      },
    ),
    { numRuns: 25 },
  )
})

void t.test(
  'requests that only one side covers, refusals and probes are not findings',
  async (t) => {
    const events = await readAll(EVENTS)
    const [first] = events
    const last = events.at(-1)
    if (first === undefined || last === undefined) throw new TypeError('no events')
    const records = events.map((one) => toRecord(one))
    const late = toRecord({ ...last, kmsRequestId: 'late', at: last.at + 60_000 })
    const probe = { ...toRecord({ ...first, kmsRequestId: 'probe' }), isProbe: true as const }
    const refused = { ...toRecord({ ...first, kmsRequestId: 'refused' }), status: 400 }
    const denied = { ...first, kmsRequestId: 'denied', errorCode: 'AccessDenied' }
    const foreign = { ...first, kmsRequestId: 'foreign', keyArns: ['arn:aws:kms:x:1:key/other'] }
    const result = await run([...records, late, probe, refused], [...events, denied, foreign])
    t.match(result, { findings: [], notCompared: 1 })
    const retried = await run([...records, toRecord(first), toRecord(first)], events)
    t.match(retried.findings, [{ kind: 'repeated', other: '3' }])
    const replayed = await run(
      [...records, ...Array.from({ length: 500 }, () => toRecord(first))],
      events,
    )
    t.match(replayed.findings, [{ kind: 'repeated', other: '501' }])
    t.match(replayed, { findingCount: 1, requests: records.length + 500 })
    const invented = toRecord({ ...first, kmsRequestId: 'invented' })
    const flood = await run([...records, ...Array.from({ length: 500 }, () => invented)], events)
    t.match(flood, { findingCount: 500, requests: records.length + 500 })
    t.match(await run([], []), { findings: [], from: undefined })
  },
)

void t.test('reads files in every format that CloudTrail writes', async (t) => {
  const folder = await temporaryFolder(t)
  const { Records: records } = JSON.parse(
    readFileSync(join(ROOT, 'test/vectors/cloudtrail/kms-events.json'), 'utf8'),
  ) as { Records: readonly unknown[] }
  const lookup = records.map((one) => ({ EventId: 'x', CloudTrailEvent: JSON.stringify(one) }))
  const forms: Readonly<Record<string, Buffer>> = {
    'a.json': Buffer.from(JSON.stringify({ Records: records }, null, 2)),
    'b.json.gz': gzipSync(JSON.stringify({ Records: records })),
    'c.jsonl': Buffer.from(records.map((one) => JSON.stringify(one)).join('\n')),
    'd.json': Buffer.from(JSON.stringify({ Events: lookup })),
    'e.json': Buffer.from(`\ufeff${JSON.stringify(records)}`),
  }
  for (const [name, bytes] of Object.entries(forms)) {
    const path = join(folder, name)
    writeFileSync(path, bytes)
    t.equal((await readAll(path)).length, 26, name)
  }
  t.equal((await readAll(folder)).length, 5 * 26)
  for (const [name, text] of Object.entries({
    'f.json': '{"Records":[{"a":1',
    'g.json': '[{"a":}]',
  })) {
    const path = join(folder, name)
    writeFileSync(path, text)
    await t.rejects(readAll(path), { code: 'AUDIT_INVALID' }, name)
  }
})

void t.test('records are the same however the stream is divided into chunks', (t) => {
  const text = readFileSync(join(ROOT, 'test/vectors/cloudtrail/kms-events.json'))
  const whole = new RecordSplitter().take(text)
  t.equal(whole.length, 28)
  for (const size of [1, 7, 64, 1000]) {
    const splitter = new RecordSplitter()
    const records: string[] = []
    for (let at = 0; at < text.length; at += size) {
      records.push(...splitter.take(text.subarray(at, at + size)))
    }
    t.strictSame(records, whole, `in pieces of ${String(size)}`)
    t.ok(splitter.isAtEnd)
  }
  t.end()
})
