/** Runs cases from cedar-policy/cedar-integration-tests through our Cedar wrapper. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type AuthorizationCall, type Cedar, PolicyError } from '../../src/policy/cedar.ts'

interface CorpusRequest {
  readonly description: string
  readonly principal: AuthorizationCall['principal']
  readonly action: AuthorizationCall['action']
  readonly resource: AuthorizationCall['resource']
  readonly context: AuthorizationCall['context']
  readonly validateRequest?: boolean
  readonly decision: 'allow' | 'deny'
  readonly reason: readonly string[]
  readonly errors: readonly string[]
}

interface CorpusCase {
  readonly policies: string
  readonly entities: string
  readonly schema: string
  readonly requests: readonly CorpusRequest[]
}

export interface CorpusResult {
  readonly agreed: number
  /**
   * Number of requests that were skipped because they contain a number above 2^53, which JavaScript cannot represent.
   */
  readonly leftOut: number
  readonly differences: readonly string[]
}

/** Matches a number that JSON.parse would change. */
const LARGE = /(?<![\w."-])-?\d{16,}(?![\w."])/

/** @param folder the base for relative paths in the case file */
export function runCorpusCase(cedar: Cedar, folder: string, path: string): CorpusResult {
  const text = (name: string) => readFileSync(join(folder, name), 'utf8')
  const json = text(path)
  const one = JSON.parse(json) as CorpusCase
  const entities = text(one.entities)
  if (LARGE.test(json) || LARGE.test(entities)) {
    return { agreed: 0, leftOut: one.requests.length, differences: [] }
  }
  const parts = cedar.split(text(one.policies))
  const staticPolicies =
    'policies' in parts
      ? Object.fromEntries(parts.policies.map((policy, i) => [`policy${String(i)}`, policy]))
      : text(one.policies)
  const differences: string[] = []
  for (const [i, request] of one.requests.entries()) {
    const { principal, action, resource, context, validateRequest = true } = request
    const found = evaluate(cedar, {
      ...{ principal, action, resource, context, validateRequest },
      policies: { staticPolicies },
      schema: text(one.schema),
      entities: JSON.parse(entities) as AuthorizationCall['entities'],
    })
    const expected = describe(request.decision, request.reason, request.errors)
    if (found !== expected)
      differences.push(`${path} ${String(i)}: expected ${expected}, found ${found}`)
  }
  return { agreed: one.requests.length - differences.length, leftOut: 0, differences }
}

function evaluate(cedar: Cedar, call: AuthorizationCall): string {
  try {
    const { decision, policies, errors } = cedar.evaluateOnce(call)
    return describe(
      decision,
      policies,
      errors.map(({ policyId }) => policyId),
    )
  } catch (error) {
    if (error instanceof PolicyError) return error.message
    throw error
  }
}

function describe(decision: string, reason: readonly string[], errors: readonly string[]): string {
  return JSON.stringify([decision, [...reason].sort(), [...errors].sort()])
}
