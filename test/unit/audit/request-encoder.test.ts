/** Tests that reusing parts of earlier entries never changes how an entry is encoded. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { createPrincipalHash } from '../../../src/audit/principal-hash.ts'
import { createRequestEncoder } from '../../../src/audit/request-encoder.ts'
import { encodeRequest } from '../../../src/audit/request-entry.ts'
import type { RequestMetadata, RequestRecord } from '../../../src/core/request.ts'
import { decryptRecord } from '../../support/audit.ts'

const hashPrincipal = createPrincipalHash(Buffer.alloc(32, 1))
const AT = Date.UTC(2026, 0, 1)

/** Two values for each field, so that one record often has the same fields as an earlier one. */
const either = <T>(a: T, b: T) => fc.constantFrom(a, b)
const metadata = fc.record({
  awsPrincipalArn: either<string | undefined>('arn:aws:iam::123456789012:user/\u00c4', undefined),
  awsSourceVpc: either<string | undefined>('vpc-1', undefined),
  awsSourceVpce: either<string | undefined>('vpce-1', undefined),
  kmsKeyArn: either('arn:aws:kms:us-east-1:123456789012:key/1', 'key/"2"'),
  kmsOperation: either('Decrypt', 'ReEncrypt'),
  kmsRequestId: fc.oneof(fc.uuid(), fc.constant('"\ud800\n')),
  kmsViaService: either<string | undefined>('ebs', undefined),
  other: fc.constantFrom(undefined, undefined, undefined, { tag: 'value' }),
})
const record = fc.record({
  at: fc.integer({ min: AT, max: AT + 3000 }),
  accessClass: either('customer-direct', 'customer-by-service'),
  accessKeyId: either('AAAA', 'BBBB'),
  bodySha256: either<string | undefined>('00', undefined),
  errorName: either<string | undefined>('AccessDeniedException', undefined),
  gateEpoch: either(1, 2),
  isProbe: either<true | undefined>(true, undefined),
  keyId: either('key-1', 'key-2'),
  keyStore: either('demo', 'other'),
  keyVersion: either(1, 2),
  operation: either<'Encrypt' | 'Decrypt'>('Encrypt', 'Decrypt'),
  policies: fc.oneof(fc.constant(undefined), fc.array(either('a', 'b'), { maxLength: 2 })),
  policyRevision: either(1, 2),
  reason: either<string | undefined>('POLICY', undefined),
  region: either('us-east-1', 'eu-west-1'),
  remoteAddress: either('192.0.2.1', '192.0.2.2'),
  status: fc.constantFrom(200, 403, 500, undefined),
  sealedSha256: either<string | undefined>('ff', undefined),
  unverifiedKmsRequestId: either<string | undefined>('claimed', undefined),
  totalMs: fc.constantFrom(0.5, 1e20, 1e306, NaN, undefined),
})
const request = fc.tuple(record, fc.option(metadata, { nil: undefined, freq: 10 }))

function toRecord([fields, given]: [Partial<RequestRecord>, object | undefined]): RequestRecord {
  const defined = given && Object.entries(given).filter(([, value]) => value !== undefined)
  const about = defined && (Object.fromEntries(defined) as unknown as RequestMetadata)
  return { ...decryptRecord('id'), ...fields, metadata: about }
}

void t.test('an entry is the same whatever was encoded before it', (t) => {
  for (const hash of [undefined, hashPrincipal]) {
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 40 }), fc.nat(1), (list, lost) => {
        const encode = createRequestEncoder(hash)
        for (const [seq, one] of list.entries()) {
          const place = { seq, lost, corrects: seq % 5 === 4 ? seq - 1 : undefined }
          const entry = toRecord(one)
          if (encode(entry, place) !== encodeRequest(entry, place, hash)) return false
        }
        return true
      }),
      { numRuns: 300 },
    )
  }
  t.end()
})

