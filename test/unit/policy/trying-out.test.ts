/** Tests explanations, simulations, suggestions and test cases, and importing AWS's sample policies. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { judgeCase, parseCases, parseLogLine, parseRequest } from '../../../src/policy/cases.ts'
import type { PolicyError } from '../../../src/policy/cedar.ts'
import { decidePlainly } from '../../../src/policy/engine.ts'
import { explain } from '../../../src/policy/explain.ts'
import { importOso } from '../../../src/policy/oso.ts'
import { simulate, suggestPolicies } from '../../../src/policy/recorded-usage.ts'
import type { Activity } from '../../../src/usage/usage-table.ts'
import { ACCOUNT, ALICE, KMS_KEY, NOON, policyRequest, policySet } from '../../support/policy.ts'

const used = (over: Partial<Activity['subject']> = {}, requests = 10): Activity => ({
  subject: {
    ...{ keyStore: 'payroll', operation: 'Decrypt', keyId: 'key-1', kmsOperation: 'Decrypt' },
    ...{ principal: `arn:aws:sts::${ACCOUNT}:assumed-role/App/s1`, kmsKeyArn: KMS_KEY },
    ...{ outcome: 'ok', isOverflow: false },
    ...over,
  },
  requests,
  firstAt: NOON - 1000,
  lastAt: NOON,
})

void t.test(
  'explain names the policies that decided, and those that almost applied with their missing condition',
  async (t) => {
    const set = await policySet(`
@id("s3") permit (principal in XKS::Account::"${ACCOUNT}", action in XKS::Action::"Use", resource)
when { context has viaService && context.viaService.name == "s3" };
@id("other-key") permit (principal, action, resource == XKS::Key::"payroll/key-2");
@id("role") permit (principal in XKS::Role::"arn:aws:iam::${ACCOUNT}:role/App", action, resource);
@id("no-root") forbid (principal, action, resource) when { principal.kind == "root" } unless { context.sameAccount };`)
    const found = explain(set, policyRequest({ kmsViaService: 'ebs' }))
    t.same(found.decision, { denial: 'POLICY_DEFAULT', policies: [] })
    t.same(found.deciding, [])
    t.match(found.almost, [
      {
        id: 's3',
        place: 'test.cedar:2',
        effect: 'permit',
        missing: [/context\\.viaService\\.name == "s3"|viaService/],
      },
      { id: 'role', missing: [/principal in XKS::Role::"arn/] },
    ])
    t.match(found.others, [
      { id: 'other-key', missing: [/resource == XKS::Key::"payroll\/key-2"/] },
      { id: 'no-root', missing: [/when .*kind.*root/, /unless .*sameAccount/] },
    ])
    const allowed = explain(set, policyRequest({ kmsViaService: 's3' }))
    t.match(allowed.deciding, [{ id: 's3', outcome: 'applies', missing: [] }])
    const broken = await policySet(
      'permit(principal, action, resource) when { resource.version * 9223372036854775807 > 0 };',
    )
    t.match(explain(broken, policyRequest({ keyVersion: 2 })), {
      decision: { denial: 'POLICY_ERROR' },
      deciding: [{ outcome: 'failed' }],
    })
  },
)

void t.test(
  'simulate: requests that would be refused or allowed, and those that are uncertain',
  async (t) => {
    const set = await policySet(`
permit (principal in XKS::Role::"arn:aws:iam::${ACCOUNT}:role/App", action, resource);
@id("office") permit (principal == XKS::Principal::"${ALICE}", action, resource)
when { context.now.toTime() > duration("8h") };`)
    const usage = [
      used(),
      used({ principal: ALICE }, 3),
      used({ principal: 'arn:aws:iam::999999999999:user/eve', viaService: 's3' }, 5),
      used({ principal: 'arn:aws:iam::999999999999:user/eve', outcome: 'POLICY_DEFAULT' }, 7),
      used({ outcome: 'POLICY_FORBID' }, 2),
      used({ isOverflow: true }, 100),
      {
        ...used(),
        subject: {
          keyStore: 'payroll',
          operation: 'GetHealthStatus',
          outcome: 'ok',
          isOverflow: false,
        },
      },
    ]
    const found = simulate(set, usage)
    t.match(found, {
      requests: 27,
      wouldBeRefused: 5,
      wouldBeAllowed: 2,
      uncertain: 27,
      notToldApart: 100,
    })
    t.same(found.unrecorded, ['context.now'])
    t.match(found.refusals, [
      {
        principal: /eve/,
        service: 's3',
        key: 'payroll/key-1',
        requests: 5,
        denial: 'POLICY_DEFAULT',
        isUncertain: true,
      },
    ])
    const plain = simulate(await policySet('permit(principal, action, resource);'), usage)
    t.match(plain, { wouldBeRefused: 0, uncertain: 0, unrecorded: [] })
    t.match(
      simulate(await policySet({}), usage),
      { wouldBeRefused: 0 },
      'no policy allows everything',
    )
  },
)

void t.test('suggest: the policies allow answered requests, and no others', async (t) => {
  const usage = [
    used(),
    used({ principal: `arn:aws:sts::${ACCOUNT}:assumed-role/App/s2`, keyId: 'key-2' }),
    used({
      viaService: 's3.eu-west-1.amazonaws.com',
      vpce: 'vpce-1',
      kmsOperation: 'GenerateDataKey',
      operation: 'Encrypt',
    }),
    used({ principal: ALICE, operation: 'GetKeyMetadata', kmsOperation: 'CreateKey' }),
    used({ principal: 'ec2.amazonaws.com', vpc: 'vpc-1' }),
    used({ principal: 'arn:aws:iam::999999999999:user/"eve"\\', outcome: 'ok' }),
    used({ principal: 'arn:aws:iam::999999999999:user/mallory', outcome: 'KEY_NOT_FOUND' }),
  ]
  const text = suggestPolicies(usage)
  const set = await policySet(text)
  t.equal(set.policies.length, 5)
  const found = simulate(set, usage)
  t.match(found, { wouldBeRefused: 0, uncertain: 0 })
  const refused = (over: Partial<Activity['subject']>) =>
    simulate(set, [used(over)]).wouldBeRefused > 0
  t.ok(refused({ principal: 'arn:aws:iam::999999999999:user/mallory' }))
  t.ok(refused({ keyId: 'key-3' }))
  t.ok(refused({ viaService: 'ebs' }))
  t.ok(refused({ operation: 'Encrypt', kmsOperation: 'Encrypt' }))
  t.ok(
    refused({
      viaService: 's3',
      kmsOperation: 'GenerateDataKey',
      operation: 'Encrypt',
      vpce: 'vpce-2',
    }),
  )
  t.ok(refused({ kmsKeyArn: KMS_KEY.replace(ACCOUNT, '999999999999') }))
  t.equal(suggestPolicies([]), '')
})

void t.test('cases and requests in YAML: every fault is reported', async (t) => {
  const faultsOf = (text: string) => {
    try {
      parseCases('c.yaml', text, NOON)
      return []
    } catch (error) {
      return (error as PolicyError).faults?.map(({ path, message }) => `${path}: ${message}`)
    }
  }
  t.same(faultsOf('cases: []'), ['c.yaml: expected a list named cases, with at least one case'])
  t.same(
    faultsOf(`
cases:
  - { request: { keyStore: a, key: 4, operation: Delete, at: noon, kmsOperatoin: x, plaintextBytes: -1 }, expect: maybe, by: 7, extra: 1 }`),
    [
      'c.yaml: cases[0].extra: unknown field: expected name, request, expect or by',
      'c.yaml: cases[0].expect: expected allow or deny',
      'c.yaml: cases[0].by: expected the id of a policy, or a list of ids',
      'c.yaml: cases[0].request.kmsOperatoin: is not a known field; did you mean kmsOperation?',
      'c.yaml: cases[0].request.operation: expected one of Encrypt, Decrypt, GetKeyMetadata',
      'c.yaml: cases[0].request.at: expected a date such as 2027-03-01T12:30:00Z',
      'c.yaml: cases[0].request.key: expected a string; put a number in quotes',
      'c.yaml: cases[0].request.plaintextBytes: expected a whole number below 2^53',
    ],
  )
  t.match(faultsOf('cases: [ {'), [/^c.yaml: /])
  const [one] = parseCases(
    'c.yaml',
    'defaults: { keyStore: payroll, key: key-1, kmsViaService: s3 }\ncases: [{ request: { kmsViaService: null }, expect: allow, by: p }]',
    NOON,
  )
  t.match(one?.request, {
    metadata: { kmsOperation: 'Decrypt', kmsViaService: undefined },
    now: NOON,
  })
  const set = await policySet(
    '@id("p") permit(principal, action, resource) unless { context has viaService };',
  )
  t.equal(one && judgeCase(one, (request) => decidePlainly(set, request)).passed, true)
  t.throws(() => parseRequest('r.yaml', '[]', NOON), { code: 'POLICY_INVALID' })
  t.match(parseRequest('r.yaml', '{ keyStore: a, key: b, credentialAge: 90d }', NOON), {
    credential: { createdAt: NOON - 90 * 86_400_000 },
  })
  t.match(
    parseLogLine({
      keyStore: 'a',
      keyId: 'b',
      operation: 'Encrypt',
      time: '2027-03-01T12:00:00.000Z',
      kmsViaService: 's3',
      otherMetadata: { x: 'y' },
    }),
    { keyStore: 'a', keyId: 'b', now: NOON, metadata: { kmsViaService: 's3', other: { x: 'y' } } },
  )
  t.equal(parseLogLine({ keyStore: 'a', operation: 'GetHealthStatus' }), undefined)
})

/** The text has the same structure and gaps as the file in AWS's sample proxy, but is written independently. */
const SAMPLE = `# Who may encrypt
allow(prefix: String, "encrypt", metadata: EncryptMetadata)
    if prefix != ""
    # and metadata.awsPrincipalArn = "somebody"
    and metadata.kmsOperation = "Encrypt"
    and (metadata.kmsViaService = nil or "ebs" in metadata.kmsViaService);

allow(prefix: String, "decrypt", metadata: EncryptMetadata)
    if prefix != "" and metadata.kmsOperation in ["Encrypt", "Decrypt"];

allow(prefix: String, "metadata", metadata: GetKeyMetadata)
    if prefix = "/payroll" and metadata.kmsOperation = "DescribeKey";

allow(prefix: String, "health", metadata: GetHealthMetadata) if metadata.kmsOperation = "Odd";
allow(prefix: String, "encrypt", metadata: EncryptMetadata) if unknown_rule(metadata);
helper(x) if x = 1;
`

