/** Generates random policy sets that the schema accepts, and requests that come close to matching their conditions. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import type { PolicyRequest } from '../../src/policy/facts.ts'
import { NOON } from './policy.ts'

const ACCOUNTS = ['111122223333', '999999999999']
const KEYS = ['payroll/key-1', 'payroll/key-2', 'archive/key-1']
const SERVICES = ['s3', 'ebs', 'rds']
const PRINCIPALS = [
  ...ACCOUNTS.flatMap((account) => [
    `arn:aws:iam::${account}:user/alice`,
    `arn:aws:iam::${account}:role/team/App`,
    `arn:aws:sts::${account}:assumed-role/App/s1`,
    `arn:aws:sts::${account}:assumed-role/App/s2`,
    `arn:aws:iam::${account}:root`,
  ]),
  ...['ec2.amazonaws.com', 'AWS Internal', 'odd', ''],
]
const from = <T>(values: readonly T[]) => fc.constantFrom(...values)
const quoted = (text: string) => JSON.stringify(text)

const principalScope = fc.oneof(
  fc.constant('principal'),
  from(ACCOUNTS).map((account) => `principal in XKS::Account::"${account}"`),
  from(ACCOUNTS).map((account) => `principal in XKS::Role::"arn:aws:iam::${account}:role/App"`),
  from(PRINCIPALS).map((arn) => `principal == XKS::Principal::${quoted(arn)}`),
  fc.constant('principal in XKS::AwsService::"ec2.amazonaws.com"'),
  from(ACCOUNTS).map((account) => `principal is XKS::Principal in XKS::Account::"${account}"`),
)
const actionScope = from([
  ...['action', 'action == XKS::Action::"Decrypt"', 'action in XKS::Action::"Use"'],
  ...[
    'action == XKS::Action::"Describe"',
    'action in [XKS::Action::"Encrypt", XKS::Action::"Describe"]',
  ],
])
const resourceScope = fc.oneof(
  fc.constant('resource'),
  from(KEYS).map((key) => `resource == XKS::Key::"${key}"`),
  from(['payroll', 'archive']).map((name) => `resource in XKS::KeyStore::"${name}"`),
  from(['gold', 'silver']).map((name) => `resource in XKS::KeyGroup::"${name}"`),
  fc.constant('resource is XKS::Key in XKS::KeyStore::"payroll"'),
)

const atom = fc.oneof(
  from(['Decrypt', 'Encrypt', 'GenerateDataKey', 'DescribeKey']).map(
    (name) => `context.kmsOperation == "${name}"`,
  ),
  from([
    'customer-direct',
    'customer-by-service',
    'service-itself',
    'foreign-account',
    'unknown',
  ]).map((name) => `context.accessClass == "${name}"`),
  from(SERVICES).map((name) => `(context has viaService && context.viaService.name == "${name}")`),
  fc.constant('context has viaService'),
  fc.constant('(context has viaService.region && context.viaService.region == "eu-west-1")'),
  from(ACCOUNTS).map((account) => `(context has kmsKey && context.kmsKey.account == "${account}")`),
  fc.constant('context has kmsKey'),
  fc.constant('(context has sourceVpc && context.sourceVpc like "vpc-1*")'),
  fc.constant('context.sameAccount'),
  from(['user', 'role', 'assumed-role', 'service', 'unknown']).map(
    (kind) => `principal.kind == "${kind}"`,
  ),
  fc.constant('(principal has sessionName && principal.sessionName == "s1")'),
  fc.constant('principal.name like "A*"'),
  fc.constant('(principal has path && principal.path == "/team/")'),
  fc.constant('(principal.hasTag("level") && principal.getTag("level") == "3")'),
  from(ACCOUNTS).map((account) => `principal in XKS::Account::"${account}"`),
  fc.constant('(resource.hasTag("tier") && resource.getTag("tier") == "gold")'),
  fc.constant('resource in XKS::KeyGroup::"silver"'),
  fc.constant('resource.version > 1'),
  fc.constant('resource.version * 9223372036854775807 > 0'),
  fc.constant('(resource has createdAt && resource.createdAt < datetime("2027-01-01"))'),
  fc.constant('context.now.toTime() > duration("12h")'),
  fc.constant('context.plaintextBytes > 100'),
  fc.constant('context.aad.present'),
  fc.constant('(context.tls has remote && context.tls.remote.isInRange(ip("10.0.0.0/8")))'),
  fc.constant('(context.credential has age && context.credential.age > duration("7d"))'),
  fc.constant('context.credential.id == "A"'),
  fc.constant('(context.tls has clientName && context.tls.clientName == "kms")'),
  fc.constant('action == XKS::Action::"Encrypt"'),
  fc.constant('["s3", context.kmsOperation].contains("Decrypt")'),
  fc.constant('(if context.sameAccount then principal.kind == "user" else resource.version == 1)'),
)
const condition: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: atom },
  {
    weight: 1,
    arbitrary: fc
      .tuple(atom, from(['&&', '||']), atom)
      .map(([a, operator, b]) => `(${a} ${operator} ${b})`),
  },
  { weight: 1, arbitrary: atom.map((one) => `!(${one})`) },
)
const policy = fc
  .record({
    effect: from(['permit', 'permit', 'forbid']),
    ...{ principal: principalScope, action: actionScope, resource: resourceScope },
    conditions: fc.array(fc.tuple(from(['when', 'when', 'unless']), condition), { maxLength: 2 }),
  })
  .map(({ effect, principal, action, resource, conditions }) => {
    const clauses = conditions.map(([kind, body]) => `${kind} { ${body} }`).join(' ')
    return `${effect} (${principal}, ${action}, ${resource}) ${clauses};`
  })

const labels = from([
  '{}',
  'payroll/key-1: { groups: [gold], tags: { tier: gold } }',
  'payroll/*: { groups: [silver] }\narchive/key-1: { groups: [gold, silver], tags: { tier: silver } }',
])

const documents = fc
  .record({ labels, main: fc.array(policy, { minLength: 1, maxLength: 8 }) })
  .map(({ labels: text, main }) => ({ labels: text, main: main.join('\n') }))

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })

const request: fc.Arbitrary<PolicyRequest> = fc
  .record({
    key: from(KEYS),
    operation: from(['Encrypt', 'Decrypt', 'GetKeyMetadata'] as const),
    awsPrincipalArn: maybe(from(PRINCIPALS)),
    account: maybe(from(ACCOUNTS)),
    kmsOperation: from([
      'Decrypt',
      'Encrypt',
      'GenerateDataKey',
      'DescribeKey',
      'CreateKey',
      'Odd',
    ]),
    kmsViaService: maybe(
      from([...SERVICES, 's3.eu-west-1.amazonaws.com', 'S3.us-east-1.amazonaws.com']),
    ),
    awsSourceVpc: maybe(from(['vpc-1', 'vpc-12', 'vpc-2'])),
    other: maybe(from([{ level: 3 }, { level: '3', more: 'x' }, { other: true }])),
    keyVersion: from([1, 2, 3]),
    keyCreatedAt: maybe(from([NOON, NOON - 90 * 86_400_000])),
    credential: from([
      { id: 'A', createdAt: NOON - 10 * 86_400_000 },
      { id: 'A' },
      { id: 'B', createdAt: NOON },
    ]),
    now: from([NOON - 3_600_000, NOON + 3_600_000]),
    clientName: maybe(from(['kms', 'other'])),
    remoteAddress: from(['10.1.2.3', '192.0.2.1', '::ffff:10.9.9.9', '2001:db8::1', '']),
    aadBytes: from([0, 16]),
    plaintextBytes: from([32, 4096]),
  })
  .map((one) => {
    const [keyStore = '', keyId = ''] = one.key.split('/')
    const { awsPrincipalArn, account, kmsOperation, kmsViaService, awsSourceVpc, other, ...rest } =
      one
    const kmsKeyArn = account === undefined ? undefined : `arn:aws:kms:eu-west-1:${account}:key/1`
    const optional = { awsPrincipalArn, kmsKeyArn, kmsViaService, awsSourceVpc, other }
    const given = Object.entries(optional).filter(([, value]) => value !== undefined)
    return { ...rest, keyStore, keyId, metadata: { kmsOperation, ...Object.fromEntries(given) } }
  })

export const policyArbitraries = { documents, request }
