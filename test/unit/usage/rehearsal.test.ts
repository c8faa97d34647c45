/** Tests predictions based on usage counts: what a kill would have refused, and what it would not reach. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Activity } from '../../../src/usage/usage-table.ts'
import { findExposure } from '../../../src/usage/exposure.ts'
import { accountOf, rehearse } from '../../../src/usage/rehearsal.ts'
import { CACHING_FACTS, findCachingFact } from '../../../src/usage/services.ts'
import type { UsageKey } from '../../../src/usage/usage-key.ts'
import { ALICE } from '../../support/activity.ts'

const NOON = Date.UTC(2026, 0, 15, 12)
const BOB = 'arn:aws:sts::444455556666:assumed-role/Worker/i-1'

function counted(requests: number, more: Partial<UsageKey> = {}, lastAt = NOON): Activity {
  const subject: UsageKey = {
    ...{ keyStore: 'demo', operation: 'Decrypt', keyId: 'key-1', kmsOperation: 'Decrypt' },
    ...{ principal: ALICE, outcome: 'ok', isOverflow: false, ...more },
  }
  return { subject, requests, firstAt: lastAt - 1000, lastAt }
}

void t.test('only answered requests in the scope would have been refused', async (t) => {
  const all = [
    counted(10),
    counted(5, { principal: BOB, viaService: 'ebs' }, NOON + 5),
    counted(3, { keyId: 'key-2' }),
    counted(2, { outcome: 'KEY_DISABLED' }),
  ]
  const found = await rehearse(all, ({ keyId }) => (keyId === 'key-1' ? 'KILLED_KEY' : undefined))
  t.match(found, { requests: 20, wouldBeRefused: 15, refusedAnyway: 2, notToldApart: 0 })
  t.same(found.principals, [
    { name: ALICE, requests: 10, lastAt: NOON },
    { name: BOB, requests: 5, lastAt: NOON + 5 },
  ])
  t.same(
    found.accounts.map(({ name, requests }) => [name, requests]),
    [
      ['111122223333', 10],
      ['444455556666', 5],
    ],
  )
  t.same(
    found.services.map(({ name }) => name),
    ['-', 'ebs'],
  )
  t.same(
    found.keys.map(({ name }) => name),
    ['demo/key-1'],
  )
})

void t.test('requests that could not be attributed are reported', async (t) => {
  const overflow: Activity = {
    subject: { keyStore: 'demo', operation: 'Decrypt', outcome: 'ok', isOverflow: true },
    ...{ requests: 7, firstAt: NOON, lastAt: NOON },
  }
  const byKey = await rehearse([overflow], ({ keyId }) => (keyId === 'key-1' ? 'x' : undefined))
  t.match(byKey, { wouldBeRefused: 0, notToldApart: 7 })
  const byStore = await rehearse([overflow], () => 'KILLED_STORE')
  t.match(byStore, { wouldBeRefused: 7, notToldApart: 0 })
  t.equal(byStore.principals[0]?.name, '(unnamed)')
})

void t.test('the account is that of the caller, else that of the key', (t) => {
  t.equal(accountOf(ALICE, 'arn:aws:kms:eu-west-1:999999999999:key/1'), '111122223333')
  t.equal(
    accountOf('ec2.amazonaws.com', 'arn:aws:kms:eu-west-1:999999999999:key/1'),
    '999999999999',
  )
  t.equal(accountOf('AWS Internal', undefined), undefined)
  t.end()
})

void t.test('only calls that end with a plaintext data key in AWS are an exposure', async (t) => {
  const found = await findExposure([
    counted(4, { viaService: 'sqs' }),
    counted(
      2,
      { viaService: 'sqs', kmsOperation: 'GenerateDataKey', operation: 'Encrypt' },
      NOON + 9,
    ),
    counted(9, { kmsOperation: 'ReEncrypt' }),
    counted(9, { kmsOperation: 'GenerateDataKeyWithoutPlaintext', operation: 'Encrypt' }),
    counted(9, { kmsOperation: 'Encrypt', operation: 'Encrypt' }),
    counted(9, { outcome: 'KILLED_KEY' }),
    counted(9, { kmsOperation: 'KmsHealthCheck', operation: 'GetHealthStatus' }),
  ])
  t.equal(found.length, 1)
  t.match(found[0], {
    ...{ keyId: 'key-1', service: { name: 'Amazon SQS' }, requests: 6, lastAt: NOON + 9 },
    endsAt: NOON + 9 + 86_400_000,
  })
  t.same(
    found[0]?.by.map(({ operation, kmsOperation, requests }) => [
      operation,
      kmsOperation,
      requests,
    ]),
    [
      ['Decrypt', 'Decrypt', 4],
      ['Encrypt', 'GenerateDataKey', 2],
    ],
  )
})

void t.test(
  'exposures are sorted by their latest fetch; one with an unknown end has no date',
  async (t) => {
    const found = await findExposure([
      counted(1, { viaService: 'ebs' }, NOON),
      counted(1, { viaService: 'quantum' }, NOON + 2),
      counted(1, {}, NOON + 1),
    ])
    t.same(
      found.map(({ service, endsAt }) => [service.name, service.certainty, endsAt]),
      [
        ['quantum', 'unknown', undefined],
        ['direct calls to KMS', 'inferred', undefined],
        ['Amazon EBS, EC2', 'documented', undefined],
      ],
    )
  },
)

void t.test(
  'a service is known by its short name, by that of kms:ViaService, and as a principal',
  (t) => {
    for (const name of ['ebs', 'EBS', 'ebs.eu-west-1.amazonaws.com']) {
      t.equal(findCachingFact(name).name, 'Amazon EBS, EC2')
    }
    t.equal(findCachingFact(undefined, 'ec2.amazonaws.com').name, 'Amazon EBS, EC2')
    for (const domain of ['amazonaws.com', 'amazonaws.com.cn', 'amazonaws.eu', 'c2s.ic.gov']) {
      t.equal(findCachingFact(undefined, `ec2.${domain}`).name, 'Amazon EBS, EC2', domain)
      t.equal(findCachingFact(undefined, `ec2.cn-north-1.${domain}`).name, 'Amazon EBS, EC2')
      t.equal(findCachingFact(undefined, `quantum.${domain}`).name, 'quantum')
    }
    for (const partition of ['aws', 'aws-us-gov', 'aws-cn', 'aws-eusc']) {
      const caller = `arn:${partition}:sts::111122223333:assumed-role/ec2.amazonaws.com/x`
      t.equal(findCachingFact(undefined, caller).name, 'direct calls to KMS')
    }
    t.equal(findCachingFact(undefined, 'AWS Internal').name, 'direct calls to KMS')
    t.equal(findCachingFact('s3', 'ec2.amazonaws.com').name, 'Amazon S3')
    t.equal(findCachingFact(undefined, ALICE).name, 'direct calls to KMS')
    for (const { source, howLong, endedBy } of CACHING_FACTS) {
      t.ok(source.length > 10 && howLong.length > 10 && endedBy.length > 10)
    }
    t.end()
  },
)
