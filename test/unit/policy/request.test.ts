/** Tests the policy view of a request: all forms of principals, access classes, and every field in the schema. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { loadCedar } from '../../../src/policy/cedar.ts'
import { NO_LABELS } from '../../../src/policy/labels.ts'
import { Facts } from '../../../src/policy/facts.ts'
import {
  FIELDS,
  isVolatile,
  createCacheKey,
  toEvaluationRequest,
} from '../../../src/policy/request.ts'
import { accessClassOf, parsePrincipal } from '../../../src/policy/principal.ts'
import { SCHEMA } from '../../../src/policy/schema.ts'
import { read } from '../../support/repository.ts'
import { ACCOUNT, ALICE, KMS_KEY, NOON, policyRequest } from '../../support/policy.ts'

const IAM = `arn:aws:iam::${ACCOUNT}`
const STS = `arn:aws:sts::${ACCOUNT}`

void t.test('principals in all the forms that KMS names', (t) => {
  const account = ACCOUNT
  for (const [arn, expected] of [
    [ALICE, { kind: 'user', name: 'alice', path: '/', account, roles: [] }],
    [`${IAM}:user/eu/ops/bob`, { kind: 'user', name: 'bob', path: '/eu/ops/' }],
    [`${IAM}:role/App`, { kind: 'role', name: 'App', roles: [`${IAM}:role/App`] }],
    [
      `${IAM}:role/team/App`,
      { kind: 'role', path: '/team/', roles: [`${IAM}:role/team/App`, `${IAM}:role/App`] },
    ],
    [
      `${STS}:assumed-role/App/i-0abc`,
      { kind: 'assumed-role', name: 'App', sessionName: 'i-0abc', roles: [`${IAM}:role/App`] },
    ],
    [`${STS}:federated-user/carol`, { kind: 'federated-user', name: 'carol', account }],
    [`${IAM}:root`, { kind: 'root', name: 'root', account }],
    ['ec2.amazonaws.com', { kind: 'service', name: 'ec2.amazonaws.com' }],
    ['ec2.amazonaws.com.cn', { kind: 'service', name: 'ec2.amazonaws.com.cn' }],
    ['s3.amazonaws.eu', { kind: 'service', name: 's3.amazonaws.eu' }],
    ['ec2.amazonaws.com.evil.example', { kind: 'unknown' }],
    ['x y.amazonaws.com', { kind: 'unknown' }],
    ['AWS Internal', { kind: 'service' }],
    [
      'arn:aws-cn:sts::111122223333:assumed-role/App/s',
      { roles: ['arn:aws-cn:iam::111122223333:role/App'] },
    ],
    [`${STS}:assumed-role/App`, { kind: 'unknown', account }],
    [`${IAM}:role/`, { kind: 'unknown' }],
    [`${IAM}:role/a//b`, { kind: 'unknown' }],
    ['arn:aws:iam::1234:user/alice', { kind: 'user', account: undefined }],
    ['arn:', { kind: 'unknown' }],
    ['', { kind: 'unknown', name: '' }],
  ] as const)
    t.match(parsePrincipal(arn), { arn, ...expected }, arn)
  t.end()
})

void t.test('access classes', (t) => {
  const classOf = (over: Parameters<typeof policyRequest>[0]) =>
    accessClassOf(policyRequest(over).metadata)
  t.equal(classOf({}), 'customer-direct')
  t.equal(classOf({ kmsOperation: 'GenerateDataKey' }), 'customer-direct')
  t.equal(classOf({ kmsViaService: 's3' }), 'customer-by-service')
  t.equal(classOf({ awsPrincipalArn: 'ec2.amazonaws.com' }), 'service-itself')
  t.equal(classOf({ awsPrincipalArn: 'AWS Internal', kmsViaService: 'ebs' }), 'service-itself')
  t.equal(classOf({ awsPrincipalArn: 'arn:aws:iam::999999999999:user/x' }), 'foreign-account')
  for (const kmsOperation of ['CreateKey', 'DescribeKey'])
    t.equal(classOf({ kmsOperation, awsPrincipalArn: 'whoever' }), 'key-administration')
  t.equal(classOf({ kmsOperation: 'SignWithMagic' }), 'unknown')
  t.equal(classOf({ awsPrincipalArn: 'whoever' }), 'unknown')
  t.equal(classOf({ awsPrincipalArn: 'arn:aws:iam::12:user/x' }), 'unknown')
  t.equal(accessClassOf({}), 'unknown')
  t.end()
})

const FULL = policyRequest({
  ...{
    awsPrincipalArn: `${STS}:assumed-role/App/session`,
    kmsViaService: 'EBS.eu-west-1.amazonaws.com',
  },
  ...{
    awsSourceVpc: 'vpc-1',
    awsSourceVpce: 'vpce-1',
    clientName: 'cks.kms.eu-west-1.amazonaws.com',
  },
  ...{ keyCreatedAt: NOON, other: { attestation: 'abc', level: 3 } },
})

void t.test('a whole request is valid by the published schema, for each action', async (t) => {
  const { evaluateOnce } = await loadCedar()
  for (const operation of ['Encrypt', 'Decrypt', 'GetKeyMetadata'] as const) {
    const facts = new Facts({ ...FULL, operation })
    const asked = toEvaluationRequest(facts, FIELDS, NO_LABELS)
    const [principal] = asked.entities
    t.match(principal, {
      attrs: { kind: 'assumed-role', name: 'App', sessionName: 'session' },
      parents: [{ id: ACCOUNT }, { id: `${IAM}:role/App` }],
      tags: { attestation: 'abc', level: '3' },
    })
    t.match(asked.context, {
      accessClass: 'customer-by-service',
      kmsKey: { account: ACCOUNT, region: 'eu-west-1', partition: 'aws', arn: KMS_KEY },
      viaService: { name: 'ebs', region: 'eu-west-1' },
      ...{ sourceVpc: 'vpc-1', sourceVpce: 'vpce-1', sameAccount: true },
      credential: { id: 'AKIATEST', age: { __extn: { arg: '86400000ms' } } },
      aad: { present: true, bytes: 16 },
    })
    const policies = { staticPolicies: { all: 'permit(principal, action, resource);' } }
    const answer = evaluateOnce({ ...asked, policies, schema: SCHEMA, validateRequest: true })
    t.equal(answer.decision, 'allow', operation)
  }
})

void t.test('a bare request lacks what is optional, and is valid too', async (t) => {
  const { evaluateOnce } = await loadCedar()
  const request = {
    ...policyRequest({ remoteAddress: 'fe80::1%eth0' }),
    metadata: {},
    tlsVersion: undefined,
  }
  const asked = toEvaluationRequest(new Facts(request), FIELDS, NO_LABELS)
  t.notOk('kmsKey' in asked.context || 'viaService' in asked.context)
  const policies = { staticPolicies: { all: 'permit(principal, action, resource);' } }
  t.equal(
    evaluateOnce({ ...asked, policies, schema: SCHEMA, validateRequest: true }).decision,
    'allow',
  )
})

void t.test('addresses that Cedar does not support are converted, or omitted', (t) => {
  const remoteOf = (remoteAddress: string) => {
    const asked = toEvaluationRequest(
      new Facts(policyRequest({ remoteAddress })),
      FIELDS,
      NO_LABELS,
    )
    return (asked.context['tls'] as { remote?: { __extn: { arg: string } } }).remote?.__extn.arg
  }
  t.equal(remoteOf('::ffff:10.0.0.1'), '10.0.0.1')
  t.equal(remoteOf('fe80::1%eth0'), 'fe80::1')
  t.equal(remoteOf('2001:db8:0:0:0:0:0:1'), '2001:db8:0:0:0:0:0:1')
  t.equal(remoteOf(''), undefined)
  t.end()
})

void t.test('cache keys differ exactly if a field that the policies read differs', (t) => {
  const stable = [...FIELDS].filter((field) => !isVolatile(field))
  const keyOf = (fields: readonly string[], request = FULL) =>
    createCacheKey(fields)(new Facts(request))
  const others = {
    'principal.arn': { awsPrincipalArn: ALICE },
    'context.sourceVpc': { awsSourceVpc: 'vpc-2' },
    'context.kmsKey.account': { kmsKeyArn: KMS_KEY.replace(ACCOUNT, '999999999999') },
    'context.viaService.name': { kmsViaService: 's3' },
    'resource.version': { keyVersion: 2 },
  }
  const { metadata, ...rest } = FULL
  for (const [field, over] of Object.entries(others)) {
    const other = policyRequest({ ...metadata, ...rest, ...over })
    t.not(keyOf([field], other), keyOf([field]), field)
    t.not(keyOf(stable, other), keyOf(stable), `${field} among all`)
  }
  const session = policyRequest({
    ...rest,
    ...metadata,
    awsPrincipalArn: `${STS}:assumed-role/App/other`,
  })
  t.equal(
    keyOf(['principal.roles', 'principal.account'], session),
    keyOf(['principal.roles', 'principal.account']),
  )
  t.not(keyOf(['principal.sessionName'], session), keyOf(['principal.sessionName']))
  // These values imitate the end of one field and the start of the next.
  const fields = ['context.sourceVpc', 'context.sourceVpce']
  const [a, b] = [
    { awsSourceVpc: 'a', awsSourceVpce: 'b1:c' },
    { awsSourceVpc: 'a4:b', awsSourceVpce: 'c' },
  ].map((over) => keyOf(fields, policyRequest(over)))
  t.not(a, b)
  // The field may be missing from the record, or the record itself may be missing.
  const region = ['context.viaService.region']
  t.not(keyOf(region, policyRequest({ kmsViaService: 's3' })), keyOf(region, policyRequest()))
  t.end()
})

void t.test('docs/policy.cedarschema is the schema', (t) => {
  t.equal(read('docs/policy.cedarschema'), SCHEMA)
  t.end()
})
