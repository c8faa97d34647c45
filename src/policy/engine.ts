/**
 * Decides requests using sets of policies. Decisions are cached by exactly the fields that the
 * policies for a key and an action read. Policies that read the time, sizes or addresses are
 * evaluated separately each time.
 */
// SPDX-License-Identifier: Apache-2.0
import { type Evaluation, PolicyError } from './cedar.ts'
import { isFor, isForPrincipal } from './field-reads.ts'
import type { Policy, PolicySet } from './policy-set.ts'
import { uidsOf } from './principal.ts'
import { ACTIONS, Facts, type PolicyRequest } from './facts.ts'
import { FIELDS, createCacheKey, isVolatile, toEvaluationRequest } from './request.ts'

export type DenialReason =
  | 'POLICY_FORBID' // a policy forbids the request
  | 'POLICY_DEFAULT' // no policy permits the request
  | 'POLICY_ERROR' // a policy could not be evaluated
  | 'POLICY_UNUSABLE' // the policies of the store cannot be compiled by this release

export interface Decision {
  /** Reason for the denial; undefined if the request is allowed. */
  readonly denial: DenialReason | undefined
  /**
   * Ids of the policies that decided the request: those that permitted it, forbade it or failed;
   * empty for POLICY_DEFAULT.
   */
  readonly policies: readonly string[]
}

/** Evaluates requests against one set of policies. */
export interface Engine {
  decide(request: PolicyRequest): Decision
  /** Number of Cedar evaluations, and number of decisions served from the cache. */
  readonly stats: { readonly evaluated: number; readonly kept: number }
  /** Releases the engine's resources; do not call `decide` afterwards. */
  close(): void
}

const MAX_DECISIONS = 20_000
const MAX_TARGETS = 50_000
/**
 * Maximum number of prepared sets per engine. Beyond this number, every policy of a part is
 * evaluated, even if its scope excludes the principal.
 */
const MAX_PREPARED = 1000
const DEFAULT: Decision = { denial: 'POLICY_DEFAULT', policies: [] }

/**
 * Names of prepared sets that no engine currently uses. Cedar never forgets a name, so names are
 * reused.
 */
const freeNames: string[] = []
let madeNames = 0

/** The policies for one key and action that are evaluated together. */
interface Part {
  readonly fields: ReadonlySet<string>
  readonly toCacheKey: (facts: Facts) => string
  readonly policies: readonly Policy[]
  decisions: Map<string, Decision>
}

interface Slice {
  readonly kept: Part | undefined
  readonly volatile: Part | undefined
}

