/** Tests policy decisions: default deny, forbid overriding permit, denial if a policy fails, and caching. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createAuthorizer, preparePolicies } from '../../../src/policy/authorizer.ts'
import { createEngine, decidePlainly } from '../../../src/policy/engine.ts'
import type { PolicyError } from '../../../src/policy/cedar.ts'
import { ACCOUNT, ALICE, NOON, policyRequest, policySet } from '../../support/policy.ts'

const PERMIT = '@id("ours") permit(principal in XKS::Account::"111122223333", action, resource);'

void t.test('permit, forbid, and no matching policy', async (t) => {
  const { decide } = createEngine(
    await policySet(`${PERMIT}
      @id("no-direct") forbid(principal, action == XKS::Action::"Decrypt", resource)
      unless { context has viaService };`),
  )
  t.same(decide(policyRequest({ kmsViaService: 's3' })), { denial: undefined, policies: ['ours'] })
  t.same(decide(policyRequest()), { denial: 'POLICY_FORBID', policies: ['no-direct'] })
  const foreign = policyRequest({
    kmsViaService: 's3',
    awsPrincipalArn: ALICE.replace(ACCOUNT, '999999999999'),
  })
  t.same(decide(foreign), { denial: 'POLICY_DEFAULT', policies: [] })
})

void t.test('a policy that cannot be evaluated denies, and is named', async (t) => {
  const set = await policySet(`${PERMIT}
    @id("overflow") forbid(principal, action, resource)
    when { resource.version * 9223372036854775807 > 1 };
    @id("other") forbid(principal, action, resource) when { context.kmsOperation == "Encrypt" };`)
  for (const decide of [createEngine(set).decide, decidePlainly.bind(undefined, set)]) {
    t.equal(
      decide(policyRequest({ keyVersion: 1, kmsOperation: 'Encrypt' })).denial,
      'POLICY_FORBID',
    )
    t.same(decide(policyRequest({ keyVersion: 2 })), {
      denial: 'POLICY_ERROR',
      policies: ['overflow'],
    })
    t.same(
      decide(policyRequest({ keyVersion: 2, kmsOperation: 'Encrypt' })),
      { denial: 'POLICY_ERROR', policies: ['overflow'] },
      'also if another policy forbids the request',
    )
  }
})

void t.test('decisions are cached by the fields that the policies read', async (t) => {
  const engine = createEngine(await policySet(PERMIT))
  const session = (name: string) =>
    policyRequest({ awsPrincipalArn: `arn:aws:sts::${ACCOUNT}:assumed-role/App/${name}` })
  for (let i = 0; i < 10; i++) engine.decide(session(String(i)))
  t.same(engine.stats, { evaluated: 1, kept: 9 }, 'sessions do not matter if no policy reads them')
  engine.decide(policyRequest({ keyId: 'key-2' }))
  t.same(engine.stats, { evaluated: 1, kept: 10 }, 'nor does the key')
  engine.decide(policyRequest({ awsPrincipalArn: 'arn:aws:iam::999999999999:root' }))
  t.same(engine.stats, { evaluated: 1, kept: 10 }, 'a principal that is in no scope needs no Cedar')
})

void t.test('policies that read the time are evaluated for each request, separately', async (t) => {
  const engine = createEngine(
    await policySet(`${PERMIT}
      @id("night") forbid(principal, action, resource)
      when { context.now.toTime() < duration("8h") };`),
  )
  t.equal(engine.decide(policyRequest()).denial, undefined)
  t.equal(engine.decide(policyRequest({ now: NOON - 6 * 3_600_000 })).denial, 'POLICY_FORBID')
  t.equal(engine.decide(policyRequest()).denial, undefined)
  t.same(engine.stats, { evaluated: 4, kept: 2 })
})

void t.test('keys in groups and their tags', async (t) => {
  const labels = `
payroll/key-1: { groups: [gold], tags: { tier: gold } }
payroll/tmp-*: { tags: { tier: test } }
`
  const { decide } = createEngine(
    await policySet({
      labels,
      main: `@id("gold") permit(principal, action, resource in XKS::KeyGroup::"gold");
        @id("test") permit(principal, action, resource)
        when { resource.hasTag("tier") && resource.getTag("tier") == "test" };`,
    }),
  )
  t.same(decide(policyRequest()).policies, ['gold'])
  t.same(decide(policyRequest({ keyId: 'tmp-7' })).policies, ['test'])
  t.equal(decide(policyRequest({ keyId: 'key-2' })).denial, 'POLICY_DEFAULT')
  t.equal(decide(policyRequest({ keyStore: 'archive' })).denial, 'POLICY_DEFAULT')
})

void t.test('the authorizer: nothing, in force, in shadow, unusable', async (t) => {
  const authorizer = createAuthorizer()
  const ask = () => authorizer.decide(() => policyRequest())
  const before = ask()
  t.match(before, { isAsked: false, denial: undefined })
  const documents = (text: string) => new Map([['main', text]])
  const forbid = '@id("never") forbid(principal, action, resource);'
  const none = new Map<string, string>()

  authorizer.apply(
    await preparePolicies({ revision: 1, enforced: none, shadow: documents(forbid) }),
  )
  t.match(ask(), {
    isAsked: true,
    denial: undefined,
    shadow: { denial: 'POLICY_FORBID', policies: ['never'] },
  })
  t.equal(authorizer.allows(before), true)

  authorizer.apply(
    await preparePolicies({ revision: 2, enforced: documents(PERMIT), shadow: undefined }),
  )
  const allowed = ask()
  t.match(allowed, { denial: undefined, policies: ['ours'], revision: 2, shadow: undefined })

  authorizer.apply(
    await preparePolicies({ revision: 3, enforced: documents(forbid), shadow: undefined }),
  )
  t.equal(
    authorizer.allows(allowed),
    false,
    'an answer under way is asked again by the new policies',
  )
  t.equal(authorizer.allows(before), false, 'one that met no policy, too')

  authorizer.apply({ state: { revision: 4, enforced: none, shadow: undefined }, sets: undefined })
  t.match(ask(), { denial: 'POLICY_UNUSABLE' })
  t.equal(authorizer.allows(allowed), false)
  t.match(authorizer.stats(), {
    revision: 4,
    decisions: { 'enforced allow': 1, 'enforced deny': 1, 'shadow deny': 1 },
  })
})

void t.test('all faults of documents are reported at once, each with its location', async (t) => {
  const faultsOf = async (documents: string | Readonly<Record<string, string>>) => {
    const error = await policySet(documents).then(
      () => undefined,
      (thrown: unknown) => thrown as PolicyError,
    )
    t.equal(error?.code, 'POLICY_INVALID')
    return error?.faults?.map(({ path, message }) => `${path}: ${message}`)
  }
  t.same(await faultsOf('permit(principal, action, resource)\nwhen { context.x = 3 };'), [
    "test.cedar:2:8: '=' is not a valid operator in Cedar; try using '==' instead",
  ])
  t.match(
    await faultsOf(`permit(principal, action, resource);\n\npermit(principal, action, resource)
when { context.kmsOpration == "x" };`),
    [
      /^test.cedar:4:8: attribute `kmsOpration` in context not found; did you mean `kmsOperation`\?$/,
    ],
  )
  t.match(await faultsOf('permit(principal == ?principal, action, resource);'), [/templates/])
  t.same(await faultsOf({ a: PERMIT, b: `\n${PERMIT}`, labels: 'x: 1' }), [
    'labels: x: expected KEY_STORE/KEY_ID, or KEY_STORE/PREFIX*',
    'labels: x: expected groups, tags or both',
    'b.cedar:2: the id "ours" is already used by the policy at a.cedar:1',
  ])
  t.match(await faultsOf({ 'Bad Name': PERMIT }), [/^Bad Name: expected a name/])
  t.match(
    await faultsOf('permit(principal, action, resource) when { context.viaService.name == "s3" };'),
    [/unable to guarantee safety of access to optional attribute/],
    'an optional field has to be asked for first',
  )
})

void t.test('policies keep their order, their texts and their ids beyond ten', async (t) => {
  const texts = Array.from(
    { length: 12 },
    (_, i) => `permit(principal, action, resource) when { resource.version > ${String(i)} };`,
  )
  const { policies } = await policySet(texts.join('\n\n'))
  t.same(
    policies.map(({ text }) => text),
    texts,
  )
  t.same(
    policies.map(({ id, line }) => [id, line]),
    texts.map((_, i) => [`test#${String(i + 1)}`, 2 * i + 1]),
  )
})