void t.test('requests that differ in one field only', (t) => {
  const base: [Partial<RequestRecord>, object] = [
    {
      ...{ at: AT, accessClass: 'a', accessKeyId: 'a', bodySha256: 'a', errorName: 'a' },
      ...{ gateEpoch: 1, isProbe: undefined, keyId: 'a', keyStore: 'a', keyVersion: 1 },
      ...{ operation: 'Encrypt', policies: ['a'], policyRevision: 1, reason: 'a', region: 'a' },
      ...{ remoteAddress: 'a', status: 200, sealedSha256: 'a', unverifiedKmsRequestId: 'a' },
      totalMs: 1,
    },
    {
      ...{ awsPrincipalArn: 'a', awsSourceVpc: 'a', awsSourceVpce: 'a', kmsKeyArn: 'a' },
      ...{ kmsOperation: 'a', kmsRequestId: 'a', kmsViaService: 'a' },
    },
  ]
  const changed: Readonly<Record<string, unknown>> = {
    ...{ at: AT + 1, gateEpoch: 2, isProbe: true, keyVersion: 2, operation: 'Decrypt' },
    ...{ policies: ['b'], policyRevision: 2, status: 403, totalMs: 2 },
  }
  for (const index of [0, 1] as const) {
    for (const name of Object.keys(base[index])) {
      const encode = createRequestEncoder()
      encode(toRecord(base), { seq: 0, lost: 0 })
      const other = { [name]: changed[name] ?? 'b' }
      const next = toRecord(
        index === 0 ? [{ ...base[0], ...other }, base[1]] : [base[0], { ...base[1], ...other }],
      )
      t.equal(encode(next, { seq: 1, lost: 0 }), encodeRequest(next, { seq: 1, lost: 0 }), name)
    }
  }
  t.end()
})

void t.test('a record that changes after it was encoded does not change later entries', (t) => {
  const encode = createRequestEncoder()
  const changing = decryptRecord('1')
  encode(changing, { seq: 0, lost: 0 })
  Object.assign(changing, { status: 500, errorName: 'InternalException' })
  const later = decryptRecord('2')
  for (const [seq, one] of [changing, later].entries()) {
    t.equal(encode(one, { seq, lost: 0 }), encodeRequest(one, { seq, lost: 0 }))
  }
  t.end()
})

void t.test('many callers, keys and times', (t) => {
  const encode = createRequestEncoder()
  const times = [0, 999, 1000, AT, AT + 1, AT + 10, AT + 999, AT + 1000, -1, -1000, 253402300800000]
  for (let seq = 0; seq < 30_000; seq++) {
    const base = decryptRecord(`id-${String(seq)}`)
    const awsPrincipalArn = `arn:aws:iam::123456789012:user/${String(seq % 1500)}`
    const about = { kmsOperation: 'Decrypt', kmsRequestId: String(seq), awsPrincipalArn }
    const at = times[seq % times.length] ?? 0
    const one = { ...base, at, keyId: String(seq % 17), metadata: about }
    const entry = encode(one, { seq, lost: 0 })
    if (entry !== encodeRequest(one, { seq, lost: 0 })) t.fail(entry)
  }
  t.pass('each entry is the same')
  t.end()
})

void t.test('an entry that is too long is truncated as before', (t) => {
  const encode = createRequestEncoder()
  const metadata = { kmsOperation: 'Decrypt', kmsRequestId: '\u0000'.repeat(2048) }
  const long = '\u0001'.repeat(2048)
  const more = { awsPrincipalArn: long, kmsKeyArn: long, kmsViaService: long, awsSourceVpc: long }
  const one = { ...decryptRecord(''), metadata: { ...metadata, ...more, awsSourceVpce: long } }
  for (const seq of [0, 1]) {
    t.equal(encode(one, { seq, lost: 0 }), encodeRequest(one, { seq, lost: 0 }))
  }
  t.end()
})