export function createEngine({ cedar, policies, labels }: PolicySet): Engine {
  const stats = { evaluated: 0, kept: 0 }
  /** Names of prepared sets, by the ids of their policies. */
  const namesOf = new Map<string, string>()
  /** Slices, keyed by key store, key id and action. */
  const byKeyStore = new Map<string, Map<string, Partial<Record<string, Slice>>>>()
  let targets = 0
  /** Parts by their policies. Targets with the same policies share their parts. */
  const parts = new Map<string, Part>()

  function sliceOf(request: PolicyRequest): Slice {
    const { keyStore, keyId } = request
    const action = ACTIONS[request.operation]
    const byAction = byKeyStore.get(keyStore)?.get(keyId) ?? addTarget(keyStore, keyId)
    let slice = byAction[action]
    if (slice === undefined) {
      const key = `${keyStore}/${keyId}`
      const target = { key, keyStore, action, groups: labels.of(keyStore, keyId).groups }
      const own = policies.filter(({ json }) => isFor(json, target))
      const isFresh = ({ reads }: Policy) => [...reads].some(isVolatile)
      slice = {
        kept: partOf(own.filter((policy) => !isFresh(policy))),
        volatile: partOf(own.filter(isFresh)),
      }
      byAction[action] = slice
    }
    return slice
  }

  function addTarget(keyStore: string, keyId: string): Partial<Record<string, Slice>> {
    if (targets >= MAX_TARGETS) {
      byKeyStore.clear()
      targets = 0
    }
    targets += 1
    const byAction = {}
    const byKey = byKeyStore.get(keyStore) ?? new Map<string, Partial<Record<string, Slice>>>()
    byKeyStore.set(keyStore, byKey.set(keyId, byAction))
    return byAction
  }

  function partOf(own: readonly Policy[]): Part | undefined {
    if (own.length === 0) return undefined
    const signature = own.map((policy) => policies.indexOf(policy)).join(',')
    let part = parts.get(signature)
    if (part === undefined) {
      const fields = new Set(own.flatMap(({ reads }) => [...reads]))
      const toCacheKey = createCacheKey([...fields].sort())
      part = { fields, toCacheKey, policies: own, decisions: new Map() }
      parts.set(signature, part)
    }
    return part
  }

  /** Returns the name of a prepared set of these policies. */
  function prepared(own: readonly Policy[]): string {
    const signature = own.map(({ id }) => id).join(' ')
    let name = namesOf.get(signature)
    if (name === undefined) {
      name = freeNames.pop() ?? `latchkey ${String(madeNames++)}`
      cedar.prepare(name, toTexts(own))
      namesOf.set(signature, name)
    }
    return name
  }

  /**
   * Returns the policies of a part whose scope includes the principal, or all of its policies if
   * too many sets are already prepared.
   */
  function ofPrincipal(part: Part, facts: Facts): readonly Policy[] {
    if (namesOf.size >= MAX_PREPARED) return part.policies
    const uids = uidsOf(facts.principal)
    return part.policies.filter(({ json }) => isForPrincipal(json, uids))
  }

  function evaluate(part: Part, facts: Facts): Decision {
    const own = ofPrincipal(part, facts)
    if (own.length === 0) return DEFAULT
    stats.evaluated += 1
    const asked = toEvaluationRequest(facts, part.fields, labels)
    return toDecision(() => cedar.evaluate(prepared(own), asked))
  }

  function lookUp(part: Part, facts: Facts): Decision {
    const key = part.toCacheKey(facts)
    const known = part.decisions.get(key)
    if (known !== undefined) {
      stats.kept += 1
      return known
    }
    const decision = evaluate(part, facts)
    if (part.decisions.size >= MAX_DECISIONS) part.decisions = new Map()
    part.decisions.set(key, decision)
    return decision
  }

  return {
    stats,
    decide(request) {
      const { kept, volatile } = sliceOf(request)
      const facts = new Facts(request)
      if (kept === undefined) return volatile === undefined ? DEFAULT : evaluate(volatile, facts)
      const first = lookUp(kept, facts)
      return volatile === undefined ? first : combine(first, evaluate(volatile, facts))
    },
    close() {
      freeNames.push(...namesOf.values())
      namesOf.clear()
      byKeyStore.clear()
      parts.clear()
    },
  }
}

/**
 * Decides with the whole set in one plain Cedar call. Every shortcut above must give the same
 * result.
 * @param prepared name under which the whole set is prepared; without it, the set is parsed for
 * each call
 */
export function decidePlainly(
  { cedar, policies, labels }: PolicySet,
  request: PolicyRequest,
  prepared?: string,
): Decision {
  const asked = toEvaluationRequest(new Facts(request), FIELDS, labels)
  if (prepared !== undefined) return toDecision(() => cedar.evaluate(prepared, asked))
  return toDecision(() =>
    cedar.evaluateOnce({ ...asked, policies: { staticPolicies: toTexts(policies) } }),
  )
}

function toTexts(policies: readonly Policy[]): Record<string, string> {
  return Object.fromEntries(policies.map(({ id, text }) => [id, text]))
}

/**
 * Cedar skips a policy that fails to evaluate. The policy might forbid the request, so a failure
 * denies it here.
 */
function toDecision(evaluate: () => Evaluation): Decision {
  let evaluation: Evaluation
  try {
    evaluation = evaluate()
  } catch (error) {
    if (error instanceof PolicyError) return { denial: 'POLICY_ERROR', policies: [] }
    throw error
  }
  const { decision, policies, errors } = evaluation
  if (errors.length > 0) {
    return { denial: 'POLICY_ERROR', policies: errors.map(({ policyId }) => policyId).sort() }
  }
  if (decision === 'allow') return { denial: undefined, policies }
  return policies.length === 0 ? DEFAULT : { denial: 'POLICY_FORBID', policies }
}

/**
 * Denials from strongest to weakest, in Cedar's own order; undefined stands for an allowed request.
 * The strongest denial wins, and is reported with every policy that led to it.
 */
const STRENGTH = ['POLICY_ERROR', 'POLICY_FORBID', undefined, 'POLICY_DEFAULT'] as const

function combine(a: Decision, b: Decision): Decision {
  const denial = STRENGTH.find((one) => a.denial === one || b.denial === one)
  const policies = [a, b].filter((one) => one.denial === denial).flatMap((one) => one.policies)
  return { denial, policies: policies.sort() }
}