void t.test(
  'import --oso: translated rules, and operations that they refuse implicitly',
  async (t) => {
    const { cedar, findings } = importOso(SAMPLE)
    const set = await policySet(cedar)
    t.same(
      set.policies.map(({ id }) => id),
      ['oso-encrypt-line-2', 'oso-decrypt-line-8', 'oso-metadata-line-11'],
    )
    const decides = (over: Parameters<typeof policyRequest>[0]) =>
      decidePlainly(set, policyRequest(over)).denial === undefined
    t.ok(decides({ operation: 'Encrypt', kmsOperation: 'Encrypt' }))
    t.ok(decides({ operation: 'Encrypt', kmsOperation: 'Encrypt', kmsViaService: 'ebs' }))
    t.notOk(decides({ operation: 'Encrypt', kmsOperation: 'Encrypt', kmsViaService: 's3' }))
    t.notOk(
      decides({ operation: 'Encrypt', kmsOperation: 'GenerateDataKey' }),
      'the gap of the sample',
    )
    t.ok(decides({ kmsOperation: 'Decrypt' }))
    t.ok(decides({ operation: 'GetKeyMetadata', kmsOperation: 'DescribeKey' }))
    t.notOk(
      decides({ operation: 'GetKeyMetadata', kmsOperation: 'DescribeKey', keyStore: 'other' }),
    )
    const said = findings.map(({ line, message }) => `${String(line)}: ${message}`)
    for (const expected of [
      /^2: kmsOperation GenerateDataKey is not listed: S3, EBS/,
      /^2: kmsOperation ReEncrypt is not listed/,
      /^8: KMS never sends kmsOperation Encrypt with "decrypt"/,
      /^8: kmsOperation ReEncrypt is not listed/,
      /^11: kmsOperation CreateKey is not listed: no KMS key can be created/,
      /^14: policies never refuse health checks/,
      /^15: cannot translate: unknown_rule/,
      /^15: the rule is omitted/,
      /^16: cannot translate: helper/,
    ])
      t.ok(
        said.some((one) => expected.test(one)),
        String(expected),
      )
    t.match(importOso('nothing here'), { cedar: '', findings: [{ line: 0 }, { line: 1 }] })
  },
)
