/**
 * Tests that every field that a policy reads is found in the policy's JSON form, regardless of how the policy uses the
 * field.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isFor, type Target } from '../../../src/policy/field-reads.ts'
import { FIELDS } from '../../../src/policy/request.ts'
import { policySet } from '../../support/policy.ts'

const ALL = [...FIELDS].sort()

async function readsOf(text: string): Promise<readonly string[]> {
  const [policy] = (await policySet(text)).policies
  return [...(policy?.reads ?? [])].sort()
}

const when = (condition: string) =>
  readsOf(`permit(principal, action, resource) when { ${condition} };`)

void t.test('fields of conditions', async (t) => {
  for (const [condition, expected] of [
    ['true', []],
    ['context.kmsOperation == "Decrypt"', ['context.kmsOperation']],
    ['["a"].contains(context.accessClass)', ['context.accessClass']],
    [
      'context has viaService && context.viaService.name == "s3"',
      ['context.viaService', 'context.viaService.name'],
    ],
    [
      'context has viaService.region && context.viaService.region == "eu-west-1"',
      ['context.viaService', 'context.viaService.region'],
    ],
    ['context has kmsKey', ['context.kmsKey']],
    [
      'context has kmsKey && context.kmsKey == context.kmsKey',
      [...FIELDS].filter((field) => field.startsWith('context.kmsKey')),
    ],
    ['context.tls has clientName', ['context.tls.clientName']],
    ['context.now > datetime("2027-01-01")', ['context.now']],
    ['principal.name like "i-*"', ['principal.name']],
    ['principal has sessionName', ['principal.sessionName']],
    ['principal.hasTag("a") && principal.getTag("a") == "b"', ['principal.tags']],
    ['resource.hasTag("tier")', ['resource']],
    ['resource.keyStore == "payroll"', ['resource']],
    ['resource.version > 3', ['resource.version']],
    ['resource in XKS::KeyGroup::"gold"', ['resource']],
    ['principal in XKS::Account::"1"', ['principal.account']],
    ['principal in [XKS::Role::"q", XKS::Role::"r"]', ['principal.roles']],
    ['principal in XKS::Principal::"arn"', ['principal']],
    ['principal == XKS::Principal::"arn"', ['principal']],
    ['principal is XKS::Principal', []],
    ['action == XKS::Action::"Encrypt"', ['action']],
    ['action in XKS::Action::"Use"', ['action']],
    [
      'if context.sameAccount then principal.kind == "role" else false',
      ['context.sameAccount', 'principal.kind'],
    ],
    ['{ a: context.kmsOperation }.a == "x"', ALL],
    ['(if context.sameAccount then principal else principal).name == "x"', ALL],
    ['context == context', ALL.filter((field) => field.startsWith('context.'))],
  ] as const) {
    t.same(await when(condition), [...expected].sort(), condition)
  }
})

void t.test('fields of the principal in the scope', async (t) => {
  const scoped = (principal: string) => readsOf(`permit(${principal}, action, resource);`)
  t.same(await scoped('principal'), [])
  t.same(await scoped('principal == XKS::Principal::"arn"'), ['principal'])
  t.same(await scoped('principal in XKS::Account::"1"'), ['principal.account'])
  t.same(await scoped('principal in XKS::AwsService::"ec2.amazonaws.com"'), ['principal.service'])
  t.same(await scoped('principal is XKS::Principal in XKS::Role::"r"'), ['principal.roles'])
})

void t.test('keys and actions of the scope', async (t) => {
  const target: Target = {
    ...{ key: 'payroll/key-1', keyStore: 'payroll', groups: ['gold'], action: 'Decrypt' },
  }
  for (const [scope, expected] of [
    ['action, resource', true],
    ['action == XKS::Action::"Decrypt", resource', true],
    ['action == XKS::Action::"Encrypt", resource', false],
    ['action in XKS::Action::"Use", resource', true],
    ['action in [XKS::Action::"Encrypt", XKS::Action::"Describe"], resource', false],
    ['action, resource == XKS::Key::"payroll/key-1"', true],
    ['action, resource == XKS::Key::"payroll/key-2"', false],
    ['action, resource in XKS::Key::"payroll/key-1"', true],
    ['action, resource in XKS::KeyStore::"payroll"', true],
    ['action, resource in XKS::KeyStore::"archive"', false],
    ['action, resource in XKS::KeyGroup::"gold"', true],
    ['action, resource in XKS::KeyGroup::"payroll"', false],
    ['action, resource is XKS::Key', true],
    ['action, resource is XKS::Key in XKS::KeyStore::"payroll"', true],
    ['action, resource is XKS::Key in XKS::KeyStore::"archive"', false],
  ] as const) {
    const [policy] = (await policySet(`permit(principal, ${scope});`)).policies
    t.equal(policy && isFor(policy.json, target), expected, scope)
  }
  const [use] = (await policySet('permit(principal, action in XKS::Action::"Use", resource);'))
    .policies
  t.equal(use && isFor(use.json, { ...target, action: 'Describe' }), false)
})
