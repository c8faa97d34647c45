/**
 * Tests the examples in docs/policies: each example passes its test cases, and the cases detect every single mistake
 * introduced into it.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type PolicyCase, judgeCase, parseCases } from '../../../src/policy/cases.ts'
import { type PolicyJson, loadCedar } from '../../../src/policy/cedar.ts'
import { decidePlainly } from '../../../src/policy/engine.ts'
import type { PolicySet } from '../../../src/policy/policy-set.ts'
import { NOON, policySet } from '../../support/policy.ts'
import { exists, listFiles, read } from '../../support/repository.ts'

t.setTimeout(200_000)

const FOLDER = 'docs/policies'
const NAMES = listFiles(FOLDER)
  .filter((path) => path.endsWith('.cedar'))
  .map((path) => path.slice(FOLDER.length + 1, -'.cedar'.length))

async function load(name: string) {
  const labels = `${FOLDER}/${name}.labels.yaml`
  const set = await policySet({
    [name]: read(`${FOLDER}/${name}.cedar`),
    ...(exists(labels) ? { labels: read(labels) } : {}),
  })
  const path = `${FOLDER}/${name}.cases.yaml`
  return { set, cases: parseCases(path, read(path), NOON) }
}

const failuresOf = (set: PolicySet, cases: readonly PolicyCase[]) =>
  cases
    .map((one) => judgeCase(one, (request) => decidePlainly(set, request)))
    .filter(({ passed }) => !passed)

type Json = Record<string, unknown>

/** Operators with a Boolean result, which a mutation can negate. */
const BOOLEAN = [
  '==',
  '!=',
  '<',
  '<=',
  '>',
  '>=',
  'contains',
  'in',
  'has',
  'hasTag',
  'like',
  'is',
  '!',
]
const OTHER_SIDE: Readonly<Record<string, string>> = { '<': '<=', '<=': '<', '>': '>=', '>=': '>' }

/** Returns every policy that differs from `policy` by a single mistake, with the mistake's name. */
function mutantsOf(
  policy: PolicyJson,
): readonly { readonly name: string; readonly json: PolicyJson }[] {
  const mutants: { name: string; json: PolicyJson }[] = []
  const copy = () => structuredClone(policy) as unknown as Json
  const add = (name: string, json: Json) => {
    mutants.push({ name, json: json as unknown as PolicyJson })
  }
  add('the effect is turned round', {
    ...copy(),
    effect: policy.effect === 'permit' ? 'forbid' : 'permit',
  })
  for (const part of ['principal', 'action', 'resource'] as const)
    if (policy[part].op !== 'All') add(`any ${part}`, { ...copy(), [part]: { op: 'All' } })
  const paths = pathsOf(policy.conditions, [])
  for (const path of paths) {
    const node = at(policy.conditions, path) as Json
    const [operator = ''] = Object.keys(node)
    const replace = (name: string, replacement: Json) => {
      const mutant = copy()
      if (path.length === 0) return
      const parent = at(mutant['conditions'], path.slice(0, -1)) as Json
      parent[path.at(-1) ?? ''] = replacement
      add(`${name} at ${path.join('/')}`, mutant)
    }
    if (BOOLEAN.includes(operator))
      replace(`not ${operator}`, { '!': { arg: structuredClone(node) } })
    const other = OTHER_SIDE[operator]
    if (other !== undefined)
      replace(`${other} for ${operator}`, { [other]: structuredClone(node[operator]) })
    if (operator === '&&' || operator === '||')
      replace('and for or', { [operator === '&&' ? '||' : '&&']: structuredClone(node[operator]) })
  }
  return mutants
}

function at(root: unknown, path: readonly string[]): unknown {
  return path.reduce((node, name) => (node as Json)[name], root)
}

/** Returns the paths to every expression in the conditions. */
function pathsOf(node: unknown, path: readonly string[]): readonly (readonly string[])[] {
  if (typeof node !== 'object' || node === null) return []
  return Object.entries(node).flatMap(([name, child]) => {
    const own = [...path, name]
    if (name === 'Value' || name === 'pattern' || name === 'kind') return []
    const isExpression = name === 'body' || name === 'left' || name === 'right' || name === 'arg'
    return [...(isExpression ? [own] : []), ...pathsOf(child, own)]
  })
}

void t.test('there are ten examples and more, and docs/policy.md names each', (t) => {
  t.ok(NAMES.length >= 10, `${String(NAMES.length)} examples`)
  for (const name of NAMES) t.match(read('docs/policy.md'), `policies/${name}.cedar`)
  t.end()
})

for (const name of NAMES) {
  void t.test(`${name}: its cases pass, and detect every mutation`, async (t) => {
    const { set, cases } = await load(name)
    t.same(failuresOf(set, cases), [])
    const { toText } = await loadCedar()
    let mistakes = 0
    for (const [i, policy] of set.policies.entries()) {
      for (const { name: mistake, json } of mutantsOf(policy.json)) {
        const policies = set.policies.with(i, { ...policy, json, text: toText(json) })
        mistakes += 1
        if (failuresOf({ ...set, policies }, cases).length === 0) t.fail(`${policy.id}: ${mistake}`)
      }
    }
    t.ok(mistakes > 3, `${String(mistakes)} mistakes`)
  })
}
