/** Typed wrapper around Cedar, which is compiled to WebAssembly and loaded on first use. */
// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8'
import type * as CedarPackage from '@cedar-policy/cedar-wasm/nodejs'
import type {
  AuthorizationAnswer,
  AuthorizationCall,
  DetailedError,
  PolicyJson,
  StatefulAuthorizationCall,
} from '@cedar-policy/cedar-wasm/nodejs'
import { type ErrorOptionsWithHint, LatchkeyError } from '../core/errors.ts'
import { SCHEMA } from './schema.ts'

export type PolicyErrorCode =
  | 'POLICY_INVALID' // policies or labels are not valid; every error is listed
  | 'POLICY_NOT_FOUND' // there is no such document or revision
  | 'POLICY_UNCHANGED' // the change would have no effect
  | 'POLICY_IN_FILES' // policies come from a folder (policy.folder), so policies in the store cannot be changed
  | 'POLICY_CHANGED' // the policies changed in the meantime
  | 'POLICY_NOT_EVERYWHERE' // the timeout expired before every instance had applied the policies
  | 'POLICY_TESTS_FAILED' // a case did not give the expected result
  | 'POLICY_FAILED' // Cedar refused a call

/** An error in a document. */
export interface PolicyFault {
  /** `NAME.cedar:LINE:COLUMN`, or only the name of the document. */
  readonly path: string
  readonly message: string
}

export class PolicyError extends LatchkeyError<PolicyErrorCode> {
  override readonly name = 'PolicyError'
  readonly file = ''
  readonly faults: readonly PolicyFault[] | undefined

  constructor(
    code: PolicyErrorCode,
    message: string,
    options: ErrorOptionsWithHint & { readonly faults?: readonly PolicyFault[] } = {},
  ) {
    super(code, message, options)
    this.faults = options.faults
  }
}

export type { AuthorizationCall, PolicyJson }
/** An evaluation request without its policies. */
export type EvaluationRequest = Omit<StatefulAuthorizationCall, 'preparsedPolicySetId'>

/** A message from Cedar; `offset` is a position in the text, counted in bytes of UTF-8. */
export interface Complaint {
  readonly message: string
  readonly offset: number
}

export interface Evaluation {
  readonly decision: 'allow' | 'deny'
  /** Ids of the policies that decided the request; empty when none applies. */
  readonly policies: readonly string[]
  /** Policies that could not be evaluated. Cedar skips them. */
  readonly errors: readonly { readonly policyId: string; readonly message: string }[]
}

/** Policies in Cedar syntax, by id. */
export type PolicyTexts = Readonly<Record<string, string>>

export interface Validation {
  readonly errors: readonly (Complaint & { readonly policyId: string })[]
  readonly warnings: readonly (Complaint & { readonly policyId: string })[]
}

export interface Cedar {
  /**
   * Splits a document into its policies, in order and as written, or returns the errors that
   * prevent it.
   */
  split(text: string): { readonly policies: readonly string[] } | { readonly faults: Complaint[] }
  /** @throws PolicyError POLICY_FAILED for a policy that `split` did not return */
  toJson(policy: string): PolicyJson
  toText(policy: PolicyJson): string
  /** Validates strictly against the published schema. */
  validate(policies: PolicyTexts): Validation
  /** Stores a policy set under a name, replacing any earlier set of that name. */
  prepare(name: string, policies: PolicyTexts): void
  /** @param name as passed to `prepare` @throws PolicyError POLICY_FAILED */
  evaluate(name: string, request: EvaluationRequest): Evaluation
  /** Evaluates the policies directly, without preparsing them. @throws PolicyError POLICY_FAILED */
  evaluateOnce(call: AuthorizationCall): Evaluation
}

let loading: Promise<Cedar> | undefined

/** The first call takes about 100 ms and 14 MB of memory. */
export function loadCedar(): Promise<Cedar> {
  loading ??= load()
  return loading
}

async function load(): Promise<Cedar> {
  // In Node.js 20, V8 aborts the process ("unreachable code") when a function with an inlined
  // WebAssembly call is deoptimized during that call. This flag disables such inlining; later
  // versions do not have the flag.
  if (Number(process.versions.node.split('.')[0]) < 22) {
    setFlagsFromString('--no-turbo-inline-js-wasm-calls')
  }
  return wrap(await import('@cedar-policy/cedar-wasm/nodejs'))
}

function wrap(cedar: typeof CedarPackage): Cedar {
  /** An exception means that Cedar does not support this form of call. */
  function ask<T>(call: () => T): T {
    try {
      return call()
    } catch (cause) {
      throw new PolicyError('POLICY_FAILED', 'Cedar rejected a call', { cause })
    }
  }
  return {
    split(text) {
      const answer = ask(() => cedar.policySetTextToParts(text))
      if (answer.type === 'failure') return { faults: answer.errors.map(toComplaint) }
      if (answer.policy_templates.length > 0) {
        const message = 'templates (?principal, ?resource) are not supported'
        return { faults: [{ message, offset: 0 }] }
      }
      return { policies: inOrder(answer.policies) }
    },
    toJson(policy) {
      const answer = ask(() => cedar.policyToJson(policy))
      if (answer.type === 'failure') throw failed(answer.errors)
      return answer.json
    },
    toText(policy) {
      const answer = ask(() => cedar.policyToText(policy))
      if (answer.type === 'failure') throw failed(answer.errors)
      return answer.text
    },
    validate(policies) {
      const answer = ask(() =>
        cedar.validate({ schema: SCHEMA, policies: { staticPolicies: { ...policies } } }),
      )
      if (answer.type === 'failure') throw failed(answer.errors)
      const toEntry = ({ policyId, error }: { policyId: string; error: DetailedError }) => ({
        ...toComplaint(error),
        policyId,
      })
      return {
        errors: answer.validationErrors.map(toEntry),
        warnings: answer.validationWarnings.map(toEntry),
      }
    },
    prepare(name, policies) {
      const answer = ask(() => cedar.preparsePolicySet(name, { staticPolicies: { ...policies } }))
      if (answer.type === 'failure') throw failed(answer.errors)
    },
    evaluate: (name, request) =>
      toEvaluation(
        ask(() => cedar.statefulIsAuthorized({ ...request, preparsedPolicySetId: name })),
      ),
    evaluateOnce: (call) => toEvaluation(ask(() => cedar.isAuthorized(call))),
  }
}

function toEvaluation(answer: AuthorizationAnswer): Evaluation {
  if (answer.type === 'failure') throw failed(answer.errors)
  const { decision, diagnostics } = answer.response
  return {
    decision,
    policies: [...diagnostics.reason].sort(),
    errors: diagnostics.errors.map(({ policyId, error }) => ({ policyId, message: error.message })),
  }
}

function toComplaint({ message, help, sourceLocations }: DetailedError): Complaint {
  const sentence = message.replace(/^failed to parse policies from string: /, '')
  return {
    message: help === null ? sentence : `${sentence}; ${help}`,
    offset: sourceLocations?.[0]?.start ?? 0,
  }
}

function failed(errors: readonly DetailedError[]): PolicyError {
  return new PolicyError('POLICY_FAILED', errors.map(({ message }) => message).join('; '))
}

/**
 * Cedar names the policies policy0, policy1, … and sorts by name, so policy10 comes before policy2.
 */
function inOrder(policies: readonly string[]): readonly string[] {
  const names = policies.map((_, i) => `policy${String(i)}`).sort()
  const places = new Map(names.map((name, i) => [name, i]))
  return policies.map((_, i) => policies[places.get(`policy${String(i)}`) ?? i] ?? '')
}
