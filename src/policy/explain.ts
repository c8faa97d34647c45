/**
 * Explains why a request is allowed or denied. For each policy, the explanation lists the parts
 * that are not satisfied.
 */
// SPDX-License-Identifier: Apache-2.0
import { type Cedar, PolicyError, type PolicyJson } from './cedar.ts'
import { type Decision, decidePlainly } from './engine.ts'
import { isFor } from './field-reads.ts'
import { type Policy, type PolicySet, placeOf } from './policy-set.ts'
import { ACTIONS, Facts, type PolicyRequest } from './facts.ts'
import { FIELDS, toEvaluationRequest } from './request.ts'

export interface PolicyVerdict {
  readonly id: string
  /** `NAME.cedar:LINE` */
  readonly place: string
  readonly effect: 'permit' | 'forbid'
  /** `applies`: every part is satisfied. `failed`: the policy could not be evaluated. */
  readonly outcome: 'applies' | 'fails to apply' | 'failed'
  /** Parts that are not satisfied, as written in Cedar. */
  readonly missing: readonly string[]
}

export interface Explanation {
  readonly decision: Decision
  /** Policies that decided the request. */
  readonly deciding: readonly PolicyVerdict[]
  /** Policies for this key and action in which exactly one part is not satisfied. */
  readonly almost: readonly PolicyVerdict[]
  /** All other policies. */
  readonly others: readonly PolicyVerdict[]
  /** The request as the policies see it. */
  readonly request: ReturnType<typeof toEvaluationRequest>
}

export function explain(set: PolicySet, request: PolicyRequest): Explanation {
  const decision = decidePlainly(set, request)
  const asked = toEvaluationRequest(new Facts(request), FIELDS, set.labels)
  const holds = (policy: string | PolicyJson): boolean | undefined => {
    try {
      const staticPolicies = { probe: policy }
      const { policies, errors } = set.cedar.evaluateOnce({
        ...asked,
        policies: { staticPolicies },
      })
      return errors.length > 0 ? undefined : policies.length > 0
    } catch (error) {
      // The JSON form of a part cannot represent a number beyond 2^53.
      if (error instanceof PolicyError) return undefined
      throw error
    }
  }
  const verdicts = set.policies.map((policy) => judge(set, policy, holds))
  const isDeciding = ({ id }: PolicyVerdict) => decision.policies.includes(id)
  const isAlmost = ({ outcome, missing, id }: PolicyVerdict) =>
    outcome === 'fails to apply' && missing.length === 1 && isForRequest(set, id, request)
  return {
    decision,
    deciding: verdicts.filter(isDeciding),
    almost: verdicts.filter((one) => !isDeciding(one) && isAlmost(one)),
    others: verdicts.filter((one) => !isDeciding(one) && !isAlmost(one)),
    request: asked,
  }
}

function isForRequest(
  { policies, labels }: PolicySet,
  id: string,
  request: PolicyRequest,
): boolean {
  const { keyStore, keyId, operation } = request
  const { groups } = labels.of(keyStore, keyId)
  const target = { key: `${keyStore}/${keyId}`, keyStore, groups, action: ACTIONS[operation] }
  return policies.some((policy) => policy.id === id && isFor(policy.json, target))
}

/**
 * Reports whether a policy applies, regardless of its effect; undefined if it cannot be evaluated.
 */
type Holds = (policy: string | PolicyJson) => boolean | undefined

function judge({ cedar }: PolicySet, policy: Policy, holds: Holds): PolicyVerdict {
  const { id, json, text } = policy
  const about = { id, place: placeOf(policy), effect: json.effect }
  const whole = holds(text)
  if (whole === true) return { ...about, outcome: 'applies', missing: [] }
  const any: PolicyJson = {
    effect: 'permit',
    ...{ principal: { op: 'All' }, action: { op: 'All' }, resource: { op: 'All' } },
    conditions: [],
  }
  const parts: readonly PolicyJson[] = [
    { ...any, principal: json.principal },
    { ...any, action: json.action },
    { ...any, resource: json.resource },
    ...conditionsOf(json).map((condition) => ({ ...any, conditions: [condition] })),
  ]
  // A part that fails to evaluate on its own depends on an earlier part; for example,
  // `context.viaService.name` depends on `context has viaService`.
  const broken = parts.filter((part) => holds(part) === false)
  const failing = parts.filter((part) => holds(part) === undefined)
  const missing = broken.length > 0 ? broken : failing
  return {
    ...about,
    outcome: whole === undefined ? 'failed' : 'fails to apply',
    missing: missing.map((part) => describePart(cedar, part)),
  }
}

type Condition = PolicyJson['conditions'][number]

/** Returns the conditions, split at `&&`. */
function conditionsOf({ conditions }: PolicyJson): readonly Condition[] {
  return conditions.flatMap((condition): readonly Condition[] =>
    condition.kind === 'when'
      ? conjuncts(condition.body).map((body) => ({ kind: 'when' as const, body }))
      : [condition],
  )
}

function conjuncts(body: Condition['body']): readonly Condition['body'][] {
  if (!('&&' in body)) return [body]
  const { left, right } = body['&&'] as { left: Condition['body']; right: Condition['body'] }
  return [...conjuncts(left), ...conjuncts(right)]
}

/** Returns the text of a policy that consists of only one of its parts. */
function describePart(cedar: Cedar, part: PolicyJson): string {
  const { conditions } = part
  let text: string
  try {
    text = cedar.toText(part)
  } catch (error) {
    if (error instanceof PolicyError) return 'a condition with a number beyond 2^53'
    throw error
  }
  const flat = text.replace(/\s+/g, ' ').trim()
  if (conditions.length > 0) return flat.replace(/^.*?\) (?=when|unless)/, '').replace(/;$/, '')
  const parts = flat
    .replace(/^permit ?\( ?/, '')
    .replace(/ ?\);?$/, '')
    .split(/, (?=action|resource)/)
  return parts.find((part) => part.includes(' ')) ?? flat
}
