/** What the path of a request asks: the policies in force, those in shadow, and what they have decided so far. */
// SPDX-License-Identifier: Apache-2.0
import { type Decision, type DenialReason, type Engine, createEngine } from './engine.ts'
import { type Documents, type PolicySet, compileDocuments } from './policy-set.ts'
import type { PolicyRequest } from './request.ts'

/** What is in force, and what is tried out. */
export interface PolicyState {
  /** Counts the changes of the store's policies; 0 before the first, and for policies in files. */
  readonly revision: number
  readonly enforced: Documents
  /** The documents in force with those in their places that are in shadow; undefined: none is. */
  readonly shadow: Documents | undefined
}

/** A request between its decision and its answer. */
export interface PolicyPass {
  /** False where there is no policy at all. */
  readonly isAsked: boolean
  readonly denial: DenialReason | undefined
  /** Ids of the policies that decided. */
  readonly policies: readonly string[]
  readonly revision: number
  /** What the policies in shadow say, where there are any. */
  readonly shadow: Decision | undefined
  readonly generation: number
  readonly toRequest: () => PolicyRequest
}

export interface PolicyStats {
  readonly revision: number
  readonly enforced: number
  readonly shadow: number
  /** Decisions since the start, by `enforced allow`, `shadow deny` and so on. */
  readonly decisions: Readonly<Record<string, number>>
  /** Those for which Cedar was asked. */
  readonly evaluations: number
}

/** Policies that are ready to be applied in one go. */
export interface PreparedPolicies {
  readonly state: PolicyState
  /** Undefined: they cannot be used, so everything is denied. */
  readonly sets:
    { readonly enforced: PolicySet; readonly shadow: PolicySet | undefined } | undefined
}

export interface Authorizer {
  /** Decides a request. Without a policy in force everything is allowed. Never throws. */
  decide(toRequest: () => PolicyRequest): PolicyPass
  /** Whether a request that was allowed would be allowed now, too. */
  allows(pass: PolicyPass): boolean
  /** From the next statement on, everything is decided by these. */
  apply(prepared: PreparedPolicies): void
  stats(): PolicyStats
}

const ALLOWED: Decision = { denial: undefined, policies: [] }
const IDLE = { isAsked: false, ...ALLOWED, shadow: undefined }
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
  /** Of engines that are closed. */
  let evaluations = 0

  function count(set: 'enforced' | 'shadow', decision: Decision): Decision {
    const name = `${set} ${decision.denial === undefined ? 'allow' : 'deny'}`
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
        return { ...IDLE, revision, generation, toRequest }
      }
      const request = toRequest()
      const decision = isUsable ? (enforced?.decide(request) ?? ALLOWED) : UNUSABLE
      if (enforced !== undefined || !isUsable) count('enforced', decision)
      const tried = shadow && count('shadow', shadow.decide(request))
      return { isAsked: true, ...decision, revision, shadow: tried, generation, toRequest }
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
      // A set without a policy is no set: everything is allowed.
      enforced = sets !== undefined && sizes.enforced > 0 ? createEngine(sets.enforced) : undefined
      shadow = sets?.shadow === undefined ? undefined : createEngine(sets.shadow)
    },
    stats: () => ({
      ...{ revision, ...sizes, decisions },
      evaluations: evaluations + (enforced?.stats.evaluated ?? 0) + (shadow?.stats.evaluated ?? 0),
    }),
  }
}
