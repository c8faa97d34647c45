/**
 * Authorizes requests on the request path: decides each request by the policies in force and the
 * shadow policies, and counts the decisions.
 */
// SPDX-License-Identifier: Apache-2.0
import { type Decision, type DenialReason, type Engine, createEngine } from './engine.ts'
import { type Documents, type PolicySet, compileDocuments } from './policy-set.ts'
import type { PolicyRequest } from './facts.ts'

/** The policies in force and the shadow policies. */
export interface PolicyState {
  /**
   * Number of changes to the store's policies. It is 0 before the first change, and for policies
   * that come from files.
   */
  readonly revision: number
  readonly enforced: Documents
  /**
   * The documents in force, with shadow documents replacing those of the same name; undefined if
   * there are no shadow documents.
   */
  readonly shadow: Documents | undefined
}

/** The policy state of a request, from its decision until its response is sent. */
export interface PolicyPass {
  /** False if there is no policy at all. */
  readonly isAsked: boolean
  readonly denial: DenialReason | undefined
  /** Ids of the policies that decided the request. */
  readonly policies: readonly string[]
  readonly revision: number
  /** Decision of the shadow policies, if there are any. */
  readonly shadow: Decision | undefined
  readonly generation: number
  readonly toRequest: () => PolicyRequest
}

export interface PolicyStats {
  readonly revision: number
  readonly enforced: number
  readonly shadow: number
  /** Decisions since startup, by kind: `enforced allow`, `shadow deny` and so on. */
  readonly decisions: Readonly<Record<string, number>>
  /** Number of decisions that required a Cedar evaluation. */
  readonly evaluations: number
}

/** Policies that are ready to be applied in one step. */
export interface PreparedPolicies {
  readonly state: PolicyState
  /** Undefined if the policies cannot be used; everything is then denied. */
  readonly sets:
    { readonly enforced: PolicySet; readonly shadow: PolicySet | undefined } | undefined
}

export interface Authorizer {
  /** Decides a request. Without a policy in force, everything is allowed. Never throws. */
  decide(toRequest: () => PolicyRequest): PolicyPass
  /** Reports whether a request that was allowed would still be allowed. */
  allows(pass: PolicyPass): boolean
  /** Uses these policies for every decision from now on. */
  apply(prepared: PreparedPolicies): void
  stats(): PolicyStats
}

const ALLOWED: Decision = { denial: undefined, policies: [] }
/** Names of the counters. */
const NAMES = {
  enforced: { allow: 'enforced allow', deny: 'enforced deny' },
  shadow: { allow: 'shadow allow', deny: 'shadow deny' },
} as const
const NO_POLICIES: readonly string[] = []
const UNUSABLE: Decision = { denial: 'POLICY_UNUSABLE', policies: [] }

/** @throws PolicyError POLICY_INVALID */
export async function preparePolicies(state: PolicyState): Promise<PreparedPolicies> {
  const enforced = await compileDocuments(state.enforced)
  const shadow = state.shadow && (await compileDocuments(state.shadow))
  return { state, sets: { enforced, shadow } }
}

export function createAuthorizer(): Authorizer {
  let generation = 0
  let revision = 0
  let isUsable = true
  let enforced: Engine | undefined
  let shadow: Engine | undefined
  const sizes = { enforced: 0, shadow: 0 }
  const decisions: Record<string, number> = {}
  /** Number of evaluations by engines that are closed. */
  let evaluations = 0

  function count(set: 'enforced' | 'shadow', decision: Decision): Decision {
    const name = NAMES[set][decision.denial === undefined ? 'allow' : 'deny']
    decisions[name] = (decisions[name] ?? 0) + 1
    return decision
  }

  function close(engine: Engine | undefined): void {
    evaluations += engine?.stats.evaluated ?? 0
    engine?.close()
  }

  return {
    decide(toRequest) {
      const isIdle = enforced === undefined && shadow === undefined
      if (isIdle && isUsable) {
        return {
          isAsked: false,
          denial: undefined,
          policies: NO_POLICIES,
          revision,
          shadow: undefined,
          generation,
          toRequest,
        }
      }
      const request = toRequest()
      const decision = isUsable ? (enforced?.decide(request) ?? ALLOWED) : UNUSABLE
      if (enforced !== undefined || !isUsable) count('enforced', decision)
      const tried = shadow && count('shadow', shadow.decide(request))
      return {
        isAsked: true,
        denial: decision.denial,
        policies: decision.policies,
        revision,
        shadow: tried,
        generation,
        toRequest,
      }
    },
    allows(pass) {
      if (pass.generation === generation) return pass.denial === undefined
      if (!isUsable) return false
      return enforced?.decide(pass.toRequest()).denial === undefined
    },
    apply({ state, sets }) {
      close(enforced)
      close(shadow)
      generation += 1
      revision = state.revision
      isUsable = sets !== undefined
      sizes.enforced = sets?.enforced.policies.length ?? 0
      sizes.shadow = sets?.shadow?.policies.length ?? 0
      // Without a policy there is no engine, and everything is allowed.
      enforced = sets !== undefined && sizes.enforced > 0 ? createEngine(sets.enforced) : undefined
      shadow = sets?.shadow === undefined ? undefined : createEngine(sets.shadow)
    },
    stats: () => ({
      ...{ revision, ...sizes, decisions },
      evaluations: evaluations + (enforced?.stats.evaluated ?? 0) + (shadow?.stats.evaluated ?? 0),
    }),
  }
}
